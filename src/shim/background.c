/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/background.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "shim/title.h"

#define NICENESS 19

/* --- the one that orders --- */

/* The program itself says what went wrong. */
static void on_end(_unused_ struct loop_child *child, int status)
{
	log_debug("a process in the background ended with %d", spawn_exit_status(status));
}

static pid_t start(const struct background_order *order, char *const *argv)
{
	struct spawn spawn = {
		/* This very program, also when another version has been installed since. */
		.path = "/proc/self/exe",  .argv = argv,        .out = -1, .err = order->log,
		.mntns_fd = order->mounts, .new_session = true,
	};
	_cleanup_(closep) int begin = -1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	begin = fds[1];
	spawn.in = fds[0];
	pid = spawn_start(&spawn);
	close(fds[0]);
	if (pid > 0)
		sandbox_expel(order->sandbox, pid);
	return pid;
}

static void have_made(struct loop *loop, struct loop_child *child,
		      const struct background_order *order, char *const *argv, const char *what)
{
	pid_t pid = start(order, argv);
	int r;

	if (pid < 0) {
		log_warn("have %s made: %s", what, strerror(-pid));
		return;
	}
	log_info("%s is being made in the background", what);
	r = loop_child_add(loop, child, pid, on_end);
	if (r < 0)
		log_warn("watch process %d: %s", pid, strerror(-r));
}

void background_template(struct loop *loop, struct loop_child *child,
			 const struct background_order *order)
{
	const char *config, *key = sandbox_wanted_template(order->sandbox, &config);
	_cleanup_(freep) char *what = NULL;
	char *argv[] = {(char *)SHIM_NAME,  (char *)"-id",
			(char *)key,        (char *)"-config",
			(char *)config,     (char *)(order->debug ? "-debug" : "-debug=false"),
			(char *)"template", NULL};

	if (!key || child->loop)
		return;
	what = xasprintf("template %.12s", key);
	have_made(loop, child, order, argv, what);
}

void background_spare(struct loop *loop, struct loop_child *child,
		      const struct background_order *order)
{
	const char *config = sandbox_wanted_spare(order->sandbox);
	/* There is no bundle yet. */
	char *argv[] = {(char *)SHIM_NAME, (char *)"-id",
			(char *)"spare",   (char *)"-config",
			(char *)config,    (char *)(order->debug ? "-debug" : "-debug=false"),
			(char *)"-bundle", (char *)title_room,
			(char *)"spare",   NULL};

	if (config && !child->loop)
		have_made(loop, child, order, argv, "a spare");
}

/* --- the one that works --- */

void background_step_back(void)
{
	(void)setpriority(PRIO_PROCESS, 0, NICENESS);
}

void background_begin(const struct options *options)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	(void)prctl(PR_SET_NAME, SHIM_NAME);
	background_step_back();
	log_open(SHIM_NAME, STDERR_FILENO, LOG_FORMAT_LOGFMT,
		 options->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_use_system("");
}
