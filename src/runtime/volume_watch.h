/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who changes the folders of volumes on the host: kubelet, by its AtomicWriter. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/list.h"
#include "loop/loop.h"

struct volume_watch {
	struct list link;
	const char *path;
	int wd;               /* -1: none */
	struct timespec seen; /* the change of ..data that was looked at last, without a watch */
};

struct volume_watches {
	struct loop *loop;
	struct list list; /* struct volume_watch */
	int fd;           /* of inotify; -1: none was to be had */
	struct loop_io io;
	struct loop_timer poll;
	void (*changed)(struct volume_watch *watch);
};

/* volume_watches_init: changed() is told of every folder that may have changed; it may not remove
 * one. */
void volume_watches_init(struct volume_watches *all, struct loop *loop,
			 void (*changed)(struct volume_watch *watch));
/* volume_watches_fini: when none is watched any more. */
void volume_watches_fini(struct volume_watches *all);
/* volume_watch_add: from now on every change of the folder `path` (borrowed) is told, or it is
 * looked at now and then. */
void volume_watch_add(struct volume_watches *all, struct volume_watch *watch, const char *path);
void volume_watch_remove(struct volume_watches *all, struct volume_watch *watch);
/* volume_watch_concerns: is what inotify tells of the entry `name` of a volume (NULL: the volume
 * itself) a change of what is in it? Pure. */
bool volume_watch_concerns(uint32_t mask, const char *name);
