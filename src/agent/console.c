/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "agent/channel.h"
#include "agent/uevents.h"
#include "base/fd.h"
#include "base/log.h"

/*
 * How it works: ports of the serial device appear one after the other, so that one which is not
 * there when the channel is may still come. The log's descriptor is non-blocking and lines that do
 * not fit are lost, so that a host that does not read cannot hold the guest. The shell gets a
 * pseudo terminal of its own and a child that copies between it and the port, because a virtio port
 * is no terminal: no signals, no window size. It is started again when it ends.
 */

#define RESPAWN_DELAY  (1 * USEC_PER_SEC)
#define PORT_TIME      (1 * USEC_PER_SEC) /* until a port appears beside the agent's own */
#define VMADDR_CID_ALL 0xffffffffU

static const char *const shells[] = {"/bin/bash", "/bin/sh", "/bin/busybox"};

/* --- the log --- */

static int open_log_port(void)
{
	_cleanup_(freep) char *path = NULL;
	int fd;

	if (channel_find_port(CHANNEL_LOG_PORT, &path) < 0)
		return -ENOENT;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* Kata's runtime connects to the port and reads; a container that does gets nothing. */
static int await_log_reader(unsigned int port)
{
	_cleanup_(closep) int listener = channel_vsock_listen(VMADDR_CID_ALL, port);

	while (listener >= 0 && co_wait_io(listener, EPOLLIN, USEC_NEVER) > 0) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0 && channel_from_host(fd))
			return fd;
		fd_close(fd);
	}
	return -ENOTCONN;
}

/* In a coroutine of its own. */
static void serve_log(void *arg)
{
	struct agent *agent = arg;
	uint64_t deadline = clock_after(PORT_TIME);
	int fd;

	if (agent->config.log_vport) {
		fd = await_log_reader(agent->config.log_vport);
	} else {
		while ((fd = open_log_port()) == -ENOENT && uevents_wait(agent, deadline) == 0) {
		}
	}
	if (fd >= 0)
		log_open("kata-agent", fd, LOG_FORMAT_JSON, agent->config.log_level);
}

/* --- the debug console --- */

static const char *find_shell(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
		if (access(shells[i], X_OK) == 0)
			return shells[i];
	return NULL;
}

/* A pseudo terminal; *ret_slave is its other side. */
static int open_terminal(int *ret_slave)
{
	_cleanup_(closep) int master = open("/dev/ptmx", O_RDWR | O_CLOEXEC | O_NOCTTY);
	int unlock = 0, slave;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (slave < 0)
		return -errno;
	*ret_slave = slave;
	return TAKE_FD(master);
}

static pid_t start_shell(const char *shell, int slave)
{
	char *argv[] = {(char *)"sh", (char *)"-i", NULL};
	sigset_t none;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	ioctl(slave, TIOCSCTTY, 0);
	for (int fd = 0; fd <= 2; fd++)
		dup2(slave, fd);
	execv(shell, argv);
	_exit(127);
}

static bool copy_some(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof(buf));

	return n > 0 && fd_write_all(to, buf, (size_t)n) == 0;
}

/* One shell on one line, until either ends; in a child, so that it may block. */
static void run_session(int line, const char *shell)
{
	struct pollfd fds[2] = {{.fd = line, .events = POLLIN}, {.events = POLLIN}};
	int master, slave = -1;

	master = open_terminal(&slave);
	if (master < 0 || start_shell(shell, slave) < 0)
		return;
	close(slave);
	fd_set_nonblock(line, false);
	fds[1].fd = master;
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents && !copy_some(master, line))
			return;
		if (fds[0].revents & POLLIN && !copy_some(line, master))
			return;
		if (fds[0].revents & (POLLHUP | POLLERR))
			return;
	}
}

/* A session may last for hours: it keeps nothing of the agent's open but the line. */
static void start_session(int line, const char *shell, pid_t *ret_pid)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (line != 3 && dup2(line, 3) < 0)
			_exit(1);
		syscall(SYS_close_range, 4, ~0U, 0);
		fcntl(3, F_SETFD, FD_CLOEXEC);
		run_session(3, shell);
		_exit(0);
	}
	*ret_pid = pid;
}

/* The port has no connections: a host that is not there is POLLHUP, waited out with patience. */
static void serve_port(const char *path, const char *shell)
{
	for (;;) {
		_cleanup_(closep) int line = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		int status;
		pid_t pid;

		if (line < 0)
			return;
		start_session(line, shell, &pid);
		line = fd_close(line);
		if (pid > 0)
			co_wait_child(pid, USEC_NEVER, &status);
		co_sleep(RESPAWN_DELAY);
	}
}

static void serve_vsock(int listener, const char *shell)
{
	while (co_wait_io(listener, EPOLLIN, USEC_NEVER) > 0) {
		_cleanup_(closep) int line = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pid_t pid;

		/* The loop reaps it. */
		if (line >= 0 && channel_from_host(line))
			start_session(line, shell, &pid);
	}
}

static void serve_console(void *arg)
{
	struct agent *agent = arg;
	const char *shell = find_shell();
	uint64_t deadline = clock_after(PORT_TIME);
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int listener = -1;
	int r;

	if (!shell) {
		log_warn("agent.debug_console: this guest image has no shell");
		return;
	}
	while ((r = channel_find_port(CHANNEL_CONSOLE_PORT, &path)) < 0 &&
	       !agent->config.debug_console_vport && uevents_wait(agent, deadline) == 0) {
	}
	if (r == 0)
		serve_port(path, shell);
	if (r == 0 || !agent->config.debug_console_vport)
		return;
	listener = channel_vsock_listen(VMADDR_CID_ALL, agent->config.debug_console_vport);
	if (listener < 0)
		log_warn("debug console on vsock port %u: %s", agent->config.debug_console_vport,
			 strerror(-listener));
	else
		serve_vsock(listener, shell);
}

void console_start(struct agent *agent)
{
	int fd = open_log_port();

	/* What is said about the boot goes there, if it is there. */
	if (fd >= 0)
		log_open("kata-agent", fd, LOG_FORMAT_JSON, agent->config.log_level);
	else if (agent->is_init)
		co_start(agent->loop, serve_log, agent);
	if (agent->config.debug_console)
		co_start(agent->loop, serve_console, agent);
}
