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

/* The API server allows 1 MiB for each object; a projected volume has several. */
#define SNAPSHOT_BYTES_MAX   (64U << 20)
#define SNAPSHOT_ENTRIES_MAX 16384U

struct snapshot {
	int fd; /* of a memfd */
	uint8_t digest[SHA256_SIZE];
};

/*
 * snapshot_take: of the volume at `path`, which the guest calls `name`, with owners that are mapped
 * as an idmapped mount would show them. Returns 0, -EAGAIN when it was changed meanwhile (take
 * another one), -EFBIG when it is larger than the limits above, or -errno. Free it with
 * snapshot_fini().
 */
int snapshot_take(const char *path, const char *name, const struct ns_maps *idmap,
		  uint64_t deadline, struct snapshot *ret, struct err *err);
/* snapshot_next: the next message, the caller's; NULL: that was the last one. */
int snapshot_next(struct snapshot *snapshot, Grpc__UpdateLiveVolumeRequest **ret, struct err *err);
void snapshot_fini(struct snapshot *snapshot);
