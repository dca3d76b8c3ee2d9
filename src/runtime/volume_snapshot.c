/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/volume_snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "runtime/blocking.h"
#include "runtime/host_mount.h"

/*
 * How it works: the child packs entries into messages of about PART bytes and writes each behind
 * its length to the memfd that it shares with us. No symlink is followed and no component but the
 * last one is looked up from a folder that is open, so that it stays in the volume.
 */

#define DATA      "..data"
#define PART      (1U << 20) /* a frame holds 4 MiB */
#define DEPTH_MAX 32

/* What the child reports: the digest, or where it failed. */
struct report {
	uint8_t digest[SHA256_SIZE];
	char where[PATH_MAX];
};

struct job {
	const char *path, *name;
	const struct ns_maps *idmap;
	int out;
};

/* A volume that is being packed, in the child. */
struct packer {
	int out;
	const struct ns_maps *idmap;
	struct report *report;
	struct sha256 digest;
	Grpc__UpdateLiveVolumeRequest request;
	size_t part;             /* bytes in request */
	size_t bytes, n_entries; /* in all */
	uint8_t *buffer;         /* of PART bytes */
};

/* --- packing --- */

static int flush(struct packer *p, bool last)
{
	_cleanup_(freep) uint8_t *packed = NULL;
	Grpc__UpdateLiveVolumeRequest *request = &p->request;
	uint32_t n;
	int r;

	request->last = last;
	n = (uint32_t)grpc__update_live_volume_request__get_packed_size(request);
	packed = xmalloc(n);
	grpc__update_live_volume_request__pack(request, packed);
	sha256_add(&p->digest, packed, n);
	r = fd_write_all(p->out, &n, sizeof(n));
	if (r == 0)
		r = fd_write_all(p->out, packed, n);
	for (size_t i = 0; i < request->n_entries; i++)
		grpc__live_volume_entry__free_unpacked(request->entries[i], NULL);
	request->n_entries = 0;
	request->first = false;
	p->part = 0;
	return r;
}

static int add(struct packer *p, const char *path, const struct stat *st, const void *data,
	       size_t n, uint64_t offset)
{
	Grpc__LiveVolumeEntry *entry;
	Grpc__UpdateLiveVolumeRequest *request = &p->request;

	p->bytes += strlen(path) + n;
	if (++p->n_entries > SNAPSHOT_ENTRIES_MAX || p->bytes > SNAPSHOT_BYTES_MAX)
		return -EFBIG;
	entry = xmalloc(sizeof(*entry));
	grpc__live_volume_entry__init(entry);
	entry->path = xstrdup(path);
	entry->mode = st->st_mode;
	entry->uid = ns_map_id(p->idmap->uids, p->idmap->n_uids, st->st_uid);
	entry->gid = ns_map_id(p->idmap->gids, p->idmap->n_gids, st->st_gid);
	entry->offset = offset;
	if (n)
		entry->data = (ProtobufCBinaryData){.len = n, .data = xmemdup(data, n)};
	request->entries = xreallocarray(request->entries, request->n_entries + 1, sizeof(entry));
	request->entries[request->n_entries++] = entry;
	p->part += n + strlen(path) + 64;
	return p->part >= PART ? flush(p, false) : 0;
}

/* --- reading --- */

static int add_file(struct packer *p, int parent, const char *name, const char *path)
{
	_cleanup_(closep) int fd = openat(
		parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	uint64_t offset = 0;
	ssize_t n;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	do {
		n = fd_read_full(fd, p->buffer, PART);
		r = n < 0 ? (int)n : add(p, path, &st, p->buffer, (size_t)n, offset);
		offset += (uint64_t)MAX(n, 0);
	} while (r == 0 && n == PART);
	return r;
}

static int read_link(int parent, const char *name, char ret[PATH_MAX])
{
	ssize_t n = readlinkat(parent, name, ret, PATH_MAX);

	if (n < 0)
		return -errno;
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	ret[n] = '\0';
	return 0;
}

static int add_link(struct packer *p, int parent, const char *name, const char *path,
		    const struct stat *st)
{
	char target[PATH_MAX];
	int r = read_link(parent, name, target);

	return r < 0 ? r : add(p, path, st, target, strlen(target), 0);
}

static int add_folder(struct packer *p, int parent, const char *name, const char *path, int depth);

static int add_any(struct packer *p, int parent, const char *name, const char *path, int depth)
{
	struct stat st;

	if (depth > DEPTH_MAX || strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(p->report->where, sizeof(p->report->where), "%s", path);
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return add_link(p, parent, name, path, &st);
	if (!S_ISDIR(st.st_mode))
		return add_file(p, parent, name, path);
	/* An ordinary folder at the top is kubelet's mount point of another volume. */
	if (depth == 0 && !str_has_prefix(name, ".."))
		return add(p, path, &st, NULL, 0, 0);
	return add_folder(p, parent, name, path, depth);
}

static int open_folder(int parent, const char *name, DIR **ret)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = fdopendir(fd);
	if (*ret)
		return 0;
	close(fd);
	return -ENOMEM;
}

static int add_folder(struct packer *p, int parent, const char *name, const char *path, int depth)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct stat st;
	int r = open_folder(parent, name, &dir);

	if (r < 0)
		return r;
	if (fstat(dirfd(dir), &st) < 0)
		return -errno;
	r = add(p, path, &st, NULL, 0, 0);
	for (const struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir)) {
		_cleanup_(freep) char *below = NULL;

		if (streq(d->d_name, ".") || streq(d->d_name, ".."))
			continue;
		below = path_join(path, d->d_name);
		r = add_any(p, dirfd(dir), d->d_name, below, depth + 1);
	}
	return r;
}

/* Folders whose names begin with ".." are the one that ..data names, and what kubelet is making or
 * removing. */
static int add_volume(struct packer *p, DIR *dir, const char *current)
{
	struct stat st;
	int r;

	if (fstat(dirfd(dir), &st) < 0)
		return -errno;
	r = add(p, "", &st, NULL, 0, 0);
	if (r == 0)
		r = add_any(p, dirfd(dir), current, current, 0);
	if (r == 0)
		r = add_any(p, dirfd(dir), DATA, DATA, 0);
	for (const struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir))
		if (!streq(d->d_name, ".") && !str_has_prefix(d->d_name, ".."))
			r = add_any(p, dirfd(dir), d->d_name, d->d_name, 0);
	return r;
}

static int take(struct packer *p, const char *path)
{
	char current[PATH_MAX] = "", now[PATH_MAX] = "";
	_cleanup_(closedirp) DIR *dir = opendir(path);
	int r;

	if (!dir)
		return -errno;
	snprintf(p->report->where, sizeof(p->report->where), DATA);
	r = read_link(dirfd(dir), DATA, current);
	if (r < 0)
		return r;
	if (!str_has_prefix(current, "..") || streq(current, "..") || strchr(current, '/'))
		return -EINVAL;
	r = add_volume(p, dir, current);
	if ((r == 0 || r == -ENOENT) &&
	    (read_link(dirfd(dir), DATA, now) < 0 || !streq(current, now)))
		return -EAGAIN;
	return r == 0 ? flush(p, true) : r;
}

static int take_in_child(void *arg, void *reply)
{
	const struct job *job = arg;
	_cleanup_(freep) uint8_t *buffer = xmalloc(PART);
	struct packer p = {.out = job->out, .idmap = job->idmap, .report = reply, .buffer = buffer};
	int r;

	grpc__update_live_volume_request__init(&p.request);
	p.request.name = (char *)job->name;
	p.request.first = true;
	sha256_init(&p.digest);
	r = host_mounts_enter_sources();
	if (r == 0)
		r = take(&p, job->path);
	sha256_end(&p.digest, p.report->digest);
	for (size_t i = 0; i < p.request.n_entries; i++)
		grpc__live_volume_entry__free_unpacked(p.request.entries[i], NULL);
	free(p.request.entries);
	return r;
}

/* --- */

int snapshot_take(const char *path, const char *name, const struct ns_maps *idmap,
		  uint64_t deadline, struct snapshot *ret, struct err *err)
{
	_cleanup_(closep) int fd = memfd_create("volume", MFD_CLOEXEC);
	struct job job = {.path = path, .name = name, .idmap = idmap, .out = fd};
	struct report report = {0};
	int r;

	if (fd < 0)
		return err_set(err, -errno, "memory for %s", path);
	r = blocking_run(take_in_child, &job, &report, sizeof(report), deadline);
	if (r == -EFBIG)
		return err_setx(err, r,
				"%s is too large to be copied into the guest: more than %u MiB or "
				"%u files",
				path, SNAPSHOT_BYTES_MAX >> 20, SNAPSHOT_ENTRIES_MAX);
	if (r < 0)
		return err_set(err, r, "read %s/%s", path, report.where);
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_set(err, -errno, "read what is in %s", path);
	memcpy(ret->digest, report.digest, sizeof(ret->digest));
	ret->fd = TAKE_FD(fd);
	return 0;
}

int snapshot_next(struct snapshot *snapshot, Grpc__UpdateLiveVolumeRequest **ret, struct err *err)
{
	_cleanup_(freep) uint8_t *packed = NULL;
	uint32_t size;
	ssize_t n = fd_read_full(snapshot->fd, &size, sizeof(size));

	*ret = NULL;
	if (n == 0)
		return 0;
	if (n == sizeof(size)) {
		packed = xmalloc(size);
		n = fd_read_full(snapshot->fd, packed, size);
		if (n == (ssize_t)size)
			*ret = grpc__update_live_volume_request__unpack(NULL, size, packed);
	}
	return *ret ? 0 : err_setx(err, n < 0 ? (int)n : -EIO, "read back what is in a volume");
}

void snapshot_fini(struct snapshot *snapshot)
{
	snapshot->fd = fd_close(snapshot->fd);
}
