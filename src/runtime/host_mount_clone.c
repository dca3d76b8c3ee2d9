/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/kernel_fs.h"
#include "kernel/mount.h"
#include "kernel/ns.h"
#include "runtime/host_file.h"
#include "runtime/host_mount_child.h"

/*
 * How it works: what is opened decides, not its path: a file system of the host's kernel is refused
 * under whichever name it comes. Where some are mounted below the source ("/" has /proc), the clone
 * is made in a mount namespace that is thrown away, after they were unmounted there: nothing can be
 * unmounted from a clone that is not attached, and one that is attached is seen by the guest. That
 * namespace's mounts are slaves: the host loses nothing, and what it mounts later still propagates.
 */

static int clone_open(int fd, bool recursive)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
	int tree = open_tree(fd, "", recursive ? flags | (unsigned int)AT_RECURSIVE : flags);

	return tree < 0 ? -errno : tree;
}

static bool is_below(const char *path, const char *dir)
{
	const char *rest = str_skip_prefix(path, dir);

	return rest && (*rest == '/' || (streq(dir, "/") && *rest));
}

static int find_kernels(struct host_mount_kernels *kernels)
{
	struct mountinfo *mounts = NULL;
	size_t n = 0;
	int r = kernels->known ? 0 : mountinfo_read(0, &mounts, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (kernel_fs_is(mounts[i].fstype))
			strv_add(&kernels->points, mounts[i].point);
	mountinfo_free(mounts, n);
	kernels->known = true;
	return 0;
}

/* 1: unmounted, with all below; 0: nobody comes there, another mount covers it. */
static int unmount(const struct mountinfo *mount)
{
	struct statx st;

	if (statx(AT_FDCWD, mount->point, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID,
		  &st) < 0 ||
	    st.stx_mnt_id != mount->id)
		return 0;
	return umount2(mount->point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 1;
}

/* One that has gone may have covered another. /proc is among them: the list is read once. */
static int unmount_below(const char *dir, const struct mountinfo *mounts, size_t n)
{
	int r = 0;

	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < n; i++) {
			if (!kernel_fs_is(mounts[i].fstype) || !is_below(mounts[i].point, dir))
				continue;
			r = unmount(&mounts[i]);
			if (r < 0)
				return r;
			again |= r > 0;
		}
	}
	return 0;
}

/* `path` has no links, which somebody could have exchanged; `original` is what it led to. */
static int clone_again(const char *path, int original)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
	_cleanup_(closep) int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	struct stat here, there;

	if (fd < 0 || fstat(fd, &here) < 0 || fstat(original, &there) < 0)
		return -errno;
	if (!host_file_equal(host_file_of(&here), host_file_of(&there)))
		return -ESTALE;
	return clone_open(fd, true);
}

static int clone_without_kernels(const char *path, int original)
{
	struct mountinfo *mounts = NULL;
	size_t n = 0;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	r = mountinfo_read(0, &mounts, &n);
	if (r < 0)
		return r;
	r = unmount_below(path, mounts, n);
	mountinfo_free(mounts, n);
	return r < 0 ? r : clone_again(path, original);
}

static int clone_recursive(int fd, struct host_mount_kernels *kernels)
{
	_cleanup_(freep) char *link = xasprintf("/proc/self/fd/%d", fd);
	char path[PATH_MAX];
	ssize_t length;
	int r = kernels ? find_kernels(kernels) : 0;

	if (r < 0)
		return r;
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return -errno;
	path[length] = '\0';
	for (size_t i = 0; kernels && i < kernels->points.n; i++)
		if (is_below(kernels->points.v[i], path))
			return clone_without_kernels(path, fd);
	return clone_open(fd, true);
}

static int clone_source(const struct host_mount *m, struct host_mount_kernels *kernels,
			struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int fd = open(m->source, O_PATH | O_CLOEXEC);
	const char *kernel_fs;
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	kernel_fs = kernel_fs_name(&fs);
	if (kernel_fs) {
		snprintf(outcome->kernel_fs, sizeof(outcome->kernel_fs), "%s", kernel_fs);
		return -EPERM;
	}
	return m->flags & MS_REC ? clone_recursive(fd, kernels) : clone_open(fd, false);
}

int host_mount_clone(const struct host_mount *m, struct host_mount_kernels *kernels,
		     struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int home = -1, tree = -1;
	int r;

	if (!kernels)
		return clone_source(m, NULL, outcome);
	home = ns_open("/proc/self/ns/mnt", CLONE_NEWNS);
	r = home < 0 ? home : host_mounts_enter_sources();
	if (r < 0)
		return r;
	tree = clone_source(m, kernels, outcome);
	if (setns(home, CLONE_NEWNS) < 0)
		return -errno;
	return tree < 0 ? tree : TAKE_FD(tree);
}
