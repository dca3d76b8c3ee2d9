/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the guest sees of the host's files, in up to two file systems of virtio-fs with a virtiofsd
 * each, since what may be cached differs:
 *
 *	volumes  others may change them at any time: /run/kata-containers/shared/sandboxes/<id>/
 *	roots    the root file systems, which are their containers' alone: …/<id>/rootfs/
 *
 * Each has `mounts`, where we mount, and `shared`, a read-only view of it, which virtiofsd serves
 * and which receives what is mounted in `mounts` afterwards. The guest can therefore write only
 * inside of what was mounted read-write for it, never in the folder itself.
 */

#include <sys/types.h>

#include "base/err.h"
#include "base/list.h"
#include "runtime/host_file.h"
#include "runtime/host_mount.h"

#define SHARE_ROOT "/run/kata-containers/shared/sandboxes"

enum share_kind { SHARE_VOLUMES, SHARE_ROOTS, _SHARE_MAX };

struct share_view {
	const char *tag;       /* of the file system */
	const char *guest_dir; /* where the guest mounts it */
	char *mounts, *shared;
};

struct share {
	char *dir; /* SHARE_ROOT/<id> */
	struct share_view views[_SHARE_MAX];
	size_t n_views; /* 1: the root file systems are among the volumes; 0: nothing is shared */
	struct list volumes; /* mounts that another container may join */
};

void share_init(struct share *share, const char *id, size_t n_views);
void share_fini(struct share *share);
/* share_open: make and mount the folders. share_close: unmount all below and remove them; also for
 * a share that another process has left. */
int share_open(struct share *share, uint64_t deadline, struct err *err);
int share_close(struct share *share, struct err *err);
/* share_move: the share, in which nothing is planned yet, becomes that of another sandbox. */
int share_move(struct share *share, const char *id, struct err *err);
/*
 * share_add: plan in `m` to show `bind` (all but its target, which is made) to the guest as `name`,
 * one path component or "<container>/rootfs". Returns the guest's path, the caller's.
 */
char *share_add(const struct share *share, enum share_kind kind, struct host_mounts *m,
		const struct host_mount *bind, const char *name);
/*
 * share_add_volume: the same for a volume, which containers that mount it the same way, with the
 * same owners, share: the guest takes two mounts for two file systems, and a socket or a lock of
 * one is not seen through the other. `source` is what bind->source leads to, now; `name` is for a
 * new one.
 */
char *share_add_volume(struct share *share, struct host_mounts *m, const struct host_mount *bind,
		       const struct host_file *source, const char *name);
