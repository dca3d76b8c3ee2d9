/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mounts that containerd 2.2 leaves for the runtime to complete, when that asks for it
 *(docs/mounts.md of containerd, "containerd.io/runtime-allow-mounts"): of type "format/…" or
 *"mkdir/…", with options that name the places of the mounts before them.
 *
 *	overlay 1 3	of these mounts, as lowerdir= wants them
 *	mount 0		of this one, both between doubled braces
 *	X-containerd.mkdir.path=…	a folder to make first
 */

#include "base/err.h"
#include "base/str.h"
#include "runtime/sandbox.h"

struct formatted_mount {
	char *type, *source;
	struct strv options;
	struct strv folders; /* to be made before it, 0755 */
};

/* mount_has_format: is it such a mount? */
bool mount_has_format(const struct rootfs_mount *m);
/* mount_uses_host: does it name folders of the host itself, beside those of the mounts before it?
 */
bool mount_uses_host(const struct rootfs_mount *m);
/*
 * mount_format: complete it (another one stays as it is); places[i] is where the i-th mount of the
 * request is (or will be). -EINVAL: it names one that is not before it; -ENOSYS: in a way that is
 * not supported. formatted_mount_fini either way.
 */
int mount_format(const struct rootfs_mount *m, const struct strv *places,
		 struct formatted_mount *ret, struct err *err);
void formatted_mount_fini(struct formatted_mount *m);
