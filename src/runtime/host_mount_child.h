/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between host_mount.c, host_mount_clone.c and host_mount_typed.c: what runs in the child that
 * mounts. */

#include "runtime/host_mount.h"

/* What the child reports. */
struct host_mount_outcome {
	size_t n_done;
	char step[32];
	char fstype[32];    /* of the file system that cannot map ids; "": it is not that */
	char kernel_fs[32]; /* the kernel's file system that was to be shown; "": it is not that */
};

/* Where the kernel's file systems are mounted in the namespace of the sources: found once for all
 * mounts of a list, since others may be many. */
struct host_mount_kernels {
	bool known;
	struct strv points;
};

/* host_mount_clone: clone the source of a bind mount, with all below it where flags have MS_REC,
 * but for what is a file system of the kernel's. kernels NULL: it is in our own mount namespace,
 * and was left out when it was mounted there. Returns the detached mount or -errno. Changes the
 * working directory. */
int host_mount_clone(const struct host_mount *m, struct host_mount_kernels *kernels,
		     struct host_mount_outcome *outcome);

/* host_mount_typed: mount one that has a type. Changes the working directory and m->options. */
int host_mount_typed(struct host_mount *m, struct host_mount_outcome *outcome);
/* host_mount_umount_in_root: unmount one with a root. A guest may have changed what is in that:
 * nothing outside of it is unmounted. */
void host_mount_umount_in_root(const struct host_mount *m);
/* host_mount_idmap: map the ids of the detached mount `tree`, a clone of what is at `path`, as the
 * user namespace `user` says. */
int host_mount_idmap(int tree, int user, bool recursive, const char *path,
		     struct host_mount_outcome *outcome);
