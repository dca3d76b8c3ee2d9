/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sandbox's control group on the host: shim, VM and virtiofsd are accounted, and limited, where
 * the orchestrator has made room for the pod. Where config.json has a path, in "kata_<id>" beside
 * the group that it names for the sandbox's container; where it names a slice and systemd runs, in
 * the scope that runc would make there. Both cgroup versions.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct host_cgroup {
	struct strv dirs; /* ours, absolute; whoever cleans up after a crash needs these */
	struct strv home; /* the group files that this process came from, of the same index */
	bool scope;       /* systemd makes it */
};

/*
 * host_cgroup_plan: find out where the group has to be, in each hierarchy; makes nothing yet.
 * cgroups_path is the one of config.json ("" if there is none).
 */
int host_cgroup_plan(struct host_cgroup *cgroup, const char *cgroups_path, const char *id,
		     struct err *err);
/*
 * host_cgroup_join: make what was planned and move this process there; its later children follow.
 * Where a hierarchy cannot be written (a container without the rights) it is left out, with a line
 * in the log. Returns 0 also then.
 */
int host_cgroup_join(const struct host_cgroup *cgroup, uint64_t deadline, struct err *err);
/*
 * host_cgroup_move: the same, and these processes too, which have joined another group of ours
 * before, that is removed when it is empty then, else it goes with `to`, which gets the `home` of
 * `from`.
 */
int host_cgroup_move(const struct host_cgroup *from, struct host_cgroup *to, const pid_t *pids,
		     size_t n_pids, uint64_t deadline, struct err *err);
/* host_cgroup_out_of_memory: the folder in which the kernel has killed a process for want of
 * memory; NULL: none. */
const char *host_cgroup_out_of_memory(const struct host_cgroup *cgroup);
/* host_cgroup_expel: move a process of the group to where this one came from, as far as that is
 * possible. */
void host_cgroup_expel(const struct host_cgroup *cgroup, pid_t pid);
/* host_cgroup_close: go back and remove it; its other processes have ended, or are killed. -EBUSY
 * or -ETIMEDOUT: it is still there. */
int host_cgroup_close(struct host_cgroup *cgroup);
void host_cgroup_fini(struct host_cgroup *cgroup);
/* host_cgroup_remove: kill what is in the folders and remove them (after a crash). -EBUSY: somebody
 * is still there. */
int host_cgroup_remove(const struct strv *dirs);
