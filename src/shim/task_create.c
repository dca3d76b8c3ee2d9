/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "events.pb-c.h"
#include "oci/spec_json.h"
#include "shim.pb-c.h"
#include "shim/caller.h"
#include "shim/events.h"
#include "shim/io.h"
#include "shim/task.h"
#include "shim/task_service.h"

/*
 * How it works: a task is in the table from the first moment of its Create, but only other Creates
 * see it: one for the same container and bundle waits for the first one and gets its result.
 *
 * ttRPC cannot cancel a call: a client that gives up (a deadline of CRI's, Ctrl-C) deletes and
 * shuts down what it has no answer for, or just goes. Then the Create is abandoned: the boot that
 * it waits for is stopped, and what the guest makes nevertheless is deleted again.
 */

/* How long Delete and Shutdown wait for that: less than containerd for them (5 s). */
#define ABANDON_USEC (3 * USEC_PER_SEC)

static int create_in_sandbox(struct ttrpc_call *call, struct task *task,
			     const Containerd__Task__V2__CreateTaskRequest *req,
			     const Grpc__Spec *spec, struct err *err)
{
	struct rootfs_mount *mounts = ttrpc_call_alloc(call, (req->n_rootfs + 1) * sizeof(*mounts));
	const struct container_request request = {
		.id = req->id,
		.bundle = req->bundle,
		.spec = spec,
		.rootfs_mounts = mounts,
		.n_rootfs_mounts = req->n_rootfs,
		.terminal = req->terminal,
		.stdin_open = io_has_stdin(task_first(task)->io),
	};

	for (size_t i = 0; i < req->n_rootfs; i++)
		mounts[i] = (struct rootfs_mount){
			.type = req->rootfs[i]->type,
			.source = req->rootfs[i]->source,
			.target = req->rootfs[i]->target,
			.options = (const char *const *)req->rootfs[i]->options,
			.n_options = req->rootfs[i]->n_options,
		};
	return container_create(task->shim->sandbox, &request, err);
}

static int given_up(const struct task *task, struct err *err)
{
	return err_setx(err, -ECANCELED, "container %s: its creation was given up", task->id);
}

static int create_container(struct ttrpc_call *call, struct task *task,
			    const Containerd__Task__V2__CreateTaskRequest *req, struct err *err)
{
	_cleanup_(freep) char *path = path_join(req->bundle, "config.json"), *config_path = NULL;
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r;

	if (!str_empty(req->checkpoint))
		return err_setx(err, -ENOSYS,
				"starting a container in a VM from a checkpoint is not supported");
	r = oci_spec_load(path, &spec, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < spec->warnings.n; i++)
		log_warn("%s: %s", path, spec->warnings.v[i]);
	r = task_process_open(task_first(task),
			      &(struct io_request){task->shim->namespace, req->id, "", req->stdin,
						   req->stdout, req->stderr, req->terminal},
			      err);
	if (r < 0)
		return r;
	if (req->options)
		config_path = runtime_options_path(req->options->type_url, req->options->value.data,
						   req->options->value.len);
	if (task->abandoned)
		return given_up(task, err);
	r = shim_boot(task->shim,
		      &(struct shim_boot){.spec = spec->spec,
					  .config_path = config_path,
					  .abandoned = &task->abandoned},
		      err);
	if (r < 0)
		return err_wrap(err, r, "start sandbox %s", task->shim->id);
	if (task->abandoned)
		return given_up(task, err);
	r = create_in_sandbox(call, task, req, spec->spec, err);
	return r < 0 ? err_wrap(err, r, "OCI runtime create failed") : 0;
}

static void publish_create(const struct task *task,
			   const Containerd__Task__V2__CreateTaskRequest *req)
{
	Containerd__Events__TaskCreate event = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;

	io.stdin = req->stdin;
	io.stdout = req->stdout;
	io.stderr = req->stderr;
	io.terminal = req->terminal;
	event.container_id = req->id;
	event.bundle = req->bundle;
	event.rootfs = req->rootfs;
	event.n_rootfs = req->n_rootfs;
	event.io = &io;
	event.checkpoint = req->checkpoint;
	event.pid = (uint32_t)task_first(task)->pid;
	publisher_send(task->shim->publisher, "/tasks/create", &event.base);
}

/* --- giving up --- */

static void stop_sandbox(void *arg)
{
	_cleanup_(task_unrefp) struct task *task = arg;
	_cleanup_err_ struct err err = {0};

	if (shim_stop(task->shim, &err) < 0)
		log_error("stop sandbox %s: %s", task->shim->id, err_text(&err));
	task->stopping = false;
	co_cond_wake_all(&task->changed);
}

void task_abandon(struct task *task)
{
	_cleanup_(task_unrefp) struct task *held = task_ref(task);
	uint64_t deadline = clock_after(ABANDON_USEC);
	int r = 0;

	if (!task->abandoned)
		log_info("container %s: its creation is given up", task->id);
	task->abandoned = true;
	/* A sandbox that is there for this container alone goes with it, booting or not. */
	if (task_is_sandbox(task) && !task->stopping) {
		task->stopping = true;
		co_start(task->shim->loop, stop_sandbox, task_ref(task));
	}
	while ((task->stopping || (!task->created && !task->failed)) && r == 0)
		r = co_cond_wait(&task->changed, deadline);
}

static void abandon(void *arg)
{
	_cleanup_(task_unrefp) struct task *task = arg;

	if (!task->created && !task->failed)
		task_abandon(task);
}

static void caller_gone(_unused_ struct ttrpc_call *call, void *arg)
{
	struct task *task = arg;

	if (--task->n_callers == 0)
		co_start(task->shim->loop, abandon, task_ref(task));
}

/* The guest has made what nobody wants. */
static int undo_create(const struct task *task, struct err *err)
{
	struct process_status status;
	_cleanup_err_ struct err cause = {0};

	if (container_delete(task->shim->sandbox, task->id, "", &status, &cause) < 0)
		log_warn("delete container %s: %s", task->id, err_text(&cause));
	return given_up(task, err);
}

/* The same container again, by a caller that has lost the answer to the first call. */
static int join_create(struct ttrpc_call *call, struct task *found,
		       const Containerd__Task__V2__CreateTaskRequest *req,
		       Containerd__Task__V2__CreateTaskResponse *res, struct err *err)
{
	_cleanup_(task_unrefp) struct task *task = task_ref(found);

	if (!streq(task->bundle, req->bundle))
		return err_setx(err, -EEXIST, "container %s exists already", req->id);
	if (task->abandoned)
		return given_up(task, err);
	task->n_callers++;
	ttrpc_call_on_gone(call, caller_gone, task);
	while (!task->created && !task->failed)
		(void)co_cond_wait(&task->changed, USEC_NEVER);
	ttrpc_call_on_gone(call, NULL, NULL);
	if (task->failed)
		return err_setx(err, -EREMOTEIO, "container %s: its creation has failed", req->id);
	if (list_empty(&task->processes) || task_first(task)->state != PROCESS_CREATED)
		return err_setx(err, -EEXIST, "container %s exists already", req->id);
	res->pid = (uint32_t)task_first(task)->pid;
	return 0;
}

int task_method_create(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err)
{
	const Containerd__Task__V2__CreateTaskRequest *req = request;
	Containerd__Task__V2__CreateTaskResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	struct task *found = map_get(&shim->tasks, req->id);
	_cleanup_(task_unrefp) struct task *task = NULL;
	int r;

	if (!path_is_id(req->id) || !path_is_clean(req->bundle))
		return err_setx(err, -EINVAL,
				"create \"%s\" in bundle \"%s\": not an id and a path", req->id,
				req->bundle);
	if (found)
		return join_create(call, found, req, res, err);
	r = task_new(shim, req->id, req->bundle, &task, err);
	if (r < 0)
		return r;
	shim_touch(shim);
	task->n_callers = 1;
	ttrpc_call_on_gone(call, caller_gone, task);
	r = create_container(call, task, req, err);
	if (r >= 0 && task->abandoned)
		r = undo_create(task, err);
	ttrpc_call_on_gone(call, NULL, NULL);
	task->created = r >= 0;
	task->failed = r < 0;
	if (r < 0) {
		log_error("create container %s: %s", req->id, err_text(err));
		task_remove(task);
	} else {
		task_first(task)->pid = shim_vm_pid(shim);
		res->pid = (uint32_t)task_first(task)->pid;
		publish_create(task, req);
		/* What a boot has needed is not needed again. */
		(void)malloc_trim(0);
	}
	co_cond_wake_all(&task->changed);
	shim_touch(shim);
	return r < 0 ? task_failure(r, err) : 0;
}
