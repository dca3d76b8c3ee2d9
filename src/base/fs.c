/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"

int fs_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_(closep) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	_cleanup_(buf_fini) struct buf b = {0};

	if (fd < 0)
		return -errno;
	for (;;) {
		size_t chunk = MIN(max - b.len + 1, MAX(b.len, (size_t)4096));
		ssize_t r;

		buf_reserve(&b, chunk);
		r = fd_read_full(fd, b.data + b.len, chunk);
		if (r < 0)
			return (int)r;
		b.len += (size_t)r;
		if (b.len > max)
			return -EFBIG;
		if ((size_t)r < chunk)
			break;
	}
	b.data[b.len] = '\0';
	if (ret_len)
		*ret_len = b.len;
	*ret = buf_take(&b);
	return 0;
}

int fs_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	return fs_read_at(AT_FDCWD, path, max, ret, ret_len);
}

int fs_write_at(int dirfd, const char *path, const char *text)
{
	_cleanup_(closep) int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	size_t n = strlen(text);
	ssize_t r;

	if (fd < 0)
		return -errno;
	do
		r = write(fd, text, n);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EIO;
}

int fs_write(const char *path, const char *text)
{
	return fs_write_at(AT_FDCWD, path, text);
}

int fs_replace(const char *path, const void *p, size_t n, mode_t mode, bool sync)
{
	_cleanup_(freep) char *tmp = xasprintf("%s.tmp-XXXXXX", path);
	_cleanup_(closep) int fd = mkostemp(tmp, O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, p, n);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(tmp);
	return r;
}

int fs_mkdir_all(const char *path, mode_t mode)
{
	_cleanup_(freep) char *copy = xstrdup(path);
	struct stat st;

	for (char *s = copy + 1; *copy && *s; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -errno;
		*s = '/';
	}
	if (mkdir(copy, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(copy, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static void keep_first(int *first, int r)
{
	if (r < 0 && *first == 0)
		*first = r;
}

/* Also one of the very file system that it is mounted in (a bind mount), since Linux 5.8. */
static bool is_mounted(int fd)
{
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH, 0, &stx) == 0 &&
	       stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* Empties the folder fd (consumed). A child that is a mount point is left alone. */
static int remove_children(int fd, dev_t device)
{
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		keep_first(&result, -errno);
		close(fd);
		return result;
	}
	while ((entry = readdir(dir))) {
		struct stat st;
		int child;

		if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM) {
			keep_first(&result, -errno);
			continue;
		}
		child = openat(dirfd(dir), entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child < 0 || fstat(child, &st) < 0) {
			keep_first(&result, -errno);
			fd_close(child);
			continue;
		}
		if (st.st_dev != device || is_mounted(child)) {
			keep_first(&result, -EBUSY);
			close(child);
			continue;
		}
		keep_first(&result, remove_children(child, device));
		if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) < 0)
			keep_first(&result, -errno);
	}
	return result;
}

int fs_remove_all(const char *path)
{
	struct stat st;
	int fd, r;

	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	r = remove_children(fd, st.st_dev);
	if (rmdir(path) < 0)
		keep_first(&r, -errno);
	return r;
}

bool fs_exists(const char *path)
{
	return access(path, F_OK) == 0;
}
