/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's root as a disk image: one partition, made by the file system's own tool. */

#include <stdint.h>

#include "builder/tree.h"

enum disk_format { DISK_NONE, DISK_EROFS, DISK_EXT4, _DISK_MAX };

const char *disk_format_name(enum disk_format f);
/* disk_format_parse: "erofs" or "ext4"; -EINVAL otherwise. */
int disk_format_parse(const char *name, enum disk_format *ret);
/*
 * disk_make: pack the sorted tree into the file dir/name (its layout: partition.h). key: at least
 * 32 hex digits, from which the UUIDs of the file system and the disk are made. mtime: the time of
 * everything in it. Equal arguments give equal bytes. Working files beside it are made and removed.
 */
int disk_make(const struct tree *t, enum disk_format f, const char *dir, const char *name,
	      const char *key, int64_t mtime, struct err *err);
