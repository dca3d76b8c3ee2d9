/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mounts that show the owners of their files as others (idmapped mounts, mount_setattr(2), Linux
 * 5.12): what id `inside` owns on disk belongs to `outside` for whoever looks through the mount,
 * and the other way round for what is made through it.
 */

#include "kernel/ns.h"

/*
 * idmap_tree: map the ids of the mount `tree`, which is detached (open_tree(2), fsmount(2)), and of
 * those below it when `recursive`, as the user namespace `user` does (ns_open_new_user()). Returns
 * 0; -EINVAL: a file system cannot do it; -EPERM: it is mapped already; or another -errno.
 */
int idmap_tree(int tree, int user, bool recursive);
/*
 * idmap_supported: whether this process can map ids on this kernel. Tried with a tmpfs that nobody
 * sees: it learned it last of the usual file systems (Linux 6.3), and is what Kubernetes' secrets
 * and tokens are in.
 */
bool idmap_supported(void);
