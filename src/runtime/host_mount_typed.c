/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "kernel/idmap.h"
#include "kernel/loop_device.h"
#include "kernel/mount.h"
#include "runtime/host_mount_child.h"

/*
 * How it works: a mount whose ids are mapped is made in a mount namespace of its own, which nobody
 * else sees and which goes with its last user, and is then moved to its place. The mapping must not
 * be on overlay, which cannot have one, but on its lower layers: a mapped clone of each covers the
 * original, in that namespace, so the options stay as they are; the kernel keeps what it needs of
 * them. (The upper layer is written with the ids that the guest has; its owner is the
 * snapshotter's to set.)
 */

/* The length of the folder that all parts of "a:b:c" begin with, up to and with its slash. */
static size_t common_folder(const char *dirs)
{
	size_t n = strcspn(dirs, ":");

	for (const char *p = dirs; *p; p += *p == ':') {
		size_t k = 0;

		while (k < n && p[k] == dirs[k])
			k++;
		n = k;
		p += strcspn(p, ":");
	}
	while (n && dirs[n - 1] != '/')
		n--;
	return n;
}

/*
 * An image with many layers has more in lowerdir than the page that mount(2) takes: the folder
 * that they share is left out, and becomes the working directory (of this child).
 */
static int shorten_lowerdir(char **option)
{
	const char *dirs = str_skip_prefix(*option, "lowerdir=");
	size_t n = common_folder(dirs);
	_cleanup_(freep) char *folder = xstrndup(dirs, n);
	struct buf b = {0};

	if (!n || chdir(folder) < 0)
		return -E2BIG;
	buf_adds(&b, "lowerdir=");
	for (const char *p = dirs; *p; p += *p == ':') {
		size_t length = strcspn(p, ":");

		buf_add(&b, p + n, length - n);
		if (p[length])
			buf_addc(&b, ':');
		p += length;
	}
	free(*option);
	*option = buf_take(&b);
	return 0;
}

/* "loop", as mount(8) knows it: with that, a file is mounted as a block device. Takes it away. */
static bool take_loop(struct host_mount *m)
{
	bool found = false;
	size_t n = 0;

	for (size_t i = 0; m->options && m->options[i]; i++)
		if (streq(m->options[i], "loop")) {
			free(m->options[i]);
			found = true;
		} else {
			m->options[n++] = m->options[i];
		}
	if (m->options)
		m->options[n] = NULL;
	return found;
}

static int mount_plain(struct host_mount *m, const char *target)
{
	_cleanup_(mount_options_fini) struct mount_options options = {0};
	char device[LOOP_DEVICE_PATH_SIZE];
	_cleanup_(closep) int loop = -1;
	bool is_file = take_loop(m);
	size_t n = 0, lower = SIZE_MAX;
	int r;

	for (; m->options && m->options[n]; n++)
		if (str_has_prefix(m->options[n], "lowerdir="))
			lower = n;
	r = mount_options_parse(m->options, n, &options);
	if (r == -E2BIG && streq(m->type, "overlay") && lower != SIZE_MAX &&
	    shorten_lowerdir(&m->options[lower]) >= 0)
		r = mount_options_parse(m->options, n, &options);
	if (r < 0 || !is_file)
		return r < 0 ? r : mount_make(m->source, target, m->type, &options);
	loop = loop_device_open(m->source, options.flags & MS_RDONLY, device);
	return loop < 0 ? loop : mount_make(device, target, m->type, &options);
}

/* --- with mapped ids --- */

static void find_fstype(const char *path, struct host_mount_outcome *outcome)
{
	struct mountinfo *mounts = NULL;
	struct statx st;
	size_t n = 0;

	snprintf(outcome->fstype, sizeof(outcome->fstype), "the file system");
	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &st) < 0 || mountinfo_read(0, &mounts, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (mounts[i].id == st.stx_mnt_id)
			snprintf(outcome->fstype, sizeof(outcome->fstype), "%s", mounts[i].fstype);
	mountinfo_free(mounts, n);
}

int host_mount_idmap(int tree, int user, bool recursive, const char *path,
		     struct host_mount_outcome *outcome)
{
	int r;

	snprintf(outcome->step, sizeof(outcome->step), "map ids");
	r = idmap_tree(tree, user, recursive);
	if (r == -EINVAL)
		find_fstype(path, outcome);
	return r;
}

static int cover(const char *dir, int user, struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int tree = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int r;

	if (tree < 0)
		return -errno;
	r = host_mount_idmap(tree, user, false, dir, outcome);
	if (r < 0)
		return r;
	return move_mount(tree, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int cover_lowers(const struct host_mount *m, int user, struct host_mount_outcome *outcome)
{
	const char *dirs = NULL;
	int r = 0;

	for (size_t i = 0; m->options && m->options[i] && !dirs; i++)
		dirs = str_skip_prefix(m->options[i], "lowerdir=");
	if (!dirs)
		return -EINVAL;
	for (const char *p = dirs; *p && r >= 0; p += *p == ':') {
		size_t n = strcspn(p, ":");
		_cleanup_(freep) char *dir = xstrndup(p, n);

		r = cover(dir, user, outcome);
		p += n;
	}
	return r;
}

/* In a mount namespace that is thrown away. Returns the mount, detached. */
static int mount_aside(struct host_mount *m, const char *target, struct host_mount_outcome *outcome)
{
	bool overlay = streq(m->type, "overlay");
	_cleanup_(closep) int user = ns_open_new_user(&m->idmap);
	_cleanup_(closep) int tree = -1;
	int r = 0;

	if (user < 0)
		return user;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (overlay)
		r = cover_lowers(m, user, outcome);
	if (r >= 0)
		r = mount_plain(m, target);
	if (r < 0)
		return r;
	tree = open_tree(AT_FDCWD, target,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned int)AT_RECURSIVE);
	if (tree < 0)
		return -errno;
	if (!overlay)
		r = host_mount_idmap(tree, user, false, target, outcome);
	return r < 0 ? r : TAKE_FD(tree);
}

static int mount_mapped(struct host_mount *m, const char *target,
			struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int tree = -1;

	if (home < 0 || unshare(CLONE_NEWNS) < 0)
		return -errno;
	tree = mount_aside(m, target, outcome);
	if (setns(home, CLONE_NEWNS) < 0)
		return -errno;
	if (tree < 0)
		return tree;
	return move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int mount_at(struct host_mount *m, const char *target, struct host_mount_outcome *outcome)
{
	return m->idmap.n_uids ? mount_mapped(m, target, outcome) : mount_plain(m, target);
}

/* --- in a root --- */

/* Where it is mounted, without a link that leads out of its root. An O_PATH descriptor. */
static int open_target(const struct host_mount *m)
{
	_cleanup_(closep) int root = open(m->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? -errno : path_open_in_root(root, m->target, O_PATH, 0);
}

/* By the place's real name: a guest that could exchange it is not shown the root yet. */
static int mount_in_root(struct host_mount *m, struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int fd = open_target(m);
	_cleanup_(freep) char *link = xasprintf("/proc/self/fd/%d", fd);
	char path[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return mount_at(m, path, outcome);
}

int host_mount_typed(struct host_mount *m, struct host_mount_outcome *outcome)
{
	return m->root ? mount_in_root(m, outcome) : mount_at(m, m->target, outcome);
}

void host_mount_umount_in_root(const struct host_mount *m)
{
	_cleanup_(closep) int fd = open_target(m);
	_cleanup_(freep) char *path = xasprintf("/proc/self/fd/%d", fd);

	if (fd >= 0)
		umount2(path, MNT_DETACH);
}
