/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Starting other programs. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn_fd {
	int fd;    /* ours */
	int child; /* its number in the child */
};

struct spawn {
	const char *path;           /* program; looked up in PATH when it has no slash */
	char *const *argv;          /* NULL-terminated */
	char *const *envp;          /* NULL: ours */
	const struct spawn_fd *fds; /* every other descriptor above 2 is closed in the child */
	size_t n_fds;
	int in, out, err; /* the child's 0, 1, 2; -1: /dev/null (0 means fd 0: inherit) */
	int netns_fd;     /* > 0: setns(2) to it first */
	int mntns_fd;     /* > 0: setns(2) to it first */
	bool new_netns;   /* run in a network namespace of its own, which is empty */
	uid_t uid;        /* != 0: switch user and group, drop groups and all capabilities */
	gid_t gid;
	bool no_new_privs;
	int landlock_fd;      /* > 0: a Landlock ruleset to run under; needs no_new_privs */
	bool die_with_parent; /* SIGKILL when our process ends (PR_SET_PDEATHSIG) */
	bool new_session;
};

/*
 * spawn_start: fork and exec. Returns the pid, or -errno when the fork or the exec failed (the
 * exec's own error arrives through a close-on-exec pipe). The caller reaps it: with loop_child in a
 * program that has a loop, else with spawn_wait.
 */
pid_t spawn_start(const struct spawn *s);
/* spawn_exit_status: a status of waitpid(2) as shells and container managers have it: the exit
 * code, or 128 + signal. */
int spawn_exit_status(int status);
/* spawn_wait: reap pid. Returns its exit code, 128 + signal, or -errno. */
int spawn_wait(pid_t pid);
