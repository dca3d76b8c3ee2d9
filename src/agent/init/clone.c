/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/str.h"

/*
 * How it works: new namespaces belong to the user namespace in which they are made. So one that is
 * joined has to be joined before, which the agent cannot do: there is no way back. A process in
 * between does it, clones the child as the agent's (CLONE_PARENT), hands over its pidfd and ends.
 */

/* Our own PID namespace, to come back to. */
static int own_pid_namespace(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	return fd;
}

static long clone_as(struct clone_args *args)
{
	long pid = syscall(SYS_clone3, args, sizeof(*args));

	return pid < 0 ? -errno : pid;
}

/* In the process in between: returns in the child only. */
static void join_and_clone(const struct stage_plan *plan, struct clone_args *args, int sock)
{
	int *pidfd = (int *)(uintptr_t)args->pidfd;
	struct err err = {0};
	long r = namespaces_join(plan, &err);

	/* The group is inherited, and not this namespace's root's to choose. */
	args->flags = (args->flags & ~(uint64_t)CLONE_INTO_CGROUP) | CLONE_PARENT;
	args->exit_signal = 0;
	if (r == 0) {
		r = clone_as(args);
		if (r == 0)
			return;
		if (r < 0)
			err_set(&err, (int)r, "clone");
	}
	fd_send(sock, r < 0 ? err_text(&err) : "", r < 0 ? strlen(err_text(&err)) + 1 : 1, pidfd,
		r < 0 ? 0 : 1);
	_exit(0);
}

/* As this /proc numbers it. */
static long pid_of(int pidfd)
{
	_cleanup_(freep) char *text = NULL;
	char path[64], *line;
	uint32_t pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (fs_read(path, 4096, &text, NULL) < 0)
		return -ESRCH;
	line = strstr(text, "Pid:\t");
	if (!line)
		return -ESRCH;
	line += strlen("Pid:\t");
	line[strcspn(line, "\n")] = '\0';
	return parse_u32(line, &pid) < 0 || pid == 0 ? -ESRCH : (long)pid;
}

static long receive(int sock, int *pidfd, struct err *err)
{
	char text[STAGE_TEXT_MAX];
	size_t n_fds = 1;
	ssize_t n;
	long pid;

	n = fd_recv(sock, text, sizeof(text) - 1, pidfd, &n_fds);
	if (n <= 0)
		return err_setx(err, -EIO, "the process that joins a user namespace died");
	text[n] = '\0';
	if (!n_fds)
		return err_setx(err, -EPERM, "%s", text);
	pid = pid_of(*pidfd);
	return pid < 0 ? err_set(err, (int)pid, "find the process in the user namespace") : pid;
}

static long clone_inside(const struct stage_plan *plan, struct clone_args *args, int *pidfd,
			 struct err *err)
{
	struct clone_args between = {
		.flags = args->flags & CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = args->cgroup,
	};
	int pair[2];
	long pid, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, -errno, "socket pair");
	pid = clone_as(&between);
	if (pid == 0) {
		join_and_clone(plan, args, pair[1]);
		return 0;
	}
	close(pair[1]);
	if (pid < 0) {
		r = err_set(err, (int)pid, "clone");
	} else {
		r = receive(pair[0], pidfd, err);
		while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(pair[0]);
	if (r < 0)
		*pidfd = fd_close(*pidfd);
	return r;
}

long stage_clone(const struct stage_plan *plan, int *pidfd, struct err *err)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | (plan->new_namespaces & ~(unsigned int)CLONE_NEWCGROUP),
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};
	bool elsewhere = plan->pid_namespace >= 0;
	int home = elsewhere ? own_pid_namespace() : -1;
	long pid;

	if (plan->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)plan->cgroup_fd;
	}
	/* Only children are born there; we stay where we are. */
	if (elsewhere && (home < 0 || setns(plan->pid_namespace, CLONE_NEWPID) < 0))
		return err_set(err, -errno, "join the PID namespace");
	if (stage_joins_user(plan)) {
		pid = clone_inside(plan, &args, pidfd, err);
	} else {
		pid = clone_as(&args);
		if (pid < 0)
			err_set(err, (int)pid, "clone");
	}
	if (pid && elsewhere && setns(home, CLONE_NEWPID) < 0 && pid > 0) {
		/* Every later child would be born in the wrong place. */
		log_error("return to the PID namespace: %s", strerror(errno));
		abort();
	}
	return pid;
}
