/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/storage/driver.h"
#include "agent/uevents.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "kernel/mount.h"

/*
 * How it works: everything here that touches a file system runs in a child (co_run_child), so that
 * a file server that does not answer holds up its own mount and nothing else.
 */

#define MOUNT_TIME   (30 * USEC_PER_SEC)
#define UNMOUNT_TIME (10 * USEC_PER_SEC)
#define RETRY_DELAY  (20 * USEC_PER_MSEC)
#define TREE_DEPTH   256
#define FSGID        "fsgid="
#define OWN_OPTIONS  "io.katacontainers."

/* --- the group of a tree --- */

#define DIR_BITS  (S_ISGID | S_IRWXG)
#define FILE_BITS (S_IRGRP | S_IWGRP)
#define RO_BITS   (S_IRGRP | S_IXGRP)

static int own_fd(int fd, const struct stat *st, gid_t group, bool read_only)
{
	mode_t bits = S_ISDIR(st->st_mode) ? DIR_BITS : FILE_BITS;

	if (read_only)
		bits = S_ISDIR(st->st_mode) ? RO_BITS | S_ISGID : S_IRGRP;
	if (fchownat(fd, "", (uid_t)-1, group, AT_EMPTY_PATH) < 0)
		return -errno;
	if (S_ISLNK(st->st_mode))
		return 0;
	_cleanup_(freep) char *path = xasprintf("/proc/self/fd/%d", fd);

	return chmod(path, (st->st_mode & 07777) | bits) < 0 ? -errno : 0;
}

static int own_at(int parent, const char *name, dev_t device, gid_t group, bool read_only,
		  int depth)
{
	_cleanup_(closep) int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = NULL;
	struct stat st;
	int r, list;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != device)
		return 0;
	r = own_fd(fd, &st, group, read_only);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	if (depth >= TREE_DEPTH)
		return -ELOOP;
	list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (list < 0)
		return -errno;
	dir = fdopendir(list);
	if (!dir) {
		close(list);
		return -ENOMEM;
	}
	for (const struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir))
		if (!streq(d->d_name, ".") && !streq(d->d_name, ".."))
			r = own_at(list, d->d_name, device, group, read_only, depth + 1);
	return r;
}

int storage_own_tree(const char *path, gid_t group, bool only_on_mismatch, bool read_only)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (only_on_mismatch && st.st_gid == group &&
	    (st.st_mode & (S_ISGID | RO_BITS)) == (S_ISGID | RO_BITS))
		return 0;
	return own_at(AT_FDCWD, path, st.st_dev, group, read_only, 0);
}

static int set_group(const Grpc__Storage *request, bool read_only)
{
	const Grpc__FSGroup *fs_group = request->fs_group;

	if (!fs_group)
		return 0;
	return storage_own_tree(request->mount_point, fs_group->group_id,
				fs_group->group_change_policy ==
					TYPES__FSGROUP_CHANGE_POLICY__OnRootMismatch,
				read_only);
}

/* "fsgid=N" of emptyDir volumes: the folder alone. */
static int set_fsgid(const char *path, const Grpc__Storage *request)
{
	for (size_t i = 0; i < request->n_options; i++) {
		const char *text = str_skip_prefix(request->options[i], FSGID);
		struct stat st;
		uint32_t gid;

		if (!text)
			continue;
		if (parse_u32(text, &gid) < 0)
			return -EINVAL;
		if (chown(path, (uid_t)-1, gid) < 0 || stat(path, &st) < 0 ||
		    chmod(path, (st.st_mode & 07777) | S_ISGID) < 0)
			return -errno;
	}
	return 0;
}

/* --- mounting --- */

struct mount_job {
	const Grpc__Storage *request;
	const char *source, *fstype;
	struct mount_options options;
};

/* What the storage's state must know of what the child did. */
struct mount_reply {
	bool made_target;
};

static int make_target(const struct mount_job *job, bool *ret_made)
{
	const char *target = job->request->mount_point;
	_cleanup_(freep) char *parent = NULL;
	struct stat st;
	int r, fd;

	if (stat(target, &st) == 0)
		return 0;
	if (job->options.flags & MS_BIND && stat(job->source, &st) == 0 && !S_ISDIR(st.st_mode)) {
		parent = path_dir(target);
		r = fs_mkdir_all(parent, 0755);
		if (r < 0)
			return r;
		fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
		*ret_made = true;
		return 0;
	}
	r = fs_mkdir_all(target, 0755);
	*ret_made = r == 0;
	return r;
}

static int mount_in_child(void *arg, void *reply_)
{
	const struct mount_job *job = arg;
	struct mount_reply *reply = reply_;
	int r;

	r = make_target(job, &reply->made_target);
	if (r == 0)
		r = mount_make(job->source, job->request->mount_point, job->fstype, &job->options);
	if (r < 0)
		return r;
	r = set_group(job->request, job->options.flags & MS_RDONLY);
	if (r == 0)
		r = set_fsgid(job->request->mount_point, job->request);
	if (r < 0)
		umount2(job->request->mount_point, MNT_DETACH);
	return r;
}

/* The request's options without those that are for the agent. */
static int parse_options(const Grpc__Storage *request, struct mount_options *ret, struct err *err)
{
	_cleanup_(freep) char **kept = xcalloc(request->n_options + 1, sizeof(char *));
	size_t n = 0;
	int r;

	for (size_t i = 0; i < request->n_options; i++)
		if (!str_has_prefix(request->options[i], FSGID) &&
		    !str_has_prefix(request->options[i], OWN_OPTIONS))
			kept[n++] = request->options[i];
	r = mount_options_parse(kept, n, ret);
	return r < 0 ? err_set(err, r, "mount options") : 0;
}

/* What the kernel says of a device whose driver is not done yet. */
static bool is_not_ready(int r)
{
	return r == -ENXIO || r == -ENODEV || r == -ENOMEDIUM || r == -ENOENT;
}

int storage_mount(struct agent *agent, const Grpc__Storage *request, const char *source,
		  const char *fstype, uint64_t retry_until, struct storage *storage,
		  struct err *err)
{
	struct mount_job job = {.request = request, .source = source, .fstype = fstype};
	struct mount_reply reply = {0};
	int r;

	r = parse_options(request, &job.options, err);
	if (r < 0)
		return r;
	if (streq(fstype, "bind"))
		job.options.flags |= MS_BIND;
	for (;;) {
		r = co_run_child(mount_in_child, &job, &reply, sizeof(reply),
				 clock_after(MOUNT_TIME));
		/* virtiofs answers EINVAL for a tag that has not appeared. */
		if (!is_not_ready(r) && !(r == -EINVAL && streq(fstype, "virtiofs")))
			break;
		if (clock_now() >= retry_until)
			break;
		uevents_wait(agent, MIN(retry_until, clock_after(RETRY_DELAY)));
	}
	mount_options_fini(&job.options);
	if (r < 0)
		return err_set(err, r, "mount %s of type %s", source, fstype);
	storage->mounted = true;
	storage->made_target = reply.made_target;
	return 0;
}

static int remount_in_child(void *arg, _unused_ void *reply)
{
	const struct mount_job *job = arg;

	return mount_make(job->source, job->request->mount_point, job->fstype, &job->options);
}

int storage_remount(const Grpc__Storage *request, struct err *err)
{
	struct mount_job job = {
		.request = request, .source = request->source, .fstype = request->fstype};
	int r;

	r = parse_options(request, &job.options, err);
	if (r < 0)
		return r;
	job.options.flags |= MS_REMOUNT;
	r = co_run_child(remount_in_child, &job, NULL, 0, clock_after(MOUNT_TIME));
	mount_options_fini(&job.options);
	return r < 0 ? err_set(err, r, "remount %s", request->mount_point) : 0;
}

/* --- folders --- */

static int make_dir_in_child(void *arg, _unused_ void *reply)
{
	const Grpc__Storage *request = arg;
	int r;

	r = fs_mkdir_all(request->mount_point, 0755);
	if (r < 0)
		return r;
	for (size_t i = 0; i < request->n_options; i++) {
		const char *text = str_skip_prefix(request->options[i], "mode=");
		uint32_t mode;

		if (!text)
			continue;
		if (parse_octal(text, &mode) < 0 || mode > 07777)
			return -EINVAL;
		if (chmod(request->mount_point, mode) < 0)
			return -errno;
	}
	r = set_fsgid(request->mount_point, request);
	return r < 0 ? r : set_group(request, false);
}

int storage_make_dir(const Grpc__Storage *request, struct storage *storage, struct err *err)
{
	int r = co_run_child(make_dir_in_child, (void *)request, NULL, 0, clock_after(MOUNT_TIME));

	if (r < 0)
		return err_set(err, r, "make folder");
	storage->mounted = false;
	storage->made_target = true;
	return 0;
}

/* --- the reverse --- */

static int unmount_in_child(void *arg, _unused_ void *reply)
{
	const struct storage *storage = arg;

	if (!storage->mounted)
		return fs_remove_all(storage->mount_point);
	if (umount2(storage->mount_point, UMOUNT_NOFOLLOW) < 0 &&
	    umount2(storage->mount_point, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && errno != EINVAL &&
	    errno != ENOENT)
		return -errno;
	/* A read-only or shared file system below may keep it. */
	if (storage->made_target && rmdir(storage->mount_point) < 0 && errno == ENOTDIR)
		unlink(storage->mount_point);
	return 0;
}

int storage_unmount(const struct storage *storage, struct err *err)
{
	int r = co_run_child(unmount_in_child, (void *)storage, NULL, 0, clock_after(UNMOUNT_TIME));

	return r < 0 ? err_set(err, r, "unmount %s", storage->mount_point) : 0;
}
