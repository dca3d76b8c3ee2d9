/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/init/init.h"
#include "base/path.h"
#include "base/str.h"

/*
 * Masked paths: an empty read-only tmpfs over a folder, /dev/null over a file. Read-only paths: the
 * path bound onto itself, read-only. What does not exist needs neither.
 */

static int attach(int tree, int place)
{
	return move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
			       0
		       ? -errno
		       : 0;
}

/* The agent's own /dev/null, looked at before it is trusted. */
static int null_tree(void)
{
	_cleanup_(closep) int tree = open_tree(AT_FDCWD, "/dev/null",
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct stat st;

	if (tree < 0 || fstat(tree, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return -ENODEV;
	return TAKE_FD(tree);
}

static int empty_tree(void)
{
	_cleanup_(closep) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int tree;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "4k", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	tree = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	return tree < 0 ? -errno : tree;
}

static int mask(int root, const char *path, struct err *err)
{
	_cleanup_(closep) int place = path_open_in_root(root, path, O_PATH, 0);
	_cleanup_(closep) int tree = -1;
	struct stat st;
	int r;

	if (place == -ENOENT || place == -ENOTDIR)
		return 0;
	if (place < 0 || fstat(place, &st) < 0)
		return err_set(err, place < 0 ? place : -errno, "masked path %s", path);
	tree = S_ISDIR(st.st_mode) ? empty_tree() : null_tree();
	r = tree < 0 ? tree : attach(tree, place);
	return r < 0 ? err_set(err, r, "mask %s", path) : 0;
}

static int make_readonly(int root, const char *path, struct err *err)
{
	_cleanup_(closep) int place = path_open_in_root(root, path, O_PATH, 0);
	_cleanup_(closep) int tree = -1;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int r;

	if (place == -ENOENT || place == -ENOTDIR)
		return 0;
	if (place < 0)
		return err_set(err, place, "read-only path %s", path);
	tree = open_tree(place, "",
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0 ||
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return err_set(err, -errno, "make %s read-only", path);
	r = attach(tree, place);
	return r < 0 ? err_set(err, r, "make %s read-only", path) : 0;
}

int masks_apply(int root, const Grpc__Spec *spec, struct err *err)
{
	const Grpc__Linux *linux_spec = spec->linux;
	int r = 0;

	for (size_t i = 0; linux_spec && i < linux_spec->n_readonlypaths && r == 0; i++)
		r = make_readonly(root, linux_spec->readonlypaths[i], err);
	for (size_t i = 0; linux_spec && i < linux_spec->n_maskedpaths && r == 0; i++)
		r = mask(root, linux_spec->maskedpaths[i], err);
	return r;
}
