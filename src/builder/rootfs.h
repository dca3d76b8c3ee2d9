/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's root file system: the agent as /init, its modules, mount points; a shell on request.
 */

#include "builder/modules.h"
#include "builder/tree.h"

/* rootfs_add_base: mount points, /dev/console and /dev/null. */
void rootfs_add_base(struct tree *t);
/* rootfs_add_agent: the agent at `path`, a static program, as /init and /sbin/init. */
int rootfs_add_agent(struct tree *t, const char *path, struct err *err);
/* rootfs_add_modules: the files, uncompressed, and the two lists; see modules.h. */
int rootfs_add_modules(struct tree *t, const struct modules *m, const char *dir, struct err *err);
/* rootfs_add_shell: a static busybox and a link for each of its commands, for the console. */
int rootfs_add_shell(struct tree *t, const char *busybox, struct err *err);
