/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The user namespace of the pod: that of the first container which has one. All others with the
 * same mappings join it, as they do with runc. With it go an IPC and a UTS namespace, since those
 * of the guest belong to the guest's root.
 */

#include "agent/init/stage.h"
#include "kernel/ns.h"

struct pod_user {
	struct ns_maps maps;
	int user, ipc, uts; /* -1: there is none yet */
};

#define POD_USER_NONE ((struct pod_user){.user = -1, .ipc = -1, .uts = -1})

/* pod_user_join: let the plan join it, when it is there and has these mappings. Returns whether. */
bool pod_user_join(const struct pod_user *pod, const struct ns_maps *maps, struct stage_plan *plan);
/* pod_user_keep: of process `pid` for those that come, unless there is one already. */
int pod_user_keep(struct pod_user *pod, const struct ns_maps *maps, pid_t pid, struct err *err);
void pod_user_fini(struct pod_user *pod);
