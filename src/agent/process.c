/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "agent/container.h"
#include "agent/oom.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "loop/co.h"

/*
 * How it works: the loop reaps the child and tells on_child(), which keeps the status and answers
 * who waits for it. The record of a process that is not the first goes when its status was asked
 * for and both its streams were read to the end; or some time later, when nobody reads them. One
 * whose streams are held waits for their end, or for the host to give them up.
 */

struct waiter {
	struct list link;
	struct ttrpc_call *call;
	size_t *count;
};

/* --- streams --- */

/* One pipe; the agent's end is non-blocking, the child's is as programs expect it. */
static int open_pipe(bool agent_reads, uint32_t size, int *ret_agent, int *ret_child)
{
	int fds[2], ours = agent_reads ? 0 : 1, r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	if (size)
		(void)fcntl(fds[0], F_SETPIPE_SZ, (int)size);
	r = fd_set_nonblock(fds[ours], true);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	*ret_agent = fds[ours];
	*ret_child = fds[!ours];
	return 0;
}

static int open_streams(struct process *p, struct stage_plan *plan, struct err *err)
{
	struct agent *agent = p->container->agent;
	uint32_t size = agent->config.container_pipe_size;
	int ends[3] = {-1, -1, -1}, r = 0;

	for (int i = 0; i < 3 && !p->terminal && r == 0; i++)
		r = open_pipe(i != 0, size, &ends[i], &plan->stdio[i]);
	stream_writer_init(&p->in, agent->loop, ends[0]);
	stream_reader_init(&p->out, agent->loop, ends[1]);
	stream_reader_init(&p->err, agent->loop, ends[2]);
	return r < 0 ? err_set(err, r, "pipe") : 0;
}

static void close_stdio(struct stage_plan *plan)
{
	for (int i = 0; i < 3; i++)
		plan->stdio[i] = fd_close(plan->stdio[i]);
}

/* The pty's master is read and written through two descriptors, as the loop knows one once. */
static int take_terminal(struct process *p, struct err *err)
{
	int copy;

	if (p->stage.terminal < 0)
		return err_setx(err, -EIO, "the process has not handed over its terminal");
	copy = fd_dup(p->stage.terminal);
	if (copy < 0)
		return err_set(err, copy, "duplicate the terminal");
	p->in.fd = copy;
	p->out.fd = TAKE_FD(p->stage.terminal);
	return fd_set_nonblock(copy, true);
}

/* --- the record --- */

static void on_forget(struct loop_defer *defer)
{
	process_free(container_of(defer, struct process, forget));
}

static void on_linger(struct loop_timer *timer)
{
	struct process *p = container_of(timer, struct process, linger);
	uint64_t last = MAX(p->out.last, p->err.last) + PROCESS_LINGER_USEC;

	if (last > clock_now() || p->out.n_calls || p->err.n_calls)
		loop_timer_set(p->out.loop, timer, MAX(last, clock_after(PROCESS_LINGER_USEC)),
			       on_linger);
	else
		process_free(p);
}

static void consider_forgetting(struct process *p)
{
	/* Before it has started, who makes it still needs it. */
	if (p->is_init || !p->started || !p->exited || !p->waited)
		return;
	/* Later: whoever calls this is still at work on it. */
	if (p->out.told && (p->err.told || p->terminal))
		loop_defer(p->out.loop, &p->forget, on_forget);
	else if (!p->held && !p->linger.loop)
		loop_timer_set(p->out.loop, &p->linger, clock_after(PROCESS_LINGER_USEC),
			       on_linger);
}

static void on_out_told(struct stream_reader *reader)
{
	consider_forgetting(container_of(reader, struct process, out));
}

static void on_err_told(struct stream_reader *reader)
{
	consider_forgetting(container_of(reader, struct process, err));
}

int process_new(struct container *c, const char *exec_id, struct stage_plan *plan,
		struct process **ret, struct err *err)
{
	struct process *p;
	int r;

	if (c->n_processes >= CONTAINER_PROCESSES_MAX)
		return err_setx(err, -EBUSY, "container %s has %u processes already", c->id,
				CONTAINER_PROCESSES_MAX);
	p = xnew(struct process);
	p->container = c;
	p->exec_id = xstrdup(exec_id);
	p->terminal = plan->process->terminal;
	p->stage = (struct stage){.sock = -1, .pidfd = -1, .terminal = -1};
	list_init(&p->waiters);
	list_add_tail(&c->processes, &p->link);
	c->n_processes++;
	r = open_streams(p, plan, err);
	p->out.on_told = on_out_told;
	p->err.on_told = on_err_told;
	if (r < 0) {
		close_stdio(plan);
		process_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void process_free(struct process *p)
{
	if (p->child.loop && p->stage.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->stage.pidfd, SIGKILL, NULL, 0);
	loop_child_remove(&p->child);
	loop_timer_cancel(&p->linger);
	loop_defer_cancel(&p->forget);
	p->out.on_told = p->err.on_told = NULL;
	stream_writer_close(&p->in);
	stream_reader_close(&p->out);
	stream_reader_close(&p->err);
	while (!list_empty(&p->waiters)) {
		struct waiter *w = list_first(&p->waiters, struct waiter, link);

		list_remove(&w->link);
		ttrpc_call_fail(w->call, -ENOENT, "process %s is gone", p->exec_id);
	}
	stage_fini(&p->stage);
	list_remove(&p->link);
	p->container->n_processes--;
	free(p->exec_id);
	free(p);
}

/* --- life --- */

static void reply_wait(struct process *p, struct ttrpc_call *call)
{
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	response.status = p->status;
	p->waited = true;
	ttrpc_call_reply(call, &response.base);
}

/* Soon, when they are silent. */
static void end_streams(struct process *p)
{
	stream_reader_exited(&p->out);
	stream_reader_exited(&p->err);
}

static void on_child(struct loop_child *child, int status)
{
	struct process *p = container_of(child, struct process, child);
	struct container *c = p->container;

	p->exited = true;
	p->status = spawn_exit_status(status);
	log_debug("container %s: process \"%s\" (%d) has ended with %d", c->id, p->exec_id,
		  (int)child->pid, p->status);
	/* Before anybody learns of the exit: why it happened. */
	oom_check(c);
	stream_writer_close(&p->in);
	if (!p->held)
		end_streams(p);
	if (p->is_init)
		container_init_exited(c);
	while (!list_empty(&p->waiters)) {
		struct waiter *w = list_first(&p->waiters, struct waiter, link);

		list_remove(&w->link);
		p->n_waiters--;
		reply_wait(p, w->call);
	}
	co_cond_wake_all(&c->changed);
	consider_forgetting(p);
}

int process_clone(struct process *p, struct stage_plan *plan, uint64_t deadline, struct err *err)
{
	int r = stage_start(&p->stage, plan, err);

	close_stdio(plan);
	if (r < 0)
		return r;
	r = loop_child_add(p->container->agent->loop, &p->child, p->stage.pid, on_child);
	if (r < 0)
		return err_set(err, r, "watch the process");
	r = stage_wait_ready(&p->stage, plan, deadline, err);
	/* Its set-up counts for the container's limit already. */
	if (r < 0 && p->container->has_cgroup &&
	    cgroup_oom_kills(&p->container->cgroup) > p->container->oom_kills)
		return err_wrap(err, r, "out of memory (is the memory limit too low?)");
	if (r == 0 && p->terminal)
		r = take_terminal(p, err);
	p->ready = r == 0;
	return r;
}

int process_go(struct process *p, uint64_t deadline, struct err *err)
{
	int r = stage_go(&p->stage, deadline, err);

	p->started = r == 0;
	consider_forgetting(p);
	return r;
}

int process_signal(struct process *p, int signo)
{
	if (p->exited)
		return 0;
	if (syscall(SYS_pidfd_send_signal, p->stage.pidfd, signo, NULL, 0) < 0 && errno != ESRCH)
		return -errno;
	return 0;
}

static void on_waiter_gone(struct ttrpc_call *call, void *arg)
{
	struct waiter *w = arg;

	list_remove(&w->link);
	--*w->count;
	ttrpc_call_fail(call, -ECANCELED, "the caller is gone");
}

static void set_held(struct process *p, bool hold)
{
	if (p->is_init || p->held == hold)
		return;
	p->held = hold;
	if (p->exited && hold) {
		stream_reader_resume(&p->out);
		stream_reader_resume(&p->err);
	} else if (p->exited) {
		end_streams(p);
	}
}

int process_wait(struct process *p, struct ttrpc_call *call, bool hold, struct err *err)
{
	struct waiter *w;

	set_held(p, hold);
	if (p->exited) {
		reply_wait(p, call);
		consider_forgetting(p);
		return TTRPC_PARKED;
	}
	if (p->n_waiters >= PROCESS_WAITERS_MAX)
		return err_setx(err, -EBUSY, "%u calls wait for process \"%s\" already",
				PROCESS_WAITERS_MAX, p->exec_id);
	w = ttrpc_call_alloc(call, sizeof(*w));
	*w = (struct waiter){.call = call, .count = &p->n_waiters};
	list_add_tail(&p->waiters, &w->link);
	p->n_waiters++;
	ttrpc_call_on_gone(call, on_waiter_gone, w);
	return TTRPC_PARKED;
}

int process_resize(struct process *p, uint32_t rows, uint32_t columns, struct err *err)
{
	struct winsize size = {
		.ws_row = (unsigned short)MIN(rows, (uint32_t)UINT16_MAX),
		.ws_col = (unsigned short)MIN(columns, (uint32_t)UINT16_MAX),
	};
	int fd = p->out.fd >= 0 ? p->out.fd : p->in.fd;

	if (!p->terminal)
		return err_setx(err, -EBUSY, "process \"%s\" has no terminal", p->exec_id);
	if (fd < 0)
		return 0;
	return ioctl(fd, TIOCSWINSZ, &size) < 0 ? err_set(err, -errno, "set the terminal's size")
						: 0;
}
