/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>

#include "base/log.h"
#include "runtime/model.h"

/*
 * How it works: a signal is the agent's to send. SIGKILL is also the caller's last word, so its
 * effect is watched.
 *
 * What SIGKILL does not end sits in the guest's kernel and waits for something that may never come,
 * such as a virtiofsd that was stopped, or the whole VM is stopped. It will not run another
 * instruction of its program, so it has ended as far as anybody can tell; else its pod would be
 * "terminating" for ever. Its container is not waited for either when it is removed. Whether the
 * guest as a whole is stuck, which concerns the other containers, is for its agent to answer.
 */

#define KILL_TIMEOUT  (10 * USEC_PER_SEC)
#define KILL_GRACE    (3 * USEC_PER_SEC)
#define CHECK_TIMEOUT (2 * USEC_PER_SEC)

void sandbox_check_guest(struct sandbox *s, uint64_t usec)
{
	int r;

	sandbox_ref(s);
	r = sandbox_ping(s, usec, NULL);
	if (r == -ETIMEDOUT && !s->stuck)
		log_warn("the guest is stuck: its agent does not answer");
	if (r >= 0 && s->stuck)
		log_info("the guest's agent answers again");
	/* Another failure tells nothing: it is the sandbox's end. */
	if (r >= 0 || r == -ETIMEDOUT)
		s->stuck = r < 0;
	sandbox_unref(s);
}

static void presume_end(struct process *p)
{
	struct container *c = p->container;

	/* Or it has ended, and its files are on their way. */
	if (p->state == PROCESS_STOPPED || p->known_at)
		return;
	log_warn("container %s: process \"%s\" has not ended %llu s after SIGKILL (does virtiofsd "
		 "still answer?)",
		 c->id, p->exec_id, KILL_GRACE / USEC_PER_SEC);
	c->stuck = true;
	if (*p->exec_id)
		process_ended(p, EXIT_KILLED);
	else
		map_for_each (e, &c->processes)
			process_ended(e->value, EXIT_KILLED);
	sandbox_check_guest(c->sandbox, CHECK_TIMEOUT);
}

static void watch_kill(void *arg)
{
	_cleanup_(process_unrefp) struct process *p = arg;
	uint64_t deadline = clock_after(KILL_GRACE);

	/* A start that was under way is a change too. */
	while (p->killed && p->state != PROCESS_STOPPED && clock_now() < deadline)
		co_cond_wait(&p->changed, deadline);
	if (p->killed)
		presume_end(p);
}

static void expect_end(struct process *p)
{
	if (p->killed)
		return;
	p->killed = true;
	process_ref(p);
	co_start(p->container->sandbox->loop, watch_kill, p);
}

int container_kill(struct sandbox *s, const char *id, const char *exec_id, uint32_t signal,
		   bool all, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	int r;

	if (!p)
		return -ENOENT;
	if (p->state == PROCESS_STOPPED)
		return err_setx(err, -ENOENT, "process already finished");
	if (*p->exec_id && p->state == PROCESS_CREATED)
		return err_setx(err, -ENOENT, "process not started yet");
	r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	request.container_id = p->container->id;
	if (!all)
		request.exec_id = *p->exec_id ? p->exec_id : p->container->id;
	request.signal = signal;
	if (signal != SIGKILL)
		return agent_signal_process(s->agent, &request, clock_after(KILL_TIMEOUT), err);
	expect_end(p);
	r = agent_signal_process(s->agent, &request, clock_after(KILL_GRACE), err);
	if (r == -ETIMEDOUT)
		presume_end(p);
	/* Without its agent the sandbox dies in a moment, and the process with it. */
	if (r >= 0 || r == -ETIMEDOUT || r == -ESHUTDOWN)
		return 0;
	/* It was not sent: nothing is expected. */
	p->killed = false;
	co_cond_wake_all(&p->changed);
	return r;
}
