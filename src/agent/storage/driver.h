/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Within agent/storage: what a driver is, and the mount that most of them end with. */

#include "agent/storage/storage.h"

/* Make the storage usable at request->mount_point; runs in a coroutine with storage->lock held.
 * Sets storage->mounted, made_target and device. */
typedef int (*storage_driver_fn)(struct agent *agent, const Grpc__Storage *request,
				 struct storage *storage, struct err *err);

struct storage_driver {
	const char *name;
	storage_driver_fn add;
	bool of_sandbox; /* outlives the container that asked for it */
};

/* storage_driver_find: NULL when there is none of that name. */
const struct storage_driver *storage_driver_find(const char *name);

/*
 * storage_mount: in a child, at most MOUNT_TIME: make the mount point (a file for a bind mount of a
 * file), mount `source` there with the request's options and file system, and set the group. While
 * the kernel says that the device is not ready yet it is tried again until `retry_until`.
 */
int storage_mount(struct agent *agent, const Grpc__Storage *request, const char *source,
		  const char *fstype, uint64_t retry_until, struct storage *storage,
		  struct err *err);
/* storage_remount: change the options of a mounted storage. */
int storage_remount(const Grpc__Storage *request, struct err *err);
/* storage_make_dir: the local driver's whole work. */
int storage_make_dir(const Grpc__Storage *request, struct storage *storage, struct err *err);
/* storage_unmount: the reverse of either. */
int storage_unmount(const struct storage *storage, struct err *err);

/*
 * storage_own_tree: give the tree at path to a group as Kubernetes' fsGroup does: group and
 * group permissions of everything, set-group-id on folders; only_on_mismatch: not when the root
 * has them. Never follows a symlink, never leaves the file system. For children.
 */
int storage_own_tree(const char *path, gid_t group, bool only_on_mismatch, bool read_only);
