/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/path.h"
#include "runtime/device.h"
#include "runtime/hooks.h"
#include "runtime/live_volume.h"
#include "runtime/model.h"
#include "runtime/resize.h"
#include "runtime/rootfs.h"
#include "runtime/seccomp_bpf.h"
#include "runtime/spec_guest.h"
#include "runtime/volume.h"

/*
 * How it works: what can be done without the VM (config.json in the guest's terms, seccomp, a look
 * at the volumes) is done while it boots; then come devices, mounts and hooks, and then the agent
 * makes the container. Whatever fails, the host is left as it was.
 */

static struct container *container_new(struct sandbox *s, const struct container_request *request)
{
	struct container *c = xnew(struct container);
	struct process *init;

	c->sandbox = s;
	c->id = xstrdup(request->id);
	c->bundle = xstrdup(request->bundle);
	c->n_refs = 1;
	co_lock_init(&c->lock);
	sandbox_ref(s);
	init = process_new(c, "");
	init->terminal = request->terminal;
	init->stdin_open = request->stdin_open;
	map_put(&c->processes, "", init);
	return c;
}

/* What is sent to the agent, and freed afterwards. */
struct plan {
	Grpc__Spec *spec;
	Grpc__Storage **storages;
	size_t n_storages;
	Grpc__Device **devices;
	size_t n_devices;
	struct volume_source *sources; /* of spec's mounts */
	bool shared_pidns;
};

static void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_storages; i++)
		grpc__storage__free_unpacked(plan->storages[i], NULL);
	for (size_t i = 0; i < plan->n_devices; i++)
		grpc__device__free_unpacked(plan->devices[i], NULL);
	free(plan->storages);
	free(plan->devices);
	free(plan->sources);
	if (plan->spec)
		grpc__spec__free_unpacked(plan->spec, NULL);
}

static int wait_running(struct sandbox *s, struct err *err)
{
	while (s->state == SANDBOX_BOOTING)
		co_cond_wait(&s->changed, USEC_NEVER);
	return sandbox_usable(s, err);
}

/* A stop waits for it, see sandbox.c. */
static int apply_mounts(struct container *c, uint64_t deadline, struct err *err)
{
	struct sandbox *s = c->sandbox;
	int r = sandbox_usable(s, err);

	if (r < 0)
		return r;
	s->n_mounting++;
	r = host_mounts_apply(&c->mounts, deadline, err);
	s->n_mounting--;
	co_cond_wake_all(&s->changed);
	return r;
}

static int prepare_host(struct container *c, const struct container_request *request,
			struct plan *plan, uint64_t deadline, struct err *err)
{
	struct sandbox *s = c->sandbox;
	int r;

	plan->spec = spec_copy(request->spec);
	r = spec_to_guest(plan->spec, &plan->shared_pidns, err);
	if (r >= 0)
		r = volumes_prepare(plan->spec, c->id, &s->share, &c->mounts, &plan->storages,
				    &plan->n_storages, &plan->sources, deadline, err);
	if (r >= 0)
		r = seccomp_prepare(plan->spec, s->config, deadline, err);
	if (r >= 0)
		r = wait_running(s, err);
	if (r >= 0)
		r = seccomp_check(plan->spec, s->agent, err);
	if (r >= 0)
		r = live_volumes_prepare(c, plan->spec, plan->sources, deadline, err);
	if (r >= 0)
		r = rootfs_prepare(c, request, plan->spec, &plan->storages, &plan->n_storages, err);
	if (r >= 0)
		r = devices_prepare(c, plan->spec, &plan->devices, &plan->n_devices, err);
	if (r >= 0)
		r = resize_for(c, request->spec->linux ? request->spec->linux->resources : NULL,
			       err);
	if (r >= 0)
		r = apply_mounts(c, deadline, err);
	if (r >= 0 && request->spec->hooks)
		r = hooks_run_create(c, request->spec, deadline, err);
	return r;
}

static int create_in_guest(struct container *c, const struct plan *plan, uint64_t deadline,
			   struct err *err)
{
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	int r;

	request.container_id = c->id;
	request.exec_id = c->id;
	request.oci = plan->spec;
	request.storages = plan->storages;
	request.n_storages = plan->n_storages;
	request.devices = plan->devices;
	request.n_devices = plan->n_devices;
	request.sandbox_pidns = plan->shared_pidns;
	r = sandbox_usable(c->sandbox, err);
	if (r < 0)
		return r;
	c->in_guest = true;
	return agent_create_container(c->sandbox->agent, &request, deadline, err);
}

static int check_request(const struct sandbox *s, const struct container_request *request,
			 struct err *err)
{
	if (s->state != SANDBOX_RUNNING && s->state != SANDBOX_BOOTING)
		return sandbox_usable(s, err);
	if (!path_is_id(request->id))
		return err_setx(err, -EINVAL, "\"%s\" cannot be the name of a container",
				request->id);
	if (map_get(&s->containers, request->id))
		return err_setx(err, -EEXIST, "container %s exists already", request->id);
	if (s->containers.n >= SANDBOX_CONTAINERS_MAX)
		return err_setx(err, -EDQUOT, "more than %u containers in a sandbox",
				SANDBOX_CONTAINERS_MAX);
	return 0;
}

int container_create(struct sandbox *s, const struct container_request *request, struct err *err)
{
	_cleanup_(container_unrefp) struct container *c = NULL;
	_cleanup_(plan_fini) struct plan plan = {0};
	uint64_t deadline = clock_after(s->config->runtime.create_container_timeout * USEC_PER_SEC);
	int r;

	r = check_request(s, request, err);
	if (r < 0)
		return r;
	c = container_new(s, request);
	container_ref(c);
	map_put(&s->containers, c->id, c);
	co_lock(&c->lock);
	r = prepare_host(c, request, &plan, deadline, err);
	if (r >= 0)
		r = create_in_guest(c, &plan, deadline, err);
	if (r >= 0) {
		c->hooks = hooks_keep(request->spec);
		process_watch(container_init_of(c));
		strv_add(&s->disk.containers, c->id);
		sandbox_save(s);
	} else {
		container_remove_in_guest(c);
		container_release(c);
		if (map_get(&s->containers, c->id) == c) {
			map_remove(&s->containers, c->id);
			container_drop(c);
		}
	}
	co_unlock(&c->lock);
	return r;
}
