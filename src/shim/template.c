/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/template.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "shim/options.h"

/* The program itself says what went wrong. */
static void on_end(_unused_ struct loop_child *child, int status)
{
	log_debug("the process that made a template ended with %d", spawn_exit_status(status));
}

/* It begins when its standard input ends: in the right control group by then. */
static pid_t start(const struct template_order *order, const char *key, const char *config)
{
	char *argv[] = {(char *)SHIM_NAME,  (char *)"-id",
			(char *)key,        (char *)"-config",
			(char *)config,     (char *)(order->debug ? "-debug" : "-debug=false"),
			(char *)"template", NULL};
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

void template_order(struct loop *loop, struct loop_child *child, const struct template_order *order)
{
	const char *config, *key = sandbox_wanted_template(order->sandbox, &config);
	pid_t pid;
	int r;

	if (!key || child->loop)
		return;
	pid = start(order, key, config);
	if (pid < 0) {
		log_warn("have template %.12s made: %s", key, strerror(-pid));
		return;
	}
	log_info("template %.12s is being made in the background", key);
	r = loop_child_add(loop, child, pid, on_end);
	if (r < 0)
		log_warn("watch the process that makes a template: %s", strerror(-r));
}
