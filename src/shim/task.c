/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/task.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "events.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "shim.pb-c.h"
#include "shim/bundle.h"
#include "shim/events.h"
#include "shim/io.h"

/*
 * How it works: the table holds one reference to each task and each task one to each process; a
 * coroutine that waits holds its own, so that a Delete in between takes nothing away under it.
 *
 * The end of a process goes through one coroutine each (announce): wait until its Start has been
 * published, pass on its output, for the first process let the others go first (containerd wants
 * its exit to be the last of a container), publish, answer the waiters. The output of an exec may
 * go on after that, until it is deleted, as with runc.
 */

struct waiter {
	struct list link;
	struct ttrpc_call *call;
};

/* --- tasks --- */

struct task *task_ref(struct task *task)
{
	task->refs++;
	return task;
}

void task_unref(struct task *task)
{
	if (!task || --task->refs > 0)
		return;
	free(task->id);
	free(task->bundle);
	free(task);
}

int task_new(struct shim *shim, const char *id, const char *bundle, struct task **ret,
	     struct err *err)
{
	_cleanup_(task_unrefp) struct task *task = NULL;
	struct task_process *first;
	int r;

	if (map_get(&shim->tasks, id))
		return err_setx(err, -EEXIST, "container %s exists already", id);
	if (shim->tasks.n >= TASKS_MAX)
		return err_setx(err, -EMFILE, "sandbox %s has %d containers already", shim->id,
				TASKS_MAX);
	task = xnew(struct task);
	task->refs = 1;
	task->shim = shim;
	task->id = xstrdup(id);
	task->bundle = xstrdup(bundle);
	list_init(&task->processes);
	co_cond_init(&task->changed);
	r = task_process_new(task, "", &first, err);
	if (r < 0)
		return r;
	map_put(&shim->tasks, id, task_ref(task));
	*ret = TAKE_PTR(task);
	return 0;
}

struct task_process *task_first(const struct task *task)
{
	return list_first(&task->processes, struct task_process, link);
}

bool task_is_sandbox(const struct task *task)
{
	const struct shim *shim = task->shim;

	return !shim->by_sandbox_api && (streq(task->id, shim->id) || shim->tasks.n <= 1);
}

void task_remove(struct task *task)
{
	for (struct list *l; (l = list_pop(&task->processes));)
		task_process_remove(list_entry(l, struct task_process, link));
	if (map_get(&task->shim->tasks, task->id) == task) {
		map_remove(&task->shim->tasks, task->id);
		task_unref(task);
	}
}

/* --- processes --- */

struct task_process *task_process_ref(struct task_process *process)
{
	process->refs++;
	return process;
}

void task_process_unref(struct task_process *p)
{
	if (!p || --p->refs > 0)
		return;
	io_free(p->io);
	task_unref(p->task);
	free(p->exec_id);
	free(p->in);
	free(p->out);
	free(p->err);
	free(p);
}

static struct task_process *task_process_get(const struct task *task, const char *exec_id)
{
	struct task_process *p;

	list_for_each (p, &task->processes, link)
		if (streq(p->exec_id, exec_id))
			return p;
	return NULL;
}

int task_process_new(struct task *task, const char *exec_id, struct task_process **ret,
		     struct err *err)
{
	struct task_process *p;

	if (task_process_get(task, exec_id))
		return err_setx(err, -EEXIST, "container %s has a process %s already", task->id,
				exec_id);
	if (task->n_processes >= PROCESSES_MAX)
		return err_setx(err, -EMFILE, "container %s has %d processes already", task->id,
				PROCESSES_MAX);
	p = xnew(struct task_process);
	p->refs = 1;
	p->task = task_ref(task);
	p->exec_id = xstrdup(exec_id);
	p->state = PROCESS_CREATED;
	co_lock_init(&p->lock);
	co_cond_init(&p->changed);
	list_init(&p->waiters);
	list_add_tail(&task->processes, &p->link);
	task->n_processes++;
	*ret = p;
	return 0;
}

int task_process_find(struct shim *shim, const char *id, const char *exec_id,
		      struct task_process **ret, struct err *err)
{
	struct task *task = map_get(&shim->tasks, id);
	struct task_process *p;

	if (!task || !task->created)
		return err_setx(err, -ENOENT, "container %s does not exist", id);
	p = task_process_get(task, exec_id ? exec_id : "");
	if (!p)
		return err_setx(err, -ENOENT, "process %s of container %s does not exist", exec_id,
				id);
	*ret = task_process_ref(p);
	return 0;
}

int task_process_refuse(const struct task_process *p, int r, const char *state, struct err *err)
{
	const char *reason = shim_reason(p->task->shim);

	return err_setx(err, r, "%s %s%s%s%s", *p->exec_id ? "process" : "container",
			*p->exec_id ? p->exec_id : p->task->id, state,
			reason ? ": the sandbox is gone: " : "", reason ? reason : "");
}

static void end_waiters(struct task_process *p)
{
	Containerd__Task__V2__WaitResponse response = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	at.seconds = (int64_t)(p->exited_at / USEC_PER_SEC);
	at.nanos = (int32_t)(p->exited_at % USEC_PER_SEC * 1000);
	response.exit_status = p->exit_status;
	response.exited_at = &at;
	for (struct list *l; (l = list_pop(&p->waiters));) {
		struct waiter *w = list_entry(l, struct waiter, link);

		if (p->state == PROCESS_STOPPED)
			ttrpc_call_reply(w->call, &response.base);
		else
			ttrpc_call_fail(w->call, -ENOENT, "process %s of container %s was deleted",
					p->exec_id, p->task->id);
		free(w);
	}
}

void task_process_remove(struct task_process *p)
{
	if (p->deleted)
		return;
	p->deleted = true;
	list_remove(&p->link);
	p->task->n_processes--;
	end_waiters(p);
	/* The readers of our FIFOs see the end now, whoever else still holds the process. */
	io_free(TAKE_PTR(p->io));
	co_cond_wake_all(&p->changed);
	task_process_unref(p);
}

static void waiter_gone(struct ttrpc_call *call, void *arg)
{
	struct waiter *w = arg;

	list_remove(&w->link);
	free(w);
	ttrpc_call_fail(call, -ECANCELED, "the caller has gone");
}

int task_process_wait(struct task_process *process, struct ttrpc_call *call)
{
	struct waiter *w = xnew(struct waiter);

	w->call = call;
	list_add_tail(&process->waiters, &w->link);
	if (process->state == PROCESS_STOPPED)
		end_waiters(process);
	else
		ttrpc_call_on_gone(call, waiter_gone, w);
	return TTRPC_PARKED;
}

int task_process_await_stop(struct task_process *p, uint64_t deadline)
{
	int r = 0;

	while (p->state != PROCESS_STOPPED && !p->deleted && r == 0)
		r = co_cond_wait(&p->changed, deadline);
	return r;
}

/* --- the end of a process --- */

static bool others_exiting(const struct task_process *first)
{
	struct task_process *p;

	list_for_each (p, &first->task->processes, link)
		if (p != first && p->exited && p->state != PROCESS_STOPPED)
			return true;
	return false;
}

static void publish_exit(const struct task_process *p)
{
	Containerd__Events__TaskExit event = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	at.seconds = (int64_t)(p->exited_at / USEC_PER_SEC);
	at.nanos = (int32_t)(p->exited_at % USEC_PER_SEC * 1000);
	event.container_id = p->task->id;
	event.id = *p->exec_id ? p->exec_id : p->task->id;
	event.pid = (uint32_t)p->pid;
	event.exit_status = p->exit_status;
	event.exited_at = &at;
	publisher_send(p->task->shim->publisher, "/tasks/exit", &event.base);
}

/* An exec that ran out of time: CRI-O kills it and forgets it, and would fill our table. */
static void delete_forsaken(struct task_process *p)
{
	struct shim *shim = p->task->shim;
	struct process_status status;
	_cleanup_err_ struct err err = {0};

	co_lock(&p->lock);
	if (!p->deleted && shim->sandbox &&
	    container_delete(shim->sandbox, p->task->id, p->exec_id, &status, &err) < 0)
		log_debug("delete process %s: %s", p->exec_id, err_text(&err));
	task_process_remove(p);
	co_unlock(&p->lock);
}

/* CRI-O deletes a pod's containers long after it has stopped them: at the latest when somebody
 * deletes the pod of a job. The VM goes when the container goes that it was made for. */
static void end_pod(struct task_process *p)
{
	struct shim *shim = p->task->shim;
	_cleanup_err_ struct err err = {0};

	log_info("container %s has ended: ending the sandbox", p->task->id);
	if (shim_stop(shim, &err) < 0)
		log_error("stop sandbox %s: %s", shim->id, err_text(&err));
}

static void announce(void *arg)
{
	_cleanup_(task_process_unrefp) struct task_process *p = arg;
	uint64_t deadline;

	while (p->starting)
		(void)co_cond_wait(&p->changed, USEC_NEVER);
	deadline = clock_after(DRAIN_USEC);
	if (p->io)
		(void)io_drain(p->io, *p->exec_id ? EXEC_QUIET_USEC : DRAIN_USEC, deadline);
	while (!*p->exec_id && others_exiting(p) && clock_now() < deadline)
		co_sleep(USEC_PER_MSEC);
	p->state = PROCESS_STOPPED;
	publish_exit(p);
	end_waiters(p);
	co_cond_wake_all(&p->changed);
	/* Streams are the one thing here that takes memory in bulk. */
	(void)malloc_trim(0);
	if (p->forsaken)
		delete_forsaken(p);
	else if (p->task->shim->crio && !*p->exec_id && streq(p->task->id, p->task->shim->id))
		end_pod(p);
}

static void task_process_end(struct task_process *p, uint32_t status, uint64_t realtime_usec)
{
	if (p->exited || p->state == PROCESS_STOPPED)
		return;
	p->exited = true;
	p->exit_status = status;
	p->exited_at = realtime_usec;
	co_start(p->task->shim->loop, announce, task_process_ref(p));
}

void task_exited(struct shim *shim, const char *id, const char *exec_id, uint32_t status,
		 uint64_t realtime_usec)
{
	struct task *task = map_get(&shim->tasks, id);
	struct task_process *p = task ? task_process_get(task, exec_id ? exec_id : "") : NULL;

	/* One whose Create is being undone was never announced. */
	if (p && task->created)
		task_process_end(p, status, realtime_usec);
}

void task_oom(struct shim *shim, const char *id)
{
	Containerd__Events__TaskOOM event = CONTAINERD__EVENTS__TASK_OOM__INIT;
	const struct task *task = map_get(&shim->tasks, id);
	_cleanup_err_ struct err err = {0};

	event.container_id = (char *)id;
	publisher_send(shim->publisher, "/tasks/oom", &event.base);
	if (shim->crio && task && bundle_write(task->bundle, "oom", "", &err) < 0)
		log_warn("CRI-O will not know that container %s ran out of memory: %s", id,
			 err_text(&err));
}

void task_exit_all(struct shim *shim)
{
	uint64_t now = clock_realtime();

	map_for_each (e, &shim->tasks) {
		struct task *task = e->value;
		struct task_process *p;

		/* A process that was never started has no end either, but the first one has: its
		 * guest half existed. */
		list_for_each (p, &task->processes, link)
			if (task->created && (!*p->exec_id || p->state != PROCESS_CREATED))
				task_process_end(p, 128 + SIGKILL, now);
	}
}

static bool any_exiting(const struct shim *shim)
{
	map_for_each (e, &shim->tasks) {
		const struct task *task = e->value;
		struct task_process *p;

		list_for_each (p, &task->processes, link)
			if (p->exited && p->state != PROCESS_STOPPED)
				return true;
	}
	return false;
}

void task_await_exits(struct shim *shim, uint64_t deadline)
{
	while (any_exiting(shim) && clock_now() < deadline)
		co_sleep(USEC_PER_MSEC);
}
