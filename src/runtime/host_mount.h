/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Mounts on the host, collected first and then made in one child process: mount(2) may block for as
 * long as a dead NFS server pleases, and the loop may not.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "kernel/ns.h"

#define HOST_MOUNT_MAX 4096 /* of one container; a peer decides how many it has */

/* Of a mount that several lists have: the first makes it, the last unmounts it. */
struct mount_users {
	struct list link; /* of those that more may join: its owner's; self-linked when it is not */
	unsigned int n;
	bool mounted;
	void (*free)(struct mount_users *users); /* with what they are part of */
};

struct host_mount {
	char *type; /* NULL: a bind mount */
	char *source, *target;
	unsigned long flags; /* of a bind mount: MS_REC, MS_RDONLY, MS_SLAVE, MS_SHARED count */
	char **options;      /* of others: as in fstab(5), ended by NULL */
	char *root;       /* of others: NULL, or the folder that the target is in and in which its
			     links stay: what it contains is an image's, later a guest's */
	char **folders;   /* of others: made (0755) before the mount, ended by NULL */
	bool make_target; /* make target as a folder or an empty file, as the source is; and remove
			     it afterwards */
	bool recursive_read_only;
	/* Owners on disk (inside) to those that are shown (outside); no uids: as they are. */
	struct ns_maps idmap;
	bool recursive_idmap;      /* what is mounted below it, too */
	struct mount_users *users; /* NULL: this list alone has it; else counted */
	bool others;               /* it is another list's to make or to unmount */
};

struct host_mounts {
	struct host_mount *v;
	size_t n;
	size_t n_done; /* this many are mounted */
};

/* host_mounts_add: append an entry; strings and mappings are copied. One with users that are
 * mounted is there already. */
void host_mounts_add(struct host_mounts *m, const struct host_mount *entry);
/*
 * host_mounts_apply: make those that are not mounted yet, in order. When one fails, what this call
 * has mounted is unmounted again and the error names it. While this waits the list is empty for
 * others: an undo of what is half made would do nothing good.
 */
int host_mounts_apply(struct host_mounts *m, uint64_t deadline, struct err *err);
/* host_mounts_undo: unmount all that no other list has, last one first (lazily: a user may be
 * stuck), and forget them. */
void host_mounts_undo(struct host_mounts *m);
void host_mounts_fini(struct host_mounts *m);

/* host_mounts_sources_in: sources of bind mounts are in this mount namespace (borrowed), but for
 * those that an entry before them has mounted. */
void host_mounts_sources_in(int mount_namespace);
/* host_mounts_enter_sources: for a child process that looks at sources: go where they are. */
int host_mounts_enter_sources(void);
