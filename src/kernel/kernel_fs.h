/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* File systems that show the kernel itself and hold nobody's files: /proc, /sys and their like. */

#include <stdbool.h>
#include <sys/vfs.h>

/* kernel_fs_is: by its name in mountinfo. */
bool kernel_fs_is(const char *fstype);
/* kernel_fs_name: the name of the one that statfs(2) has found, or NULL. devtmpfs is not told from
 * tmpfs there. */
const char *kernel_fs_name(const struct statfs *fs);
