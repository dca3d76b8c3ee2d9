/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/copied_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "runtime/blocking.h"
#include "runtime/host_mount.h"

/* --- in the child --- */

/*
 * By way of a descriptor that opens nothing: there are devices that do something when they are
 * opened, and only a file is.
 */
static int open_file(const char *path, int flags, struct copied_file *ret)
{
	_cleanup_(closep) int place = open(path, O_PATH | O_CLOEXEC);
	struct stat st = {0};
	char link[32];
	int fd, r;

	if (place < 0 || fstat(place, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (struct copied_file){.mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid};
	r = file_identify(place, "", &ret->identity);
	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	fd = open(link, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* All that is in it, and its digest. */
static int read_all(int fd, uint8_t *data, size_t *ret_n, uint8_t digest[SHA256_SIZE])
{
	ssize_t n = fd_read_full(fd, data, COPIED_FILE_MAX + 1);

	if (n < 0)
		return (int)n;
	if (n > (ssize_t)COPIED_FILE_MAX)
		return -EFBIG;
	*ret_n = (size_t)n;
	sha256_of(data, (size_t)n, digest);
	return 0;
}

/* What is in it goes to a memfd: most files are small, and a reply is copied as a whole. */
struct reading {
	const char *path;
	int out;
};

struct report {
	struct copied_file file;
	size_t n;
};

static int read_in_child(void *arg, void *reply)
{
	const struct reading *reading = arg;
	struct report *report = reply;
	_cleanup_(freep) uint8_t *data = xmalloc(COPIED_FILE_MAX + 1);
	_cleanup_(closep) int fd = -1;
	int r = host_mounts_enter_sources();

	if (r < 0)
		return r;
	fd = open_file(reading->path, O_RDONLY, &report->file);
	if (fd < 0)
		return fd;
	r = read_all(fd, data, &report->n, report->file.content);
	return r < 0 ? r : fd_write_all(reading->out, data, report->n);
}

struct writing {
	const char *path;
	const struct copied_file *was;
	const void *data;
	size_t n;
};

static int overwrite(int fd, const void *data, size_t n)
{
	int r;

	/* Room first, then all of it over what there is, and only then the new length. */
	if (n && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n) < 0 && errno != EOPNOTSUPP)
		return -errno;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	r = fd_write_all(fd, data, n);
	return r == 0 && ftruncate(fd, (off_t)n) < 0 ? -errno : r;
}

static int write_in_child(void *arg, _unused_ void *reply)
{
	const struct writing *w = arg;
	_cleanup_(freep) uint8_t *there = xmalloc(COPIED_FILE_MAX + 1);
	_cleanup_(closep) int fd = -1;
	struct copied_file now = {0};
	size_t n;
	int r = host_mounts_enter_sources();

	if (r < 0)
		return r;
	fd = open_file(w->path, O_RDWR, &now);
	if (fd < 0)
		return fd;
	if (!file_identity_equal(&now.identity, &w->was->identity))
		return -ESTALE;
	r = read_all(fd, there, &n, now.content);
	if (r == -EFBIG ||
	    (r == 0 && memcmp(now.content, w->was->content, sizeof(now.content)) != 0))
		return -ESTALE;
	return r < 0 ? r : overwrite(fd, w->data, w->n);
}

/* --- */

int file_identify(int dirfd, const char *path, struct file_identity *ret)
{
	struct statx st = {0};

	if (statx(dirfd, path, AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -errno;
	*ret = (struct file_identity){
		.file = {makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino},
	};
	if (st.stx_mask & STATX_BTIME)
		ret->born = st.stx_btime.tv_sec * 1000000000LL + st.stx_btime.tv_nsec;
	return 0;
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b)
{
	return host_file_equal(a->file, b->file) && a->born == b->born;
}

int copied_file_read(const char *path, uint64_t deadline, struct copied_file *ret,
		     uint8_t **ret_data, size_t *ret_n, struct err *err)
{
	_cleanup_(closep) int out = memfd_create("file", MFD_CLOEXEC);
	_cleanup_(freep) uint8_t *data = NULL;
	struct reading reading = {path, out};
	struct report report = {0};
	int r;

	if (out < 0)
		return err_set(err, -errno, "memory for %s", path);
	r = blocking_run(read_in_child, &reading, &report, sizeof(report), deadline);
	if (r == -EFBIG)
		return err_setx(err, r,
				"%s has more than %u MiB, and shared_fs = \"none\" copies files to "
				"the guest: too large",
				path, COPIED_FILE_MAX >> 20);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	data = xmalloc(report.n + 1);
	if (pread(out, data, report.n, 0) != (ssize_t)report.n)
		return err_setx(err, -EIO, "read back what is in %s", path);
	*ret = report.file;
	*ret_n = report.n;
	*ret_data = TAKE_PTR(data);
	return 0;
}

int copied_file_write(const char *path, const struct copied_file *was, const void *data, size_t n,
		      uint64_t deadline, struct err *err)
{
	struct writing w = {path, was, data, n};
	int r = blocking_run(write_in_child, &w, NULL, 0, deadline);

	if (r == -ESTALE)
		return err_setx(err, r, "%s is not any more what was copied to the guest", path);
	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}
