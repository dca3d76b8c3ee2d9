/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug console of a sandbox: a shell of the guest itself, outside of its containers. The line
 * has no end of its own (the agent starts a new shell when one ends), so a key ends the session,
 * as telnet's; when input is not a terminal, the end of input and then silence do.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "cli/commands.h"
#include "cli/sandboxes.h"
#include "cli/terminal.h"
#include "runtime/debug_console.h"

#define LEAVE_KEY    0x1d /* ^] */
#define SILENCE_MSEC 2000 /* after the end of input */

/* Terminal to line. Returns 1, 0 at the end or when the key was pressed, or -errno. */
static int copy_input(int line, bool terminal)
{
	char data[4096];
	const char *key;
	ssize_t n = read(STDIN_FILENO, data, sizeof(data));
	int r;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	key = terminal ? memchr(data, LEAVE_KEY, (size_t)n) : NULL;
	r = fd_write_all(line, data, key ? (size_t)(key - data) : (size_t)n);
	if (r < 0)
		return r;
	return n > 0 && !key;
}

static int copy_output(int line)
{
	char data[4096];
	ssize_t n = read(line, data, sizeof(data));
	int r;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	r = fd_write_all(STDOUT_FILENO, data, (size_t)n);
	return r < 0 ? r : n > 0;
}

/* Until the key, the end of the sandbox, or silence after the end of input. */
static int session(int line, bool terminal)
{
	struct pollfd fds[2] = {{.fd = line, .events = POLLIN},
				{.fd = STDIN_FILENO, .events = POLLIN}};
	int r;

	for (;;) {
		int n = poll(fds, 2, fds[1].fd < 0 ? SILENCE_MSEC : -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0 && fds[0].revents) {
			r = copy_output(line);
			if (r <= 0)
				return r;
		}
		if (n > 0 && fds[1].revents) {
			r = copy_input(line, terminal);
			if (r < 0 || (r == 0 && terminal))
				return r;
			if (r == 0)
				fds[1].fd = -1;
		}
	}
}

static int open_line(struct cli *cli, struct err *err)
{
	const char *id = cli->args.v[0];
	_cleanup_(freep) char *path = NULL;
	int fd, r;

	r = sandbox_state_path(cli, id, DEBUG_CONSOLE_SOCKET, &path, err);
	if (r < 0)
		return r;
	if (!fs_exists(path))
		return err_setx(err, -ENOENT,
				"sandbox %s has no debug console: it needs debug_console_enabled = "
				"true in [agent.kata] and a guest image made by kata-guest-image "
				"--debug-shell, before it starts",
				id);
	fd = fd_unix_connect(path);
	return fd < 0 ? err_set(err, fd, "connect to the debug console at %s", path) : fd;
}

static int run_exec(struct cli *cli, struct err *err)
{
	_cleanup_(closep) int line = open_line(cli, err);
	bool terminal = isatty(STDIN_FILENO);
	int r;

	if (line < 0)
		return CLI_FAILED;
	signal(SIGPIPE, SIG_IGN);
	if (terminal) {
		fputs("Debug console of the guest. ^] leaves it.\n", stderr);
		r = terminal_raw(STDIN_FILENO);
		if (r < 0) {
			err_set(err, r, "switch the terminal to raw mode");
			return CLI_FAILED;
		}
	}
	r = session(line, terminal);
	terminal_restore();
	if (terminal)
		fputs("\n", stderr);
	if (r < 0) {
		err_set(err, r, "debug console of sandbox %s", cli->args.v[0]);
		return CLI_FAILED;
	}
	return CLI_OK;
}

static const struct cli_option options[] = {
	{.name = "kata-debug-port",
	 .value = "PORT",
	 .hidden = true,
	 .help = "accepted for Kata's sake: the console is a virtio-serial port"},
	{.name = NULL},
};

const struct cli_command cmd_exec = {
	.name = "exec",
	.arguments = "SANDBOX",
	.summary = "Open the debug console of a sandbox",
	.details = "A shell in the guest itself, outside of its containers. It needs "
		   "debug_console_enabled in the\n"
		   "configuration and a guest image with a shell (kata-guest-image --debug-shell). "
		   "^] leaves it;\n"
		   "when input is not a terminal, its end does, when nothing more comes for two "
		   "seconds.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run_exec,
};
