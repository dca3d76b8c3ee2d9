/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The archive format of an initramfs: cpio "newc" (Documentation/driver-api/early-userspace/
 * buffer-format.rst). */

#include <stdint.h>

#include "builder/tree.h"

/*
 * cpio_encode: append the archive of a sorted tree to out, owner root, every time `mtime`. Equal
 * trees give equal bytes. Returns 0 or -EFBIG when a file or time does not fit the format's 32
 * bits.
 */
int cpio_encode(const struct tree *t, int64_t mtime, struct buf *out);
