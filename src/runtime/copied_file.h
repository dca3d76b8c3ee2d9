/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A file of the host of which the guest has a copy, where no folder is shared. Both directions are
 * a child's work, since the file may lie on a dead server. Its path may lead elsewhere the second
 * time, for whoever can write its folder: what is written is the very file that was read, or none.
 */

#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/sha256.h"
#include "runtime/host_file.h"

/* As in ReadCopiedFile of agent.proto. */
#define COPIED_FILE_MAX (1U << 20)

/* Which file it is: numbers of files are used again, the time at which it was made is not. */
struct file_identity {
	struct host_file file;
	int64_t born; /* CLOCK_REALTIME ns; 0: its file system does not know */
};

struct copied_file {
	struct file_identity identity;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint8_t content[SHA256_SIZE]; /* the digest of what is in it */
};

/* copied_file_read: *ret_data, of n bytes, is the caller's. -EFBIG: it has more than
 * COPIED_FILE_MAX; -EINVAL: it is no file. */
int copied_file_read(const char *path, uint64_t deadline, struct copied_file *ret,
		     uint8_t **ret_data, size_t *ret_n, struct err *err);
/* copied_file_write: this is in it now. -ESTALE: it is another file than the one in `was`, or there
 * is something else in it than there was. A file system that is full is noticed before anything is
 * lost. */
int copied_file_write(const char *path, const struct copied_file *was, const void *data, size_t n,
		      uint64_t deadline, struct err *err);
/* file_identify: what the path leads to; "": what dirfd is, which may be O_PATH. Blocks.
 * file_identity_equal: one and the same file, whatever is in it. */
int file_identify(int dirfd, const char *path, struct file_identity *ret);
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);
