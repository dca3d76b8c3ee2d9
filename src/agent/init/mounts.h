/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One mount of the specification below a container's root. */

#include <stdbool.h>

#include "base/err.h"
#include "oci.pb-c.h"

/* mounts_add: make the mount point and mount. */
int mounts_add(int root, const Grpc__Mount *mount, struct err *err);
/*
 * mounts_place: the mount point `path` below root, made when missing (as a folder or a file).
 * Returns an O_PATH descriptor; *ret_made (may be NULL) says whether it is new.
 */
int mounts_place(int root, const char *path, bool folder, bool *ret_made, struct err *err);
/* mounts_check_proc: may something be mounted at `path`, which is open as `fd`? Mounts below /proc
 * would hide the kernel's word, but for a few files. */
int mounts_check_proc(int fd, const char *path, struct err *err);
