/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/container.h"
#include "agent/rpc.h"
#include "agent/spec_check.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"

/* The calls about one process. */

#define EXEC_ID_MAX 256U

/* A name may be used again when its process has ended and its status was asked for. */
static int check_exec_id(struct container *c, const char *exec_id, struct err *err)
{
	struct process *p;

	if (str_empty(exec_id) || strlen(exec_id) > EXEC_ID_MAX || streq(exec_id, c->id))
		return err_setx(err, -EINVAL, "exec id \"%s\" is not valid", exec_id);
	list_for_each (p, &c->processes, link) {
		if (!streq(p->exec_id, exec_id))
			continue;
		if (p->is_init || !p->started || !p->exited || !p->waited)
			return err_setx(err, -EEXIST, "process \"%s\" exists already", exec_id);
		process_free(p);
		return 0;
	}
	return 0;
}

RPC(exec_process)
{
	const Grpc__ExecProcessRequest *request = request_;
	struct container *c = container_find(rpc_agent(call), request->container_id, err);
	uint64_t deadline = MIN(ttrpc_call_deadline(call),
				clock_after(STAGE_TIMEOUT_SEC * USEC_PER_SEC));
	int r;

	(void)response_;
	if (!c)
		return -ENOENT;
	if (request->stdin_port || request->stdout_port || request->stderr_port)
		return err_setx(err, -ENOSYS, "streams over vsock ports are not supported");
	r = spec_check_process(request->process, err);
	if (r == 0)
		r = container_check(c, CONTAINER_EXEC, err);
	if (r == 0)
		r = check_exec_id(c, request->exec_id, err);
	if (r < 0)
		return r;
	container_enter(c);
	r = container_exec(c, request->exec_id, request->process, deadline, err);
	container_leave(c);
	if (r < 0)
		log_info("container %s: exec \"%s\": %s", request->container_id, request->exec_id,
			 err_text(err));
	return r;
}

/* The bit of a signal in a mask of /proc/PID/status ("SigCgt:\t0000000000004002"). */
static bool in_signal_mask(const char *status, const char *field, int signo)
{
	const char *at = strstr(status, field);

	return at && strtoull(at + strlen(field), NULL, 16) >> (signo - 1) & 1;
}

/*
 * Process 1 of a PID namespace ignores signals without a handler of its own. So that a stop need
 * not wait for its time-out, SIGTERM to one that has none is SIGKILL, as with Kata's agent.
 */
static int effective_signal(const struct process *p, int signo)
{
	_cleanup_(freep) char *status = NULL;
	char path[64];

	if (!p->is_init || !p->started || signo != SIGTERM || !p->container->own_pid_namespace)
		return signo;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)p->stage.pid);
	if (fs_read(path, 16384, &status, NULL) < 0)
		return signo;
	return in_signal_mask(status, "SigCgt:", signo) || in_signal_mask(status, "SigIgn:", signo)
		       ? signo
		       : SIGKILL;
}

RPC(signal_process)
{
	const Grpc__SignalProcessRequest *request = request_;
	struct agent *agent = rpc_agent(call);
	struct container *c;
	struct process *p;
	int r;

	(void)response_;
	if (request->signal > (uint32_t)SIGRTMAX)
		return err_setx(err, -EINVAL, "signal %" PRIu32 " does not exist", request->signal);
	if (str_empty(request->exec_id) && request->signal == SIGKILL) {
		c = container_find(agent, request->container_id, err);
		if (!c)
			return -ENOENT;
		r = container_kill(c);
		return r < 0 ? err_set(err, r, "kill container %s", c->id) : 0;
	}
	p = container_find_process(agent, request->container_id, request->exec_id, err);
	if (!p)
		return -ENOENT;
	r = process_signal(p, effective_signal(p, (int)request->signal));
	return r < 0 ? err_set(err, r, "signal %" PRIu32, request->signal) : 0;
}

RPC(wait_process)
{
	const Grpc__WaitProcessRequest *request = request_;
	struct process *p = container_find_process(rpc_agent(call), request->container_id,
						   request->exec_id, err);

	(void)response_;
	return p ? process_wait(p, call, request->hold_streams, err) : -ENOENT;
}

RPC(tty_win_resize)
{
	const Grpc__TtyWinResizeRequest *request = request_;
	struct process *p = container_find_process(rpc_agent(call), request->container_id,
						   request->exec_id, err);

	(void)response_;
	return p ? process_resize(p, request->row, request->column, err) : -ENOENT;
}
