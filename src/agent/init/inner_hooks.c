/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/hooks.h"
#include "agent/init/init.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/spawn.h"
#include "base/str.h"

/*
 * How it works: the hooks are children of the container's first process, which has nothing else to
 * do meanwhile. Only what every seccomp profile allows is used where it can be: the container's may
 * be in force already.
 */

#define OUTPUT_MAX 256   /* bytes of a failed hook's output that are told */
#define WAIT_POLL  2000U /* µs */

static pid_t start(const Grpc__Hook *h, int in, int out)
{
	char **args = xcalloc(h->n_args + 2, sizeof(*args));
	char **env = xcalloc(h->n_env + 1, sizeof(*env));
	pid_t pid;

	args[0] = h->path;
	if (h->n_args)
		memcpy(args, h->args, h->n_args * sizeof(*args));
	if (h->n_env)
		memcpy(env, h->env, h->n_env * sizeof(*env));
	/* Not fork(), whose handlers close what the agent knows as its own: this process was not
	 * forked but cloned, and has other descriptors under these numbers. */
	pid = _Fork();
	if (pid == 0) {
		setsid();
		if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		    dup2(out, STDERR_FILENO) < 0)
			_exit(127);
		execve(h->path, args, env);
		dprintf(STDERR_FILENO, "%s", strerror(errno));
		_exit(127);
	}
	free(args);
	free(env);
	return pid < 0 ? -errno : pid;
}

static int await(pid_t pid, uint64_t deadline, int *ret_status)
{
	for (;;) {
		pid_t r = waitpid(pid, ret_status, WNOHANG);

		if (r == pid)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (clock_now() > deadline) {
			kill(-pid, SIGKILL);
			waitpid(pid, ret_status, 0);
			return -ETIMEDOUT;
		}
		usleep(WAIT_POLL);
	}
}

/* What the hook has said, fit for a message: a container's program may say anything. */
static void read_output(int out, char text[OUTPUT_MAX])
{
	ssize_t n = pread(out, text, OUTPUT_MAX - 1, 0);

	text[MAX(n, (ssize_t)0)] = '\0';
	str_chomp(text);
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = *c == '\n' ? ' ' : '?';
}

static int run_one(const struct stage_plan *plan, const Grpc__Hook *h, const char *kind,
		   const char *status, struct err *err)
{
	uint64_t seconds = h->timeout > 0 ? MIN((uint64_t)h->timeout, (uint64_t)UINT32_MAX)
					  : HOOKS_TIMEOUT_SEC;
	_cleanup_(freep) char *bundle = path_dir(plan->spec->root->path);
	_cleanup_(closep) int in = hooks_state_pipe(plan->id, status, getpid(), bundle);
	_cleanup_(closep) int out = memfd_create("hook", MFD_CLOEXEC);
	char text[OUTPUT_MAX];
	int code = 0, r;
	pid_t pid;

	if (out < 0)
		out = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (in < 0 || out < 0)
		return err_set(err, in < 0 ? in : -errno, "streams of %s hook %s", kind, h->path);
	pid = start(h, in, out);
	r = pid < 0 ? pid : await(pid, clock_after(seconds * USEC_PER_SEC), &code);
	if (r == -ETIMEDOUT)
		return err_setx(err, r, "%s hook %s did not end in time", kind, h->path);
	if (r < 0)
		return err_set(err, r, "%s hook %s", kind, h->path);
	if (code == 0)
		return 0;
	read_output(out, text);
	return err_setx(err, -EIO, "%s hook %s ended with status %d: %s", kind, h->path,
			spawn_exit_status(code), text);
}

int inner_hooks_run(const struct stage_plan *plan, enum inner_hook kind, struct err *err)
{
	const Grpc__Hooks *hooks = plan->spec->hooks;
	bool create = kind == HOOK_CREATE_CONTAINER;
	Grpc__Hook *const *list;
	int r = 0;

	if (!hooks)
		return 0;
	list = create ? hooks->createcontainer : hooks->startcontainer;
	for (size_t i = 0;
	     r == 0 && i < (create ? hooks->n_createcontainer : hooks->n_startcontainer); i++)
		r = run_one(plan, list[i], create ? "createContainer" : "startContainer",
			    create ? "creating" : "created", err);
	return r;
}
