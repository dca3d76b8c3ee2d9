/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/log.h"
#include "base/path.h"
#include "runtime/live_volume.h"
#include "runtime/model.h"

/*
 * How it works: a process is CREATED, RUNNING (or PAUSED with its container), STOPPED, in that
 * order. From its start a coroutine waits for it in WaitProcess, without a deadline; when the
 * connection ends that answers too, and sandbox_die() has told why. The end is noted once, whoever
 * notices it first, and announced from the loop.
 *
 * The output of an exec may go on behind its end, while a process that it has left holds the
 * stream: WaitProcess asks the agent to hold it, and process_release() gives it up.
 */

static const char *const state_names[] = {
	[PROCESS_CREATED] = "created",
	[PROCESS_RUNNING] = "running",
	[PROCESS_PAUSED] = "paused",
	[PROCESS_STOPPED] = "stopped",
};

const char *process_state_name(enum process_state state)
{
	return state_names[state];
}

struct process *process_new(struct container *c, const char *exec_id)
{
	struct process *p = xnew(struct process);

	p->container = c;
	p->exec_id = xstrdup(exec_id);
	p->n_refs = 1;
	co_cond_init(&p->changed);
	container_ref(c);
	return p;
}

void process_ref(struct process *p)
{
	p->n_refs++;
}

void process_unref(struct process *p)
{
	if (--p->n_refs)
		return;
	loop_defer_cancel(&p->announce);
	container_unref(p->container);
	if (p->pending)
		grpc__process__free_unpacked(p->pending, NULL);
	free(p->exec_id);
	free(p);
}

struct process *process_find(struct sandbox *s, const char *id, const char *exec_id,
			     struct err *err)
{
	struct container *c = map_get(&s->containers, id);
	struct process *p;

	if (!c) {
		err_setx(err, -ENOENT, "container %s: no such container", id);
		return NULL;
	}
	p = map_get(&c->processes, exec_id ? exec_id : "");
	if (!p) {
		err_setx(err, -ENOENT, "container %s: no such exec process: %s", id, exec_id);
		return NULL;
	}
	process_ref(p);
	return p;
}

static pid_t host_pid(const struct sandbox *s)
{
	struct vm_pids pids = {0};

	if (s->vm)
		vm_get_pids(s->vm, &pids);
	return pids.vmm;
}

void process_get_status(const struct process *p, struct process_status *ret)
{
	*ret = (struct process_status){
		.state = p->state,
		.pid = p->state == PROCESS_CREATED && *p->exec_id ? 0 : p->pid,
		.terminal = p->terminal,
		.exit_status = p->exit_status,
		.exited_at = p->exited_at,
	};
	if (p->state == PROCESS_RUNNING && p->container->paused)
		ret->state = PROCESS_PAUSED;
}

static void announce(struct loop_defer *defer)
{
	struct process *p = container_of(defer, struct process, announce);
	struct sandbox *s = p->container->sandbox;

	if (!s->freed && s->listener.process_exited)
		s->listener.process_exited(s->listener.arg, p->container->id, p->exec_id, p->pid,
					   p->exit_status, p->exited_at);
	process_unref(p);
}

void process_ended(struct process *p, uint32_t status)
{
	if (p->state == PROCESS_STOPPED)
		return;
	p->state = PROCESS_STOPPED;
	/* Others may find it dead while its files are brought back. */
	p->exit_status = p->known_at ? p->known_status : status;
	p->exited_at = p->known_at ? p->known_at : clock_realtime();
	co_cond_wake_all(&p->changed);
	process_ref(p);
	loop_defer(p->container->sandbox->loop, &p->announce, announce);
}

/* The guest says -1 … 255 or 128 + signal; whatever it says, callers expect a byte. */
static uint32_t sane_status(int32_t status)
{
	return status < 0 || status > 255 ? 255 : (uint32_t)status;
}

/*
 * The connection was lost: the sandbox dies within the moment, and that ends the process. Another
 * error would be an agent that does not know the process it has started.
 */
static void lost(struct process *p, int r, const struct err *err)
{
	if (r == -ESHUTDOWN)
		return;
	log_warn("container %s: wait for process \"%s\": %s", p->container->id, p->exec_id,
		 err_text(err));
	process_ended(p, 255);
}

static void wait_in_guest(void *arg)
{
	_cleanup_(process_unrefp) struct process *p = arg;
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__WaitProcessResponse *answer = NULL;
	_cleanup_err_ struct err err = {0};
	int r;

	request.container_id = p->container->id;
	request.exec_id = *p->exec_id ? p->exec_id : p->container->id;
	request.hold_streams = *p->exec_id != '\0';
	r = agent_wait_process(p->container->sandbox->agent, &request, USEC_NEVER, &answer, &err);
	if (r < 0) {
		lost(p, r, &err);
		return;
	}
	p->known_status = sane_status(answer->status);
	p->known_at = clock_realtime();
	/* Whoever is told of the end reads what it has left (kubelet its termination message). */
	if (!*p->exec_id)
		live_volumes_bring_back(p->container);
	process_ended(p, p->known_status);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
}

void process_release(struct process *p)
{
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__WaitProcessResponse *answer = NULL;
	struct sandbox *s = p->container->sandbox;

	if (p->state != PROCESS_STOPPED || !p->pid ||
	    (p->out_ended && (p->err_ended || p->terminal)) ||
	    !agent_has(s->agent, "kata-c.hold-streams") || sandbox_usable(s, NULL) < 0)
		return;
	request.container_id = p->container->id;
	request.exec_id = p->exec_id;
	if (agent_wait_process(s->agent, &request, clock_after(CALL_TIMEOUT), &answer, NULL) == 0)
		protobuf_c_message_free_unpacked(&answer->base, NULL);
}

void process_watch(struct process *p)
{
	p->pid = host_pid(p->container->sandbox);
	process_ref(p);
	co_start(p->container->sandbox->loop, wait_in_guest, p);
}
