/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/task_service.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "events.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "oci/spec_json.h"
#include "shim.pb-c.h"
#include "shim/events.h"
#include "shim/io.h"
#include "shim/messages.h"
#include "shim/task.h"

/*
 * How it works: every method runs in a coroutine of its own, so a slow one delays nobody. Those
 * that change the state of a process hold its lock; State, Wait, Kill, CloseIO, ResizePty, Pids and
 * Stats never do, so they are answered whatever else is under way.
 *
 * containerd acts on the codes: NOT_FOUND ends a retry, FAILED_PRECONDITION means "not now",
 * UNKNOWN carries the text to the user.
 */

static int state(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	static const Containerd__V1__Types__Status statuses[] = {
		[PROCESS_CREATED] = CONTAINERD__V1__TYPES__STATUS__CREATED,
		[PROCESS_RUNNING] = CONTAINERD__V1__TYPES__STATUS__RUNNING,
		[PROCESS_PAUSED] = CONTAINERD__V1__TYPES__STATUS__PAUSED,
		[PROCESS_STOPPED] = CONTAINERD__V1__TYPES__STATUS__STOPPED,
	};
	const Containerd__Task__V2__StateRequest *req = request;
	Containerd__Task__V2__StateResponse *res = response;
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(ttrpc_call_user(call), req->id, req->exec_id, &p, err);

	if (r < 0)
		return r;
	res->id = ttrpc_call_strdup(call, *p->exec_id ? p->exec_id : p->task->id);
	res->exec_id = ttrpc_call_strdup(call, p->exec_id);
	res->bundle = ttrpc_call_strdup(call, p->task->bundle);
	res->pid = (uint32_t)p->pid;
	res->status = statuses[p->state];
	res->stdin = ttrpc_call_strdup(call, p->in);
	res->stdout = ttrpc_call_strdup(call, p->out);
	res->stderr = ttrpc_call_strdup(call, p->err);
	res->terminal = p->terminal;
	if (p->state == PROCESS_STOPPED) {
		res->exit_status = p->exit_status;
		res->exited_at = message_time(call, p->exited_at);
	}
	return 0;
}

static int pids(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Containerd__Task__V2__PidsRequest *req = request;
	Containerd__Task__V2__PidsResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	_cleanup_(freep) pid_t *list = NULL;
	size_t n = 0;
	int r = task_process_find(shim, req->id, NULL, &p, err);

	if (r >= 0)
		r = container_pids(shim->sandbox, req->id, &list, &n, err);
	if (r < 0)
		return r;
	res->processes = ttrpc_call_alloc(call, (n + 1) * sizeof(*res->processes));
	for (size_t i = 0; i < n; i++) {
		Containerd__V1__Types__ProcessInfo *info = ttrpc_call_alloc(call, sizeof(*info));

		containerd__v1__types__process_info__init(info);
		info->pid = (uint32_t)list[i];
		res->processes[res->n_processes++] = info;
	}
	return 0;
}

static int pause_or_resume(struct ttrpc_call *call, const char *id, bool pausing, struct err *err)
{
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(shim, id, NULL, &p, err);

	if (r < 0)
		return r;
	co_lock(&p->lock);
	if (p->deleted)
		r = err_setx(err, -ENOENT, "container %s does not exist", id);
	else if (p->exited || p->state != (pausing ? PROCESS_RUNNING : PROCESS_PAUSED))
		r = task_process_refuse(p, -EBUSY, pausing ? " is not running" : " is not paused",
					err);
	else
		r = pausing ? container_pause(shim->sandbox, id, err)
			    : container_resume(shim->sandbox, id, err);
	if (r >= 0 && p->state != PROCESS_STOPPED)
		p->state = pausing ? PROCESS_PAUSED : PROCESS_RUNNING;
	co_unlock(&p->lock);
	return r;
}

static int pause_container(struct ttrpc_call *call, const void *request, _unused_ void *response,
			   struct err *err)
{
	const Containerd__Task__V2__PauseRequest *req = request;
	Containerd__Events__TaskPaused event = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	struct shim *shim = ttrpc_call_user(call);
	int r = pause_or_resume(call, req->id, true, err);

	if (r < 0)
		return r;
	event.container_id = req->id;
	publisher_send(shim->publisher, "/tasks/paused", &event.base);
	return 0;
}

static int resume_container(struct ttrpc_call *call, const void *request, _unused_ void *response,
			    struct err *err)
{
	const Containerd__Task__V2__ResumeRequest *req = request;
	Containerd__Events__TaskResumed event = CONTAINERD__EVENTS__TASK_RESUMED__INIT;
	struct shim *shim = ttrpc_call_user(call);
	int r = pause_or_resume(call, req->id, false, err);

	if (r < 0)
		return r;
	event.container_id = req->id;
	publisher_send(shim->publisher, "/tasks/resumed", &event.base);
	return 0;
}

static int checkpoint(_unused_ struct ttrpc_call *call, _unused_ const void *request,
		      _unused_ void *response, struct err *err)
{
	return err_setx(err, -ENOSYS, "checkpoints of containers in a VM are not supported");
}

static int finished(const struct task_process *p, struct err *err)
{
	return task_process_refuse(p, -ENOENT, ": process already finished", err);
}

/* CRI-O, after a restart, does not know of an end that it was not there for, and never will if the
 * stop fails; so what has ended has been stopped. Signal 0 is its question whether it has. */
static int kill_finished(const struct task_process *p, uint32_t signal, struct err *err)
{
	return p->task->shim->crio && signal ? 0 : finished(p, err);
}

static int kill_process(struct ttrpc_call *call, const void *request, _unused_ void *response,
			struct err *err)
{
	const Containerd__Task__V2__KillRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(shim, req->id, req->exec_id, &p, err);

	if (r < 0)
		return r;
	if (p->exited || p->state == PROCESS_STOPPED)
		return kill_finished(p, req->signal, err);
	if (*p->exec_id && p->state == PROCESS_CREATED && !p->starting)
		return err_setx(err, -EBUSY, "process %s has not been started", p->exec_id);
	r = container_kill(shim->sandbox, req->id, req->exec_id, req->signal, req->all, err);
	/* It may have ended while we asked. */
	if (r < 0 && p->exited)
		return kill_finished(p, req->signal, err);
	p->forsaken |= r >= 0 && shim->crio && *p->exec_id && req->signal == SIGKILL;
	return r;
}

static int resize(struct ttrpc_call *call, const void *request, _unused_ void *response,
		  struct err *err)
{
	const Containerd__Task__V2__ResizePtyRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(shim, req->id, req->exec_id, &p, err);

	if (r < 0)
		return r;
	if (!p->terminal)
		return err_setx(err, -EBUSY, "container %s: this process has no terminal", req->id);
	if (p->exited || p->state == PROCESS_STOPPED)
		return finished(p, err);
	return container_resize_tty(shim->sandbox, req->id, req->exec_id, req->width, req->height,
				    err);
}

static int close_io(struct ttrpc_call *call, const void *request, _unused_ void *response,
		    struct err *err)
{
	const Containerd__Task__V2__CloseIORequest *req = request;
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(ttrpc_call_user(call), req->id, req->exec_id, &p, err);

	if (r < 0)
		return r;
	if (req->stdin && p->io)
		io_close_stdin(p->io);
	return 0;
}

static int update(struct ttrpc_call *call, const void *request, _unused_ void *response,
		  struct err *err)
{
	const Containerd__Task__V2__UpdateTaskRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	_cleanup_(oci_spec_freep) struct oci_spec *resources = NULL;
	int r = task_process_find(shim, req->id, NULL, &p, err);

	if (r < 0)
		return r;
	if (!req->resources)
		return err_setx(err, -EINVAL, "update of container %s: no resources given",
				req->id);
	r = oci_resources_parse((const char *)req->resources->value.data, req->resources->value.len,
				&resources, err);
	if (r < 0)
		return r;
	co_lock(&p->lock);
	r = container_update(shim->sandbox, req->id, resources->resources, err);
	co_unlock(&p->lock);
	return r;
}

static int wait_process(struct ttrpc_call *call, const void *request, _unused_ void *response,
			struct err *err)
{
	const Containerd__Task__V2__WaitRequest *req = request;
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(ttrpc_call_user(call), req->id, req->exec_id, &p, err);

	return r < 0 ? r : task_process_wait(p, call);
}

static int stats(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Containerd__Task__V2__StatsRequest *req = request;
	Containerd__Task__V2__StatsResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	Grpc__StatsContainerResponse *stats = NULL;
	int r = task_process_find(shim, req->id, NULL, &p, err);

	if (r < 0)
		return r;
	if (p->exited || p->state == PROCESS_STOPPED)
		return finished(p, err);
	r = container_stats(shim->sandbox, req->id, &stats, err);
	if (r < 0)
		return r;
	res->stats = message_metrics(call, stats);
	grpc__stats_container_response__free_unpacked(stats, NULL);
	return 0;
}

/* containerd asks this of a shim it finds after its own restart, before it knows of any task. */
static int connect_shim(struct ttrpc_call *call, const void *request, void *response,
			_unused_ struct err *err)
{
	const Containerd__Task__V2__ConnectRequest *req = request;
	Containerd__Task__V2__ConnectResponse *res = response;
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;

	res->shim_pid = (uint32_t)getpid();
	if (task_process_find(ttrpc_call_user(call), req->id, NULL, &p, NULL) >= 0)
		res->task_pid = (uint32_t)p->pid;
	return 0;
}

/* After every Delete; means something only after the last, or for a container whose Create nobody
 * waits for any more. A sandbox that was made by CreateSandbox is ended by ShutdownSandbox. */
static int shutdown_shim(struct ttrpc_call *call, const void *request, _unused_ void *response,
			 struct err *err)
{
	const Containerd__Task__V2__ShutdownRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	struct task *task = map_get(&shim->tasks, req->id);
	int r;

	if (task && !task->created)
		task_abandon(task);
	if (shim->tasks.n > 0 || shim->by_sandbox_api)
		return 0;
	r = shim_stop(shim, err);
	if (shim->tasks.n == 0)
		shim_end(shim);
	return r;
}

#define METHOD(name, request, response, fn)                                                       \
	{                                                                                         \
		name, &containerd__task__v2__##request##__descriptor, &response##__descriptor, fn \
	}
static const struct ttrpc_method methods[] = {
	METHOD("State", state_request, containerd__task__v2__state_response, state),
	METHOD("Create", create_task_request, containerd__task__v2__create_task_response,
	       task_method_create),
	METHOD("Start", start_request, containerd__task__v2__start_response, task_method_start),
	METHOD("Delete", delete_request, containerd__task__v2__delete_response, task_method_delete),
	METHOD("Pids", pids_request, containerd__task__v2__pids_response, pids),
	METHOD("Pause", pause_request, google__protobuf__empty, pause_container),
	METHOD("Resume", resume_request, google__protobuf__empty, resume_container),
	METHOD("Checkpoint", checkpoint_task_request, google__protobuf__empty, checkpoint),
	METHOD("Kill", kill_request, google__protobuf__empty, kill_process),
	METHOD("Exec", exec_process_request, google__protobuf__empty, task_method_exec),
	METHOD("ResizePty", resize_pty_request, google__protobuf__empty, resize),
	METHOD("CloseIO", close_iorequest, google__protobuf__empty, close_io),
	METHOD("Update", update_task_request, google__protobuf__empty, update),
	METHOD("Wait", wait_request, containerd__task__v2__wait_response, wait_process),
	METHOD("Stats", stats_request, containerd__task__v2__stats_response, stats),
	METHOD("Connect", connect_request, containerd__task__v2__connect_response, connect_shim),
	METHOD("Shutdown", shutdown_request, google__protobuf__empty, shutdown_shim),
};

const struct ttrpc_service task_service_v2 = {"containerd.task.v2.Task", methods,
					      ARRAY_SIZE(methods)};
const struct ttrpc_service task_service_v3 = {"containerd.task.v3.Task", methods,
					      ARRAY_SIZE(methods)};
