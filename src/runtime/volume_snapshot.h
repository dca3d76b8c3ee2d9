/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is in a volume that kubelet writes with its AtomicWriter (ConfigMap, Secret, projected,
 * downwardAPI): ..data, a symlink to the folder with the current files, and symlinks to its files
 * by way of it. Everything is read at one state of ..data, in a child, and kept in memory as the
 * messages that bring it to the guest.
 */

#include <stdint.h>

#include "agent.pb-c.h"
#include "base/err.h"
#include "base/sha256.h"
#include "kernel/ns.h"
#include "runtime/host_file.h"

/* The API server allows 1 MiB for each object; a projected volume has several. */
#define SNAPSHOT_BYTES_MAX   (64U << 20)
#define SNAPSHOT_ENTRIES_MAX 16384U

/* A file by itself is a volume with this one in it. */
#define SNAPSHOT_FILE     "file"
#define SNAPSHOT_FILE_MAX (1U << 20)

struct snapshot {
	int fd; /* of a memfd */
	uint8_t digest[SHA256_SIZE];
	/* Of a file: */
	uint8_t content[SHA256_SIZE]; /* the digest of what is in it */
	struct host_file file;
};

/*
 * snapshot_take: of the volume at `path`, which the guest calls `name`, with owners that are mapped
 * as an idmapped mount would show them. Returns 0, -EAGAIN when it was changed meanwhile (take
 * another one), -EFBIG when it is larger than the limits above, or -errno. Free it with
 * snapshot_fini().
 */
int snapshot_take(const char *path, const char *name, const struct ns_maps *idmap,
		  uint64_t deadline, struct snapshot *ret, struct err *err);
/* snapshot_take_file: the same of a file, which may be changed while it is read. -EFBIG: it has
 * more than SNAPSHOT_FILE_MAX bytes. */
int snapshot_take_file(const char *path, const char *name, const struct ns_maps *idmap,
		       uint64_t deadline, struct snapshot *ret, struct err *err);
/* snapshot_put_back: this is in the file at `path` now. -ESTALE: that is not the file any more of
 * which a snapshot was taken. */
int snapshot_put_back(const char *path, struct host_file file, const void *data, size_t n,
		      uint64_t deadline, struct err *err);
/* snapshot_next: the next message, the caller's; NULL: that was the last one. */
int snapshot_next(struct snapshot *snapshot, Grpc__UpdateLiveVolumeRequest **ret, struct err *err);
void snapshot_fini(struct snapshot *snapshot);
