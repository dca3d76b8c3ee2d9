/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/rpc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"

/*
 * Live volumes: copies, in our memory, of what Kubernetes changes under running containers
 * (ConfigMap, Secret, projected, downwardAPI). An update arrives in parts, which are put together
 * beside the volume under a hidden name. The last part places them in the order in which kubelet
 * itself does it (its AtomicWriter): the new folder of files, ..data renamed over the old one (at
 * that moment all files change), what else is new, and then the old ones go. So containers, which
 * have the volume's folder bound into them, never see half an update, and their inotify tells them
 * what it would tell on the host.
 *
 * All of it in a child, but for what is_quick(). The host makes one call after the other for a
 * volume.
 */

#define LIVE_DIR    AGENT_SANDBOX_DIR "/live"
#define UPDATE_TIME (60 * USEC_PER_SEC)
#define QUICK_SIZE  (64U << 10)
#define QUICK_ENTRY 1024U /* what the making of an entry counts */
#define DATA        "..data"
#define FILE_NAME   "file" /* in a volume that has just one */
#define FILE_MAX    (1U << 20)
/* Who has read ..data a moment ago gets this long to go on to the folder it named. */
#define GRACE_USEC (20 * USEC_PER_MSEC)

static char *staging_path(const char *name)
{
	return xasprintf(LIVE_DIR "/.%s", name);
}

/* --- the parts --- */

static int own(int parent, const char *name, const Grpc__LiveVolumeEntry *e, int flags)
{
	return fchownat(parent, name, e->uid, e->gid, flags) < 0 ? -errno : 0;
}

static int own_fd(int fd, const Grpc__LiveVolumeEntry *e)
{
	int r = own(fd, "", e, AT_EMPTY_PATH);

	/* After the change of owner, which clears the set-id bits. */
	return r == 0 && fchmod(fd, e->mode & 07777) < 0 ? -errno : r;
}

static int write_folder(int parent, const char *name, const Grpc__LiveVolumeEntry *e)
{
	_cleanup_(closep) int fd = -1;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : own_fd(fd, e);
}

static int write_link(int parent, const char *name, const Grpc__LiveVolumeEntry *e)
{
	char target[PATH_MAX];

	if (!e->data.len || e->data.len >= sizeof(target) ||
	    memchr(e->data.data, '\0', e->data.len))
		return -EINVAL;
	memcpy(target, e->data.data, e->data.len);
	target[e->data.len] = '\0';
	if (symlinkat(target, parent, name) < 0)
		return -errno;
	return own(parent, name, e, AT_SYMLINK_NOFOLLOW);
}

static int write_file(int parent, const char *name, const Grpc__LiveVolumeEntry *e)
{
	_cleanup_(closep) int fd = openat(parent, name,
					  O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC |
						  (e->offset ? 0 : O_EXCL),
					  0600);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->offset)
		return -EINVAL;
	r = fd_write_all(fd, e->data.data, e->data.len);
	return r < 0 ? r : own_fd(fd, e);
}

static int write_entry(int staging, const Grpc__LiveVolumeEntry *e)
{
	_cleanup_(freep) char *dir = path_dir(e->path);
	const char *name = *e->path ? path_name(e->path) : ".";
	_cleanup_(closep) int parent = path_open_in_root(staging, dir, O_PATH | O_DIRECTORY, 0);

	if (parent < 0)
		return parent;
	switch (e->mode & S_IFMT) {
	case S_IFDIR:
		return write_folder(parent, name, e);
	case S_IFLNK:
		return write_link(parent, name, e);
	case S_IFREG:
		return write_file(parent, name, e);
	default:
		return -EOPNOTSUPP;
	}
}

/* --- the change --- */

static int list_names(int dir, struct strv *ret)
{
	_cleanup_(closedirp) DIR *stream = NULL;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return -ENOMEM;
	}
	for (const struct dirent *d = readdir(stream); d; d = readdir(stream))
		if (!streq(d->d_name, ".") && !streq(d->d_name, ".."))
			strv_add(ret, d->d_name);
	return 0;
}

/* Which come first, and go last: folders of files, the link to the current one, what is for the
 * containers. */
enum rank { RANK_FOLDER, RANK_DATA, RANK_ENTRY, _RANKS };

static enum rank rank(const char *name)
{
	if (streq(name, DATA))
		return RANK_DATA;
	return str_has_prefix(name, "..") ? RANK_FOLDER : RANK_ENTRY;
}

static bool same_link(int a, int b, const char *name)
{
	char x[PATH_MAX], y[PATH_MAX];
	ssize_t n = readlinkat(a, name, x, sizeof(x));

	return n > 0 && n == readlinkat(b, name, y, sizeof(y)) && memcmp(x, y, (size_t)n) == 0;
}

/* A volume that has just one file, which is bound into containers by itself. */
static bool is_single(int volume, const char *name)
{
	return streq(name, FILE_NAME) && faccessat(volume, DATA, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

/* It stays the same file, whoever has it; room for all of it first. */
static int overwrite(int staging, int volume, const char *name)
{
	_cleanup_(closep) int from = openat(staging, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closep) int to = openat(volume, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	off_t at = 0;

	if (from < 0 || to < 0 || fstat(from, &st) < 0 ||
	    (st.st_size && fallocate(to, FALLOC_FL_KEEP_SIZE, 0, st.st_size) < 0))
		return -errno;
	while (at < st.st_size)
		if (sendfile(to, from, &at, (size_t)(st.st_size - at)) <= 0)
			return errno ? -errno : -EIO;
	if (ftruncate(to, st.st_size) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
	    fchmod(to, st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

/* One entry of the new state, in place of the old one of its name. */
static int place(int staging, int volume, const char *name)
{
	unsigned int flags = 0;
	struct stat fresh, old;

	if (fstatat(staging, name, &fresh, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (fstatat(volume, name, &old, AT_SYMLINK_NOFOLLOW) == 0) {
		/* An ordinary folder is there for a mount of another volume, and stays. */
		if (S_ISDIR(fresh.st_mode) && S_ISDIR(old.st_mode) && rank(name) == RANK_ENTRY)
			return 0;
		if (S_ISLNK(fresh.st_mode) && same_link(staging, volume, name))
			return 0;
		if (S_ISREG(fresh.st_mode) && S_ISREG(old.st_mode) && is_single(volume, name)) {
			int r = overwrite(staging, volume, name);

			/* A program that runs cannot be written. */
			if (r != -ETXTBSY)
				return r;
		}
		if (S_ISDIR(fresh.st_mode) || S_ISDIR(old.st_mode))
			flags = RENAME_EXCHANGE;
	}
	return renameat2(staging, name, volume, name, flags) < 0 ? -errno : 0;
}

/* Links first, then the folders that they have led to. */
static int remove_gone(int volume, const char *path, const struct strv *wanted)
{
	_cleanup_(strv_fini) struct strv there = {0};
	bool waited = false;
	int r = list_names(volume, &there);

	for (unsigned int step = _RANKS; step-- > 0;)
		for (size_t i = 0; i < there.n && r == 0; i++) {
			_cleanup_(freep) char *old = path_join(path, there.v[i]);

			if (rank(there.v[i]) != step || strv_contains(wanted, there.v[i]))
				continue;
			if (step == RANK_FOLDER && !waited)
				waited = usleep(GRACE_USEC) == 0;
			r = fs_remove_all(old);
		}
	return r;
}

static int copy_owner(int from, int to)
{
	struct stat fresh, old;

	if (fstat(from, &fresh) < 0 || fstat(to, &old) < 0)
		return -errno;
	/* Not when it would change nothing but be an event for whoever watches. */
	if (fresh.st_uid == old.st_uid && fresh.st_gid == old.st_gid &&
	    fresh.st_mode == old.st_mode)
		return 0;
	if (fchown(to, fresh.st_uid, fresh.st_gid) < 0 || fchmod(to, fresh.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

static int commit(int staging, const char *hidden, const char *path)
{
	_cleanup_(strv_fini) struct strv names = {0};
	_cleanup_(closep) int volume = -1;
	int r;

	volume = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (volume < 0)
		return errno == ENOENT && rename(hidden, path) == 0 ? 0 : -errno;
	r = list_names(staging, &names);
	for (unsigned int step = 0; step < _RANKS; step++)
		for (size_t i = 0; i < names.n && r == 0; i++)
			if (rank(names.v[i]) == step)
				r = place(staging, volume, names.v[i]);
	if (r == 0)
		r = copy_owner(staging, volume);
	if (r == 0)
		r = remove_gone(volume, path, &names);
	return r == 0 ? fs_remove_all(hidden) : r;
}

static int update(const Grpc__UpdateLiveVolumeRequest *request, const char *hidden)
{
	_cleanup_(freep) char *path = path_join(LIVE_DIR, request->name);
	_cleanup_(closep) int staging = -1;
	int r = 0;

	if (request->first) {
		r = fs_remove_all(hidden);
		if (r == 0)
			r = fs_mkdir_all(hidden, 0755);
	}
	if (r < 0)
		return r;
	staging = open(hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (staging < 0)
		return -errno;
	for (size_t i = 0; i < request->n_entries && r == 0; i++)
		r = write_entry(staging, request->entries[i]);
	return r == 0 && request->last ? commit(staging, hidden, path) : r;
}

static int update_in_child(void *arg, _unused_ void *reply)
{
	const Grpc__UpdateLiveVolumeRequest *request = arg;
	_cleanup_(freep) char *hidden = staging_path(request->name);
	int r = update(request, hidden);

	if (r < 0)
		fs_remove_all(hidden);
	return r;
}

static int remove_in_child(void *arg, _unused_ void *reply)
{
	_cleanup_(freep) char *hidden = staging_path(arg), *path = path_join(LIVE_DIR, arg);
	int r = fs_remove_all(hidden);

	return r == 0 ? fs_remove_all(path) : r;
}

/* --- the calls --- */

static int check_name(const char *name, struct err *err)
{
	if (!path_is_id(name))
		return err_setx(err, -EINVAL, "\"%s\" cannot be the name of a volume", name);
	return 0;
}

static int check_entry(const Grpc__LiveVolumeEntry *e, struct err *err)
{
	_cleanup_(freep) char *absolute = path_join("/", e->path);

	if (*e->path == '/' || str_has_suffix(e->path, "/") || strlen(e->path) >= PATH_MAX ||
	    !path_is_clean(absolute))
		return err_setx(err, -EINVAL, "\"%s\": not a plain path in a volume", e->path);
	if (!*e->path && !S_ISDIR(e->mode))
		return err_setx(err, -EINVAL, "the volume itself has to be a folder");
	return 0;
}

/* The first copy of a small volume: a few files in memory take less time than a child, and every
 * pod's start waits for one (its service account's). */
static bool is_quick(const Grpc__UpdateLiveVolumeRequest *request)
{
	_cleanup_(freep) char *path = path_join(LIVE_DIR, request->name);
	size_t size = 0;

	for (size_t i = 0; i < request->n_entries; i++)
		size += request->entries[i]->data.len + QUICK_ENTRY;
	return request->first && request->last && size <= QUICK_SIZE && !fs_exists(path);
}

RPC(update_live_volume)
{
	const Grpc__UpdateLiveVolumeRequest *request = request_;
	int r = check_name(request->name, err);

	(void)response_;
	for (size_t i = 0; i < request->n_entries && r == 0; i++)
		r = check_entry(request->entries[i], err);
	if (r < 0)
		return r;
	if (is_quick(request))
		r = update_in_child((void *)request, NULL);
	else
		r = co_run_child(update_in_child, (void *)request, NULL, 0,
				 MIN(ttrpc_call_deadline(call), clock_after(UPDATE_TIME)));
	return r < 0 ? err_set(err, r, "update volume %s", request->name) : 0;
}

RPC(remove_live_volume)
{
	const Grpc__RemoveLiveVolumeRequest *request = request_;
	int r = check_name(request->name, err);

	(void)response_;
	if (r < 0)
		return r;
	r = co_run_child(remove_in_child, request->name, NULL, 0,
			 MIN(ttrpc_call_deadline(call), clock_after(UPDATE_TIME)));
	return r < 0 ? err_set(err, r, "remove volume %s", request->name) : 0;
}

/* Without a child: it is a regular file in our memory, and a container that has it bound cannot put
 * anything else in its place. */
static int read_file(struct ttrpc_call *call, const char *name, ProtobufCBinaryData *ret)
{
	_cleanup_(freep) char *path = xasprintf(LIVE_DIR "/%s/" FILE_NAME, name);
	_cleanup_(closep) int fd = -1;
	struct stat st;
	ssize_t n;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)FILE_MAX)
		return -EFBIG;
	ret->data = ttrpc_call_alloc(call, (size_t)st.st_size + 1);
	n = fd_read_full(fd, ret->data, (size_t)st.st_size);
	if (n < 0)
		return (int)n;
	ret->len = (size_t)n;
	return 0;
}

RPC(read_copied_file)
{
	const Grpc__ReadCopiedFileRequest *request = request_;
	Grpc__ReadCopiedFileResponse *response = response_;
	int r = check_name(request->name, err);

	if (r == 0)
		r = read_file(call, request->name, &response->data);
	return r < 0 ? err_wrap(err, r, "read the file of volume %s", request->name) : 0;
}
