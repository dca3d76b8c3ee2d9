/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "events.pb-c.h"
#include "oci/spec_json.h"
#include "shim.pb-c.h"
#include "shim/events.h"
#include "shim/io.h"
#include "shim/messages.h"
#include "shim/task.h"
#include "shim/task_service.h"

/*
 * The life of tasks and processes: Exec, Start, Delete (task_create.c has Create).
 *
 * The texts of failures are runc's, which podman and docker parse; their code is UNKNOWN, as runc's
 * is, lest a file that is not found in the guest look like a container that is not.
 */

/* How long Delete waits for a container that was created, never started, and killed just now. */
#define KILL_CREATED_USEC (2 * USEC_PER_SEC)

/* Errors of the runtime that keep their code; the others become UNKNOWN. */
int task_failure(int r, struct err *err)
{
	static const int kept[] = {EEXIST, ETIMEDOUT, ENOSYS, EBUSY, EINVAL};

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (r == -kept[i])
			return r;
	if (err)
		err->code = -EREMOTEIO;
	return -EREMOTEIO;
}

int task_process_open(struct task_process *p, const struct io_request *request, struct err *err)
{
	p->in = xstrdup(request->in);
	p->out = xstrdup(request->out);
	p->err = xstrdup(request->err);
	p->terminal = request->terminal;
	return io_open(p->task->shim->loop, request, &p->io, err);
}

/* --- Exec --- */

static int exec_open(struct task_process *p, const Containerd__Task__V2__ExecProcessRequest *req,
		     struct err *err)
{
	struct shim *shim = p->task->shim;
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r;

	if (!req->spec)
		return err_setx(err, -EINVAL, "exec %s: no process given", req->exec_id);
	r = oci_process_parse((const char *)req->spec->value.data, req->spec->value.len, &spec,
			      err);
	if (r < 0)
		return r;
	spec->process->terminal = req->terminal;
	r = task_process_open(p,
			      &(struct io_request){shim->namespace, req->id, req->exec_id,
						   req->stdin, req->stdout, req->stderr,
						   req->terminal},
			      err);
	if (r < 0)
		return r;
	r = container_exec(shim->sandbox, req->id, req->exec_id, spec->process, io_has_stdin(p->io),
			   err);
	return r < 0 ? err_wrap(err, r, "OCI runtime exec failed: exec failed") : 0;
}

int task_method_exec(struct ttrpc_call *call, const void *request, _unused_ void *response,
		     struct err *err)
{
	const Containerd__Task__V2__ExecProcessRequest *req = request;
	Containerd__Events__TaskExecAdded event = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *first = NULL, *p = NULL;
	int r = task_process_find(shim, req->id, NULL, &first, err);

	if (r < 0)
		return r;
	if (!path_is_id(req->exec_id))
		return err_setx(err, -EINVAL, "\"%s\" is not an id for a process", req->exec_id);
	if (first->exited || first->state == PROCESS_STOPPED)
		return task_process_refuse(first, -EBUSY, " is not running", err);
	r = task_process_new(first->task, req->exec_id, &p, err);
	if (r < 0)
		return r;
	task_process_ref(p);
	r = exec_open(p, req, err);
	if (r < 0) {
		task_process_remove(p);
		return task_failure(r, err);
	}
	event.container_id = req->id;
	event.exec_id = req->exec_id;
	publisher_send(shim->publisher, "/tasks/exec-added", &event.base);
	return 0;
}

/* --- Start --- */

static void publish_start(const struct task_process *p)
{
	struct publisher *publisher = p->task->shim->publisher;

	if (*p->exec_id) {
		Containerd__Events__TaskExecStarted event =
			CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;

		event.container_id = p->task->id;
		event.exec_id = p->exec_id;
		event.pid = (uint32_t)p->pid;
		publisher_send(publisher, "/tasks/exec-started", &event.base);
	} else {
		Containerd__Events__TaskStart event = CONTAINERD__EVENTS__TASK_START__INIT;

		event.container_id = p->task->id;
		event.pid = (uint32_t)p->pid;
		publisher_send(publisher, "/tasks/start", &event.base);
	}
}

static int start_locked(struct task_process *p, struct err *err)
{
	struct shim *shim = p->task->shim;
	const char *id = p->task->id;
	pid_t pid = 0;
	int r;

	if (p->deleted)
		return err_setx(err, -ENOENT, "container %s does not exist", id);
	if (p->exited || p->state != PROCESS_CREATED || !p->io)
		return task_process_refuse(p, -EBUSY, " was started already", err);
	p->starting = true;
	r = container_start(shim->sandbox, id, p->exec_id, &pid, err);
	if (r >= 0 && !p->deleted) {
		p->pid = pid;
		p->state = PROCESS_RUNNING;
		io_start(p->io, shim->sandbox);
		publish_start(p);
	}
	p->starting = false;
	co_cond_wake_all(&p->changed);
	if (r >= 0)
		return 0;
	/* containerd's client waits for the end of the streams before it deletes the process. */
	io_free(TAKE_PTR(p->io));
	r = err_wrap(err, r,
		     *p->exec_id ? "OCI runtime exec failed: exec failed"
				 : "OCI runtime start failed");
	return task_failure(r, err);
}

int task_method_start(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Containerd__Task__V2__StartRequest *req = request;
	Containerd__Task__V2__StartResponse *res = response;
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	int r = task_process_find(ttrpc_call_user(call), req->id, req->exec_id, &p, err);

	if (r < 0)
		return r;
	co_lock(&p->lock);
	r = start_locked(p, err);
	co_unlock(&p->lock);
	res->pid = (uint32_t)p->pid;
	return r;
}

/* --- Delete --- */

/* Stopped, as far as containerd has been told; a first process that was never started is ended
 * first, an exec that was never started has nothing to end. */
static int await_deletable(struct task_process *p, struct err *err)
{
	struct shim *shim = p->task->shim;
	const char *id = p->task->id;

	if (p->deleted)
		return err_setx(err, -ENOENT, "container %s does not exist", id);
	if (!p->exited && p->state != PROCESS_CREATED && p->state != PROCESS_STOPPED)
		return err_setx(err, -EBUSY, "cannot delete a %s %s: %s",
				p->state == PROCESS_PAUSED ? "paused" : "running",
				*p->exec_id ? "process" : "container",
				*p->exec_id ? p->exec_id : id);
	if (!p->exited && p->state == PROCESS_CREATED) {
		if (*p->exec_id)
			return 0;
		if (shim_running(shim))
			(void)container_kill(shim->sandbox, id, "", SIGKILL, true, NULL);
		(void)task_process_await_stop(p, clock_after(KILL_CREATED_USEC));
		return 0;
	}
	(void)task_process_await_stop(p, clock_after(2 * DRAIN_USEC));
	if (*p->exec_id && p->io && p->state == PROCESS_STOPPED)
		(void)io_drain(p->io, EXEC_DRAIN_USEC, clock_after(EXEC_DRAIN_USEC));
	return 0;
}

static void publish_delete(struct ttrpc_call *call, const struct task_process *p)
{
	Containerd__Events__TaskDelete event = CONTAINERD__EVENTS__TASK_DELETE__INIT;

	event.container_id = p->task->id;
	event.id = *p->exec_id ? p->exec_id : p->task->id;
	event.pid = (uint32_t)p->pid;
	event.exit_status = p->exit_status;
	event.exited_at = message_time(call, p->exited_at ? p->exited_at : clock_realtime());
	publisher_send(p->task->shim->publisher, "/tasks/delete", &event.base);
}

static bool ends_sandbox(const struct task_process *p)
{
	return !*p->exec_id && task_is_sandbox(p->task);
}

static int delete_locked(struct task_process *p, struct err *err)
{
	struct shim *shim = p->task->shim;
	struct process_status status;
	_cleanup_err_ struct err cause = {0};
	int r = await_deletable(p, err);

	if (r < 0)
		return r;
	if (shim->sandbox)
		r = container_delete(shim->sandbox, p->task->id, p->exec_id, &status, &cause);
	if (r >= 0 || r == -ENOENT)
		return 0;
	/* What a dead sandbox, or one that ends now, cannot undo in order goes with it. */
	log_warn("delete container %s: %s", p->task->id, err_text(&cause));
	if (!shim_running(shim) || ends_sandbox(p))
		return 0;
	err_move(err, &cause);
	return r;
}

int task_method_delete(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err)
{
	const Containerd__Task__V2__DeleteRequest *req = request;
	Containerd__Task__V2__DeleteResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(task_process_unrefp) struct task_process *p = NULL;
	_cleanup_err_ struct err cause = {0};
	struct task *task = map_get(&shim->tasks, req->id);
	bool ends;
	int r;

	/* A client that has no answer to its Create: there is nothing to delete when it is undone.
	 */
	if (task && !task->created && str_empty(req->exec_id))
		task_abandon(task);
	r = task_process_find(shim, req->id, req->exec_id, &p, err);
	if (r < 0)
		return r;
	co_lock(&p->lock);
	r = delete_locked(p, err);
	if (r < 0) {
		co_unlock(&p->lock);
		return r;
	}
	res->pid = (uint32_t)p->pid;
	res->exit_status = p->exit_status;
	res->exited_at = message_time(call, p->exited_at ? p->exited_at : clock_realtime());
	ends = ends_sandbox(p);
	if (*p->exec_id)
		task_process_remove(p);
	else
		task_remove(p->task);
	if (ends && shim_stop(shim, &cause) < 0)
		log_error("stop sandbox %s: %s", shim->id, err_text(&cause));
	publish_delete(call, p);
	co_unlock(&p->lock);
	shim_touch(shim);
	return 0;
}
