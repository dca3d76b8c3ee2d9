/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/init/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/init/init.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "kernel/caps.h"
#include "kernel/seccomp.h"
#include "loop/co.h"

/*
 * How it works: parent and child speak over a SOCK_SEQPACKET pair, one message a step:
 *
 *	child			parent
 *	MAP			writes uid_map and gid_map, answers GO	(new user namespace)
 *	TERMINAL + pty master	keeps it				(with a terminal)
 *	WARN text		logs it					(any time)
 *	READY			Create answers its caller
 *				Start answers GO		(first process)
 *	ERROR code text		gives it to the caller
 *	(end of file)		after READY: the program runs; before: the child has died
 *
 * A process of one container may be in the PID namespace of others (shared in a pod). Until its
 * program runs it has a copy of the agent's memory, so it is undumpable from its first moment (the
 * agent is, and that is inherited): no ptrace, no /proc/PID/mem for processes with the same user.
 * Descriptors are closed first thing.
 */

enum {
	STAGE_MAP = 'M',
	STAGE_TERMINAL = 'T',
	STAGE_WARN = 'W',
	STAGE_READY = 'R',
	STAGE_GO = 'G',
	STAGE_ERROR = 'E'
};

struct stage_message {
	int kind;
	int code;
	char text[STAGE_TEXT_MAX];
};

#define MESSAGE_HEAD offsetof(struct stage_message, text)

static int child_sock = -1;
/* Signals that the agent ignores: what a program would inherit. */
static sigset_t ignored;

static int send_message(int sock, int kind, int code, const char *text, int fd)
{
	struct stage_message *m = xmalloc(sizeof(*m));
	size_t n = MIN(strlen(text), sizeof(m->text) - 1);
	ssize_t r;

	m->kind = kind;
	m->code = code;
	memcpy(m->text, text, n);
	r = fd_send(sock, m, MESSAGE_HEAD + n, &fd, fd >= 0 ? 1 : 0);
	free(m);
	return r < 0 ? (int)r : 0;
}

void stage_plan_init(struct stage_plan *plan)
{
	*plan = (struct stage_plan){
		.stdio = {-1, -1, -1},
		.target_pidfd = -1,
		.pid_namespace = -1,
		.cgroup_fd = -1,
		.sysctls = SYSCTL_NETWORK | SYSCTL_OTHER,
	};
}

bool stage_joins_user(const struct stage_plan *plan)
{
	return plan->n_joins && plan->joins[0].flag == CLONE_NEWUSER;
}

/* --- the child --- */

void stage_warn(const char *fmt, ...)
{
	va_list ap;
	char text[512];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	send_message(child_sock, STAGE_WARN, 0, text, -1);
}

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* Closes everything above 2 but the descriptors of the plan and the socket. */
static void close_others(const struct stage_plan *plan, int sock)
{
	int keep[STAGE_JOINS_MAX + 2];
	size_t n = 0;
	unsigned int from = 3;

	keep[n++] = sock;
	if (plan->target_pidfd >= 0)
		keep[n++] = plan->target_pidfd;
	for (size_t i = 0; i < plan->n_joins; i++)
		keep[n++] = plan->joins[i].fd;
	qsort(keep, n, sizeof(keep[0]), compare_ints);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned int)keep[i] > from)
			syscall(SYS_close_range, from, (unsigned int)keep[i] - 1, 0);
		from = MAX(from, (unsigned int)keep[i] + 1);
	}
	syscall(SYS_close_range, from, ~0U, 0);
}

static int reset_process(const struct stage_plan *plan, int sock, struct err *err)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		if (sigismember(&ignored, i))
			sigaction(i, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(0022);
	setsid();
	for (int i = 0; i < 3; i++)
		if (plan->stdio[i] >= 0 && dup2(plan->stdio[i], i) < 0)
			return err_set(err, -errno, "standard stream %d", i);
	close_others(plan, sock);
	return 0;
}

/* Waits for the parent's word. */
static void await_go(int sock)
{
	struct stage_message m;
	ssize_t n;

	do
		n = recv(sock, &m, sizeof(m), 0);
	while (n < 0 && errno == EINTR);
	/* The agent is gone, or has given up. */
	if (n < (ssize_t)MESSAGE_HEAD || m.kind != STAGE_GO)
		_exit(1);
}

static int enter_user_namespace(int sock, struct err *err)
{
	int r = send_message(sock, STAGE_MAP, 0, "", -1);

	if (r < 0)
		return err_set(err, r, "ask for user mappings");
	await_go(sock);
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_set(err, -errno, "become root of the user namespace");
	return 0;
}

static int open_terminal(const struct stage_plan *plan, int sock, struct err *err)
{
	_cleanup_(closep) int master = -1;
	int r;

	if (!plan->process->terminal)
		return 0;
	r = terminal_open(plan->process, plan->spec != NULL, &master, err);
	if (r < 0)
		return err_wrap(err, r, "open a terminal");
	r = send_message(sock, STAGE_TERMINAL, 0, "", master);
	return r < 0 ? err_set(err, r, "hand over the terminal") : 0;
}

static int enter_container(const struct stage_plan *plan, int sock, struct err *err)
{
	int r;

	if (plan->new_namespaces & CLONE_NEWUSER) {
		r = enter_user_namespace(sock, err);
		if (r < 0)
			return r;
	}
	r = namespaces_enter(plan, err);
	if (r < 0 || !plan->spec)
		return r < 0 ? r : open_terminal(plan, sock, err);
	r = sysctl_apply(plan->spec, plan->sysctls, err);
	if (r == 0)
		r = namespaces_set_names(plan, err);
	if (r == 0)
		r = rootfs_enter(plan, err);
	if (r == 0)
		r = open_terminal(plan, sock, err);
	if (r == 0)
		r = rootfs_finish(plan->spec, err);
	return r;
}

static int load_filter(const struct stage_plan *plan, struct err *err)
{
	int r = 0;

	if (plan->n_bpf)
		r = seccomp_load(plan->bpf, plan->n_bpf, plan->bpf_flags);
	return r < 0 ? err_set(err, r, "load the seccomp filter") : 0;
}

/* Without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before that goes. */
static int become_process(const struct stage_plan *plan, struct err *err)
{
	const Grpc__Process *p = plan->process;
	int r;

	if (p->nonewprivileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "set no_new_privs");
	if (plan->personality && personality(plan->personality) < 0)
		return err_set(err, -errno, "set the personality");
	r = user_limits(p, err);
	if (r == 0 && !p->nonewprivileges)
		r = load_filter(plan, err);
	if (r == 0)
		r = user_become(p, plan->in_user_namespace, err);
	/* Another user or other capabilities have made it what fs.suid_dumpable says. */
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_set(err, -errno, "make the process undumpable");
	return r;
}

static int run_child(const struct stage_plan *plan, int sock, struct err *err)
{
	const Grpc__Process *p = plan->process;
	_cleanup_(freep) char *program = NULL;
	char **env, **args;
	int r = reset_process(plan, sock, err);

	if (r == 0)
		r = enter_container(plan, sock, err);
	if (r == 0)
		r = become_process(plan, err);
	if (r == 0)
		r = program_find(p, &program, err);
	if (r < 0)
		return r;
	env = program_environment(p);
	args = xcalloc(p->n_args + 1, sizeof(*args));
	memcpy(args, p->args, p->n_args * sizeof(*args));
	r = send_message(sock, STAGE_READY, 0, "", -1);
	if (r < 0)
		return err_set(err, r, "report that it is ready");
	/* One more process of a container runs at once. */
	if (plan->spec)
		await_go(sock);
	/* Hooks inside have the container's filter in any case, as with runc. */
	if (p->nonewprivileges)
		r = load_filter(plan, err);
	if (r == 0 && plan->spec)
		r = inner_hooks_run(plan, HOOK_START_CONTAINER, err);
	return r < 0 ? r : program_exec(program, args, env, err);
}

static _noreturn_ void child_main(const struct stage_plan *plan, int sock)
{
	struct err err = {0};
	int r;

	child_sock = sock;
	r = run_child(plan, sock, &err);
	send_message(sock, STAGE_ERROR, r, err_text(&err), -1);
	_exit(127);
}

/* --- the agent --- */

/* What every child needs to know, found out once instead of by each of them. */
static void look_around(void)
{
	static bool done;
	struct sigaction action;

	if (done)
		return;
	done = true;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)caps_last();
	sigemptyset(&ignored);
	for (int i = 1; i < NSIG; i++)
		if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			sigaddset(&ignored, i);
}

int stage_start(struct stage *ret, const struct stage_plan *plan, struct err *err)
{
	_cleanup_(closep) int ours = -1;
	_cleanup_(closep) int theirs = -1;
	int pair[2], pidfd = -1;
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "socket pair");
	ours = pair[0];
	theirs = pair[1];
	look_around();
	pid = stage_clone(plan, &pidfd, err);
	if (pid == 0)
		child_main(plan, theirs);
	if (pid < 0)
		return (int)pid;
	*ret = (struct stage){
		.pid = (pid_t)pid,
		.pidfd = pidfd,
		.sock = TAKE_FD(ours),
		.terminal = -1,
		.waits = plan->spec != NULL,
	};
	return fd_set_nonblock(ret->sock, true);
}

static void stage_abort(struct stage *stage)
{
	syscall(SYS_pidfd_send_signal, stage->pidfd, SIGKILL, NULL, 0);
	stage->sock = fd_close(stage->sock);
}

/* The next message: 1, 0 at the end, or -errno. */
static int receive(struct stage *stage, struct stage_message *m, uint64_t deadline)
{
	size_t n_fds = 1;
	int fd = -1;
	ssize_t n;

	for (;;) {
		int r;

		n = fd_recv(stage->sock, m, sizeof(*m) - 1, &fd, &n_fds);
		if (n != -EAGAIN)
			break;
		r = co_wait_io(stage->sock, EPOLLIN, deadline);
		if (r < 0)
			return r;
		n_fds = 1;
	}
	if (n <= 0)
		return n == -ECONNRESET ? 0 : (int)n;
	if (n_fds == 1) {
		fd_close(stage->terminal);
		stage->terminal = fd;
	}
	if (n < (ssize_t)MESSAGE_HEAD)
		return -EPROTO;
	((char *)m)[n] = '\0';
	return 1;
}

static int write_maps(struct stage *stage, const struct stage_plan *plan, struct err *err)
{
	int r = ns_write_maps(stage->pid, plan->maps);

	if (r < 0)
		return err_set(err, r, "write user and group mappings");
	r = namespaces_set_oom_score(stage->pid, plan->process, err);
	if (r < 0)
		return r;
	r = send_message(stage->sock, STAGE_GO, 0, "", -1);
	return r < 0 ? err_set(err, r, "continue the container's set-up") : 0;
}

/* Reads messages until `wanted`; 0 is the end of file, which is the program's start. */
static int wait_for(struct stage *stage, const struct stage_plan *plan, int wanted,
		    uint64_t deadline, struct err *err)
{
	_cleanup_(freep) struct stage_message *m = xmalloc(sizeof(*m));

	for (;;) {
		int r = receive(stage, m, deadline);

		if (r == 0 && !wanted)
			return 0;
		if (r == 0)
			return err_setx(err, -EIO, "the process died while it was set up");
		if (r == -ETIMEDOUT)
			return err_setx(err, r, "the process was not set up in time");
		if (r < 0)
			return err_set(err, r, "wait for the process' set-up");
		if (m->kind == STAGE_ERROR)
			return err_setx(err, m->code < 0 ? m->code : -EIO, "%s", m->text);
		if (m->kind == STAGE_WARN)
			log_warn("%s: %s", plan ? plan->id : "container", m->text);
		if (m->kind == STAGE_MAP && plan) {
			r = write_maps(stage, plan, err);
			if (r < 0)
				return r;
		}
		if (wanted && m->kind == wanted)
			return 0;
	}
}

int stage_wait_ready(struct stage *stage, const struct stage_plan *plan, uint64_t deadline,
		     struct err *err)
{
	int r = 0;

	/* Otherwise write_maps() does it, or the child itself. */
	if (stage_joins_user(plan))
		r = namespaces_set_oom_score(stage->pid, plan->process, err);
	if (r == 0)
		r = wait_for(stage, plan, STAGE_READY, deadline, err);
	if (r < 0)
		stage_abort(stage);
	return r;
}

int stage_go(struct stage *stage, uint64_t deadline, struct err *err)
{
	int r = stage->waits ? send_message(stage->sock, STAGE_GO, 0, "", -1) : 0;

	if (r < 0)
		r = err_setx(err, r, "the process has ended before its start");
	else
		r = wait_for(stage, NULL, 0, deadline, err);
	if (r < 0)
		stage_abort(stage);
	stage->sock = fd_close(stage->sock);
	return r;
}

void stage_fini(struct stage *stage)
{
	stage->sock = fd_close(stage->sock);
	stage->pidfd = fd_close(stage->pidfd);
	stage->terminal = fd_close(stage->terminal);
}
