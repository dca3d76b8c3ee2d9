/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent/container.h"
#include "agent/device/device.h"
#include "agent/oom.h"
#include "agent/resources.h"
#include "agent/rpc.h"
#include "agent/spec_check.h"
#include "agent/storage/storage.h"
#include "base/alloc.h"
#include "base/log.h"

/* The calls about containers as wholes. */

#define FILE_NAME_MAX 128U
#define PAUSE_USEC    (10 * USEC_PER_SEC) /* until a group is frozen */

static uint64_t deadline_of(const struct ttrpc_call *call)
{
	return MIN(ttrpc_call_deadline(call), clock_after(STAGE_TIMEOUT_SEC * USEC_PER_SEC));
}

/* --- CreateContainer --- */

static int resolve_devices(struct agent *agent, const Grpc__CreateContainerRequest *request,
			   struct err *err)
{
	_cleanup_(freep) struct device *devices = NULL;
	size_t n = 0;
	int r = 0;

	if (request->n_devices > DEVICE_PER_REQUEST_MAX)
		return err_setx(err, -E2BIG, "more than %u devices", DEVICE_PER_REQUEST_MAX);
	devices = xcalloc(request->n_devices + 1, sizeof(*devices));
	for (; n < request->n_devices && r == 0; n++)
		r = device_resolve(agent, request->devices[n], &devices[n], err);
	if (r < 0)
		err_wrap(err, r, "device %s", request->devices[n - 1]->container_path);
	else if (request->oci->linux)
		device_place_all(devices, n, request->oci->linux);
	for (size_t i = 0; i < n; i++)
		device_fini(&devices[i]);
	return r;
}

static int create(struct container *c, const Grpc__CreateContainerRequest *request,
		  uint64_t deadline, struct err *err)
{
	struct agent *agent =
		c->agent; /* NOLINT(clang-analyzer-core.NullDereference): never NULL */
	bool shared = request->sandbox_pidns || agent->sandbox.shared_pidns;
	int r = resolve_devices(agent, request, err);

	if (r == 0)
		r = storage_add_all(c->agent, &c->storages, request->storages, request->n_storages,
				    err);
	if (r == 0 && c->state == CONTAINER_REMOVING)
		r = err_setx(err, -ECANCELED, "the container was removed meanwhile");
	if (r < 0)
		return r;
	return container_create(c, request->oci, request->exec_id, shared, deadline, err);
}

RPC(create_container)
{
	const Grpc__CreateContainerRequest *request = request_;
	struct agent *agent = rpc_agent(call);
	_cleanup_err_ struct err ignored = {0};
	struct container *c = NULL;
	int r;

	(void)response_;
	if (agent->sandbox.destroying)
		return err_setx(err, -EBUSY, "the sandbox is being destroyed");
	if (request->stdin_port || request->stdout_port || request->stderr_port)
		return err_setx(err, -ENOSYS, "streams over vsock ports are not supported");
	if (request->n_shared_mounts)
		return err_setx(err, -ENOSYS, "shared mounts are not supported");
	r = spec_check(request->oci, err);
	if (r == 0)
		r = container_new(agent, request->container_id, &c, err);
	if (r < 0)
		return r;
	container_enter(c);
	r = create(c, request, deadline_of(call), err);
	container_leave(c);
	if (r == 0) {
		log_info("container %s has been created", c->id);
		return 0;
	}
	log_warn("container %s: create: %s", c->id, err_text(err));
	/* A removal that has come in between takes it down itself. */
	if (container_move(c, CONTAINER_REMOVE, NULL) == 0)
		(void)container_destroy(c, USEC_NEVER, &ignored);
	return r;
}

/* --- the other calls --- */

RPC(start_container)
{
	const Grpc__StartContainerRequest *request = request_;
	struct container *c = container_find(rpc_agent(call), request->container_id, err);
	int r;

	(void)response_;
	if (!c)
		return -ENOENT;
	r = container_check(c, CONTAINER_START, err);
	if (r < 0)
		return r;
	/* From here on nobody else can start it. */
	c->state = CONTAINER_RUNNING;
	container_enter(c);
	r = process_go(c->init, deadline_of(call), err);
	if (r == 0)
		r = hooks_run(c, HOOK_POSTSTART, err);
	if (r < 0)
		(void)container_kill(c);
	container_leave(c);
	return r;
}

RPC(remove_container)
{
	const Grpc__RemoveContainerRequest *request = request_;
	struct container *c = container_find(rpc_agent(call), request->container_id, err);
	uint64_t deadline = ttrpc_call_deadline(call);
	int r;

	(void)response_;
	if (!c)
		return -ENOENT;
	r = container_move(c, CONTAINER_REMOVE, err);
	if (r < 0)
		return r;
	if (request->timeout)
		deadline = MIN(deadline, clock_after(request->timeout * USEC_PER_SEC));
	return container_destroy(c, deadline, err);
}

struct update {
	struct cgroup *group;
	const struct cgroup_resources *resources;
};

/* A limit of memory below what is used makes the kernel reclaim before write(2) returns. The reply
 * is the name of the file at fault. */
static int apply_in_child(void *arg, void *reply)
{
	const struct update *update = arg;
	_cleanup_(freep) char *file = NULL;
	int r = cgroup_apply(update->group, update->resources, &file);

	if (file)
		snprintf(reply, FILE_NAME_MAX, "%s", file);
	return r;
}

RPC(update_container)
{
	const Grpc__UpdateContainerRequest *request = request_;
	struct container *c = container_find(rpc_agent(call), request->container_id, err);
	_cleanup_(resources_fini) struct resources res = {0};
	char file[FILE_NAME_MAX] = "";
	struct update update;
	int r;

	(void)response_;
	if (!c)
		return -ENOENT;
	r = container_check_stays(c, err);
	if (r == 0)
		r = resources_parse(&res, request->resources, err);
	if (r < 0)
		return r;
	if (!c->has_cgroup)
		return err_setx(err, -EBUSY, "container %s has no control group", c->id);
	if (request->resources && request->resources->n_devices) {
		r = resources_add_devices(&res, request->resources, NULL, 0, err);
		if (r < 0)
			return r;
		r = cgroup_set_devices(&c->cgroup, res.rules, res.n_rules);
		if (r < 0)
			return err_set(err, r, "device filter");
	}
	update.resources = &res.limits;
	update.group = &c->cgroup;
	container_enter(c);
	r = co_run_child(apply_in_child, &update, file, sizeof(file), deadline_of(call));
	if (r < 0)
		err_set(err, r, "control group %s: set %s", c->cgroup.path,
			*file ? file : "limits");
	container_leave(c);
	return r;
}

/* Waits until the group is frozen, or no longer. */
static int await_frozen(struct container *c, bool on, uint64_t deadline, struct err *err)
{
	uint64_t pause = USEC_PER_MSEC;
	int r;

	while ((r = cgroup_is_frozen(&c->cgroup)) != on) {
		if (r < 0)
			return err_set(err, r, "container %s: read the state of its control group",
				       c->id);
		if (clock_now() >= deadline)
			return err_setx(err, -ETIMEDOUT, "container %s: processes do not %s", c->id,
					on ? "freeze" : "thaw");
		co_sleep(pause);
		pause = MIN(2 * pause, 20 * USEC_PER_MSEC);
	}
	return 0;
}

static int freeze(struct agent *agent, const char *id, bool on, uint64_t deadline, struct err *err)
{
	struct container *c = container_find(agent, id, err);
	enum container_event event = on ? CONTAINER_PAUSE : CONTAINER_RESUME;
	int r;

	if (!c)
		return -ENOENT;
	r = container_check(c, event, err);
	if (r < 0)
		return r;
	if (!c->has_cgroup)
		return err_setx(err, -ENOSYS, "container %s has no control group to freeze", id);
	r = cgroup_freeze(&c->cgroup, on);
	if (r < 0)
		return err_set(err, r, "freeze control group %s", c->cgroup.path);
	/* The state first: nothing may enter while it freezes. */
	container_move(c, event, NULL);
	container_enter(c);
	r = await_frozen(c, on, MIN(deadline, clock_after(PAUSE_USEC)), err);
	if (r < 0 && on && c->state == CONTAINER_PAUSED) {
		(void)cgroup_freeze(&c->cgroup, false);
		c->state = CONTAINER_RUNNING;
	}
	container_leave(c);
	return r;
}

RPC(pause_container)
{
	const Grpc__PauseContainerRequest *request = request_;

	(void)response_;
	return freeze(rpc_agent(call), request->container_id, true, deadline_of(call), err);
}

RPC(resume_container)
{
	const Grpc__ResumeContainerRequest *request = request_;

	(void)response_;
	return freeze(rpc_agent(call), request->container_id, false, deadline_of(call), err);
}

/* DestroySandbox: everything, whatever goes wrong with one. */
int containers_destroy(struct agent *agent, struct err *err)
{
	int result = 0;

	for (;;) {
		struct container *c = NULL;
		int r;

		map_for_each (entry, &agent->containers) {
			struct container *candidate = entry->value;

			if (container_next(candidate->state, CONTAINER_REMOVE) >= 0 &&
			    !candidate->undestroyable)
				c = candidate;
		}
		if (!c)
			break;
		c->state = CONTAINER_REMOVING;
		r = container_destroy(c, USEC_NEVER, result ? NULL : err);
		if (r < 0) {
			c->undestroyable = true;
			result = result ? result : r;
		}
	}
	map_for_each (entry, &agent->containers)
		((struct container *)entry->value)->undestroyable = false;
	return result;
}
