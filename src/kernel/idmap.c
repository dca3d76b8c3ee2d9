/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "base/alloc.h"
#include "base/fd.h"

int idmap_tree(int tree, int user, bool recursive)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user};

	return mount_setattr(tree, "", AT_EMPTY_PATH | (recursive ? (unsigned int)AT_RECURSIVE : 0),
			     &attr, sizeof(attr)) < 0
		       ? -errno
		       : 0;
}

bool idmap_supported(void)
{
	struct ns_mapping one = {0, 1, 1};
	struct ns_maps maps = {.uids = &one, .gids = &one, .n_uids = 1, .n_gids = 1};
	_cleanup_(closep) int user = ns_open_new_user(&maps);
	_cleanup_(closep) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	_cleanup_(closep) int tree = -1;

	if (user < 0 || fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return false;
	tree = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return tree >= 0 && idmap_tree(tree, user, false) == 0;
}
