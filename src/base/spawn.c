/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"

/*
 * How it works: between fork and exec the child moves every descriptor it keeps out of the way of
 * the target numbers, then to them, and closes the rest with close_range(2). Errors travel back
 * through a close-on-exec pipe, so that "no such file" is the caller's error and not a child's exit
 * code.
 */

/* Above any number that a caller asks for, so that moving never overwrites one that is still
 * needed. */
#define PARK_BASE 200

static int reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		if (i != SIGKILL && i != SIGSTOP)
			sigaction(i, &action, NULL);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int place_fds(const struct spawn *s, int *report)
{
	const int standard[] = {s->in, s->out, s->err};
	int parked[3], highest = STDERR_FILENO;
	int moved[32];

	if (s->n_fds > ARRAY_SIZE(moved))
		return -E2BIG;
	*report = fcntl(*report, F_DUPFD_CLOEXEC, PARK_BASE);
	if (*report < 0)
		return -errno;
	for (size_t i = 0; i < 3; i++) {
		int fd = standard[i] >= 0 ? standard[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

		parked[i] = fcntl(fd, F_DUPFD_CLOEXEC, PARK_BASE);
		if (parked[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < s->n_fds; i++) {
		moved[i] = fcntl(s->fds[i].fd, F_DUPFD_CLOEXEC, PARK_BASE);
		if (moved[i] < 0)
			return -errno;
		highest = MAX(highest, s->fds[i].child);
	}
	for (int i = 0; i < 3; i++)
		if (dup2(parked[i], i) < 0)
			return -errno;
	/* dup2 clears close-on-exec on the target; everything else closes on exec. */
	syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
	for (size_t i = 0; i < s->n_fds; i++)
		if (dup2(moved[i], s->fds[i].child) < 0)
			return -errno;
	return highest < PARK_BASE ? 0 : -EINVAL;
}

static int become_user(const struct spawn *s)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	if (!s->uid)
		return 0;
	for (int cap = 0; cap <= 63; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
			return -errno;
	if (setgroups(0, NULL) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 ||
	    setresuid(s->uid, s->uid, s->uid) < 0)
		return -errno;
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int prepare_child(const struct spawn *s, pid_t parent, int *report)
{
	int ruleset = -1, r;

	if (s->new_session && setsid() < 0)
		return -errno;
	if (s->netns_fd > 0 && setns(s->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	if (s->mntns_fd > 0 && setns(s->mntns_fd, CLONE_NEWNS) < 0)
		return -errno;
	if (s->new_netns && unshare(CLONE_NEWNET) < 0)
		return -errno;
	if (s->landlock_fd > 0) {
		ruleset = fcntl(s->landlock_fd, F_DUPFD_CLOEXEC, PARK_BASE);
		if (ruleset < 0)
			return -errno;
	}
	r = place_fds(s, report);
	if (r == 0)
		r = become_user(s);
	if (r < 0)
		return r;
	if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	/* After the change of user, which clears it; a parent that died before is seen by getppid.
	 */
	if (s->die_with_parent &&
	    (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent))
		return -ESRCH;
	return reset_signals() < 0 ? -errno : 0;
}

pid_t spawn_start(const struct spawn *s)
{
	_cleanup_(closep) int read_end = -1;
	int pipe_fds[2], result = 0;
	pid_t parent = getpid(), pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	read_end = pipe_fds[0];
	pid = fork();
	if (pid < 0) {
		result = -errno;
		close(pipe_fds[1]);
		return result;
	}
	if (pid == 0) {
		int report = pipe_fds[1];

		result = prepare_child(s, parent, &report);
		if (result == 0) {
			execvpe(s->path, s->argv, s->envp ? s->envp : environ);
			result = -errno;
		}
		(void)!write(report, &result, sizeof(result));
		_exit(127);
	}
	close(pipe_fds[1]);
	if (fd_read_full(read_end, &result, sizeof(result)) == sizeof(result)) {
		spawn_wait(pid);
		return result;
	}
	return pid;
}

int spawn_exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int spawn_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return spawn_exit_status(status);
}
