/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/pod_user.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

bool pod_user_join(const struct pod_user *pod, const struct ns_maps *maps, struct stage_plan *plan)
{
	if (pod->user < 0 || !ns_maps_equal(&pod->maps, maps) ||
	    plan->n_joins + 3 > STAGE_JOINS_MAX)
		return false;
	memmove(plan->joins + 3, plan->joins, plan->n_joins * sizeof(plan->joins[0]));
	plan->joins[0].flag = CLONE_NEWUSER;
	plan->joins[0].fd = pod->user;
	plan->joins[1].flag = CLONE_NEWIPC;
	plan->joins[1].fd = pod->ipc;
	plan->joins[2].flag = CLONE_NEWUTS;
	plan->joins[2].fd = pod->uts;
	plan->n_joins += 3;
	return true;
}

static int open_of(pid_t pid, unsigned int flag)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, ns_proc_name(flag));
	return ns_open(path, flag);
}

int pod_user_keep(struct pod_user *pod, const struct ns_maps *maps, pid_t pid, struct err *err)
{
	if (pod->user >= 0)
		return 0;
	pod->user = open_of(pid, CLONE_NEWUSER);
	pod->ipc = open_of(pid, CLONE_NEWIPC);
	pod->uts = open_of(pid, CLONE_NEWUTS);
	if (pod->user < 0 || pod->ipc < 0 || pod->uts < 0) {
		int r = MIN(pod->user, MIN(pod->ipc, pod->uts));

		pod_user_fini(pod);
		return err_set(err, r, "keep the user namespace of the first container");
	}
	pod->maps = ns_maps_copy(maps);
	return 0;
}

void pod_user_fini(struct pod_user *pod)
{
	fd_close(pod->user);
	fd_close(pod->ipc);
	fd_close(pod->uts);
	ns_maps_fini(&pod->maps);
	*pod = POD_USER_NONE;
}
