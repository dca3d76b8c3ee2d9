/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Storage: what the runtime wants mounted in the guest before a container starts (Storage messages
 * of CreateSandbox and CreateContainer). Mounts are counted by mount point: two containers that
 * name the same one share it, the last one to let go unmounts. What must outlive a container that
 * is restarted (emptyDir: drivers ephemeral and local, and whatever has `shared` set) is also held
 * by the sandbox, until its end.
 */

#include "agent.pb-c.h"
#include "agent/agent.h"

#define STORAGE_PER_REQUEST_MAX 1024U

/* One mount point in use; holders keep a storage_ref. */
struct storage {
	char *mount_point;
	unsigned int refs;
	struct co_lock lock; /* while it is mounted or unmounted */
	bool ready;
	bool mounted;     /* false: a plain folder that is the storage itself (local) */
	bool made_target; /* the mount point is ours: removed after the unmount */
	dev_t device;     /* block storage: its device number, 0 otherwise */
};

/* A holder's list of references: embed a `struct list` in the holder and list_init() it. */
struct storage_ref {
	struct storage *storage;
	struct list link;
};

/*
 * storage_add_all: mount `n` storages in order, appending a reference for each to `refs`. On error
 * those that this call added are taken back. Waits (in a coroutine): mounts happen in children.
 */
int storage_add_all(struct agent *agent, struct list *refs, Grpc__Storage *const *storages,
		    size_t n, struct err *err);
/* storage_remove_all: give up every reference in `refs`, last first; unmounts what nobody else
 * holds. Goes on after an error and returns the first. Waits. */
int storage_remove_all(struct agent *agent, struct list *refs, struct err *err);
/* storage_update: remount an ephemeral storage with new options (its size). Waits. */
int storage_update(struct agent *agent, const Grpc__Storage *request, struct err *err);
/* storage_drivers: the NULL-terminated names that storage_add_all understands. */
const char *const *storage_drivers(void);
