/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "runtime/sandbox.h"
#include "runtime/spare.h"
#include "shim/address.h"
#include "shim/bundle.h"
#include "shim/caller.h"
#include "shim/cmd.h"
#include "shim/handover.h"
#include "shim/serve.h"

/*
 * How it works: the socket listens before the daemon exists, so the answer can be given as soon as
 * the fork has worked; connections wait in the backlog meanwhile. The daemon is this very process
 * image, forked and not executed again: nothing is loaded twice. What may well be refused, a mount
 * namespace, is asked for before the fork, so that the refusal is the answer of `start` and not a
 * line in a log.
 *
 * containerd reads standard output and standard error as one text up to its end: exactly one line
 * is written, and the daemon keeps neither.
 */

/* Where the daemon finds its socket and the mount namespace of its caller; everything else above 2
 * is closed. */
#define FD_LISTEN 3
#define FD_MOUNTS 4

#define SPEC_MAX           (16U << 20)
#define SPARES_USEC        (2 * USEC_PER_SEC) /* for those that do not answer, all together */
#define CONFIG_ANNOTATIONS "io.katacontainers.config."

/* One score below ours for whoever runs out of memory first: containerd lives longer than a shim.
 * Not being allowed to is no reason to fail. */
static void adjust_oom_score(pid_t pid)
{
	_cleanup_(freep) char *text = NULL;
	char path[64], score_text[16];
	int64_t score;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", getppid());
	if (fs_read(path, 16, &text, NULL) < 0 || parse_i64(str_chomp(text), &score) < 0)
		return;
	if (score >= 1000)
		return;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	snprintf(score_text, sizeof(score_text), "%d", (int)score + 1);
	(void)fs_write(path, score_text);
}

static int place_fds(int listener, int mounts)
{
	int high = fcntl(listener, F_DUPFD, 16), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int high_mounts = fcntl(mounts, F_DUPFD, 16);

	if (high < 0 || high_mounts < 0 || null < 0)
		return -errno;
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	if (dup3(high, FD_LISTEN, O_CLOEXEC) < 0 || dup3(high_mounts, FD_MOUNTS, O_CLOEXEC) < 0)
		return -errno;
	return close_range(FD_MOUNTS + 1, ~0U, 0) < 0 ? -errno : 0;
}

/* The daemon's life, in the forked child. */
static _noreturn_ void run_daemon(struct serve *serve, int listener, int mounts)
{
	if (place_fds(listener, mounts) < 0 || chdir("/") < 0)
		_exit(1);
	sandbox_sources_in(FD_MOUNTS);
	(void)setsid();
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)umask(0022);
	serve->listener = FD_LISTEN;
	serve->mounts = FD_MOUNTS;
	_exit(serve_run(serve) < 0 ? 1 : 0);
}

/* Whichever process serves the sandbox from now on. */
static int note_daemon(const struct serve *serve, pid_t pid, struct err *err)
{
	char text[16];

	adjust_oom_score(pid);
	snprintf(text, sizeof(text), "%d", pid);
	return bundle_write(serve->bundle, "shim.pid", text, err);
}

static int fork_daemon(struct serve *serve, int listener, struct err *err)
{
	_cleanup_(closep) int mounts = sandbox_private_mounts(err);
	pid_t pid;
	int r;

	if (mounts < 0)
		return mounts;
	pid = fork();
	if (pid == 0)
		run_daemon(serve, listener, mounts);
	if (pid < 0)
		return err_set(err, -errno, "fork");
	r = note_daemon(serve, pid, err);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	return r;
}

/* --- a spare --- */

/* The pod's annotations may ask for another VM than the configuration file: it shall not cost us a
 * spare. What else does not fit is found when the sandbox is booted. */
static bool has_own_configuration(const char *bundle)
{
	_cleanup_(freep) char *path = path_join(bundle, "config.json"), *text = NULL;

	return fs_read(path, SPEC_MAX, &text, NULL) == 0 && strstr(text, CONFIG_ANNOTATIONS);
}

/* A process that has a VM ready, and becomes the daemon. false: there is none. */
static bool find_spare(const struct serve *serve, int listener)
{
	const char *path = serve->caller->config_path;
	_cleanup_(closep) int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	_cleanup_(freep) char *file = NULL;
	uint64_t until = clock_after(SPARES_USEC);
	unsigned int next = 0;

	if (mounts < 0 || config_find(*path ? path : NULL, &file, NULL) < 0)
		return false;
	while (clock_now() < until) {
		_cleanup_(closep) int spare = spare_connect(file ? file : "", &next);

		if (spare < 0 || has_own_configuration(serve->bundle))
			return false;
		if (handover_give(spare, serve, listener, mounts, note_daemon, NULL) == 0)
			return true;
	}
	return false;
}

static int start_daemon(struct serve *serve, struct err *err)
{
	_cleanup_(closep) int listener = address_listen(serve->socket, err);
	int r;

	if (listener < 0)
		return listener;
	if (find_spare(serve, listener))
		return 0;
	r = fork_daemon(serve, listener, err);
	if (r < 0)
		(void)unlink(serve->socket);
	return r;
}

/* CRI-O makes this FIFO for each container and waits, in a thread of its own, until somebody opens
 * it. The shim that is joined logs to that of its own bundle. */
static void release_log(const char *bundle)
{
	_cleanup_(freep) char *path = path_join(bundle, "log");
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		close(fd);
}

/* Join the sandbox's shim, or be it. containerd may also ask twice for the same id. */
static int find_or_start(const struct bundle_group *group, struct serve *serve, struct err *err)
{
	int r;

	if (group->member) {
		release_log(serve->bundle);
		if (address_is_served(serve->socket))
			return 0;
		return err_setx(err, -ESRCH, "sandbox %s does not run: no shim at %s",
				group->sandbox, serve->socket);
	}
	r = start_daemon(serve, err);
	if (r != -EADDRINUSE)
		return r;
	err_clear(err);
	return 0;
}

static int print_address(const char *address, bool task_v3, struct err *err)
{
	int n = printf(task_v3 ? "{\"version\":3,\"address\":\"%s\",\"protocol\":\"ttrpc\"}\n"
			       : "%s\n",
		       address);

	if (n < 0 || fflush(stdout) != 0)
		return err_set(err, -errno, "print the address");
	return 0;
}

int cmd_start(const struct options *options, struct err *err)
{
	_cleanup_(freep) char *bundle = NULL, *socket = NULL, *address = NULL;
	_cleanup_(bundle_group_fini) struct bundle_group group = {0};
	_cleanup_(caller_fini) struct caller caller = {0};
	struct serve serve = {.options = options, .caller = &caller};
	int r;

	r = caller_read(options, STDIN_FILENO, &caller, err);
	if (r < 0)
		return r;
	bundle = str_empty(options->bundle) ? getcwd(NULL, 0) : realpath(options->bundle, NULL);
	if (!bundle)
		return err_set(err, -errno, "find the bundle %s", options->bundle);
	r = bundle_group(bundle, options->id, &group, err);
	if (r < 0)
		return r;
	socket = str_empty(options->socket) ? address_path(caller.socket_dir, caller.address,
							   options->namespace, group.sandbox)
					    : xstrdup(options->socket);
	address = xasprintf("unix://%s", socket);
	serve.id = group.sandbox;
	serve.bundle = bundle;
	serve.socket = socket;
	/* From here containerd 1.x finds the shim again after a restart of its own. */
	r = bundle_write(bundle, "address", address, err);
	if (r < 0)
		return r;
	r = find_or_start(&group, &serve, err);
	if (r < 0)
		return r;
	return print_address(address, caller.task_v3, err);
}
