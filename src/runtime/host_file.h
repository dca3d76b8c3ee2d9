/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What of the host a path leads to, by whichever name: a block device, or else a file of a file
 * system. */

#include <stdbool.h>
#include <sys/stat.h>

struct host_file {
	dev_t device;
	ino_t inode; /* 0: the block device itself */
};

static inline struct host_file host_file_of(const struct stat *st)
{
	if (S_ISBLK(st->st_mode))
		return (struct host_file){.device = st->st_rdev};
	return (struct host_file){st->st_dev, st->st_ino};
}

static inline bool host_file_equal(struct host_file a, struct host_file b)
{
	return a.device == b.device && a.inode == b.inode;
}
