/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/dial.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "loop/co.h"
#include "wire/serial.h"

/*
 * How it works: attempts, each with a short deadline of its own, until one succeeds; between them
 * and at each deadline the VM is asked for a sign of life. On a connection-oriented transport an
 * attempt that fails is repeated on a new connection; a serial port has only one, where the
 * handshake is repeated.
 */

#define ATTEMPT_TIMEOUT (250 * USEC_PER_MSEC)
/*
 * From SERIAL_FLUSH_AFTER on serial_open() fills the port, in case the guest waits for the rest of
 * a frame of an earlier session. A guest that is only booting has none, and would have to read all
 * of that (2 s, emulated).
 */
#define SERIAL_TIMEOUT       (SERIAL_FLUSH_AFTER - 100 * USEC_PER_MSEC)
#define SERIAL_FLUSH_TIMEOUT (SERIAL_FLUSH_AFTER + 10 * USEC_PER_SEC)
#define ATTEMPT_PAUSE        (5 * USEC_PER_MSEC)
#define ATTEMPT_PAUSE_MAX    (100 * USEC_PER_MSEC)
/* A guest that is busy for ever without its agent answering is not waited for for ever. */
#define PATIENCE_FACTOR  20
#define HYBRID_REPLY_MAX 64
/* From the end of a VM's port to that of its process, on a busy host. */
#define DEATH_GRACE (5 * USEC_PER_SEC)

static int wait_connected(int fd, uint64_t deadline)
{
	socklen_t n = sizeof(int);
	int r, error;

	r = co_wait_io(fd, EPOLLOUT, deadline);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		return -errno;
	return -error;
}

static int try_vsock(const struct agent_address *address, uint64_t deadline, int *ret)
{
	struct sockaddr_vm peer = {
		.svm_family = AF_VSOCK, .svm_cid = address->cid, .svm_port = address->port};
	_cleanup_(closep) int fd = -1;
	int r;

	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		r = wait_connected(fd, deadline);
		if (r < 0)
			return r;
	}
	*ret = TAKE_FD(fd);
	return 0;
}

static int try_unix(const struct agent_address *address, int *ret)
{
	_cleanup_(closep) int fd = fd_unix_connect(address->path);
	int r;

	if (fd < 0)
		return fd;
	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return r;
	*ret = TAKE_FD(fd);
	return 0;
}

/* Byte by byte, since what follows the line is the agent's already. */
static int read_hybrid_reply(int fd, uint64_t deadline)
{
	char line[HYBRID_REPLY_MAX] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1) {
		ssize_t got = recv(fd, line + n, 1, 0);

		if (got == 0)
			return -ECONNRESET;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (got < 0) {
			int r = co_wait_io(fd, EPOLLIN, deadline);

			if (r < 0)
				return r;
			continue;
		}
		if (line[n] == '\n')
			return str_has_prefix(line, "OK ") ? 0 : -ECONNREFUSED;
		n++;
	}
	return -EPROTO;
}

static int try_hybrid(const struct agent_address *address, uint64_t deadline, int *ret)
{
	_cleanup_(closep) int fd = -1;
	char hello[32];
	int r, n;

	r = try_unix(address, &fd);
	if (r < 0)
		return r;
	n = snprintf(hello, sizeof(hello), "CONNECT %u\n", address->port);
	if (send(fd, hello, (size_t)n, MSG_NOSIGNAL) != n)
		return -EPIPE;
	r = read_hybrid_reply(fd, deadline);
	if (r < 0)
		return r;
	*ret = TAKE_FD(fd);
	return 0;
}

/* One attempt. A serial port stays `serial_fd`'s owner's until the handshake has succeeded. */
static int try(const struct agent_address *address, int *serial_fd, int *ret)
{
	uint64_t deadline = clock_after(ATTEMPT_TIMEOUT);
	int r;

	switch (address->transport) {
	case AGENT_STREAM:
		*ret = TAKE_FD(*serial_fd);
		return 0;
	case AGENT_SERIAL:
		r = serial_open(*serial_fd, clock_after(address->reused ? SERIAL_FLUSH_TIMEOUT
									: SERIAL_TIMEOUT));
		if (r >= 0)
			*ret = TAKE_FD(*serial_fd);
		return r;
	case AGENT_UNIX:
		return try_unix(address, ret);
	case AGENT_HYBRID:
		return try_hybrid(address, deadline, ret);
	case AGENT_VSOCK:
		return try_vsock(address, deadline, ret);
	}
	return -EINVAL;
}

static bool port_closed(const struct agent_address *address, int r)
{
	return address->transport == AGENT_SERIAL && (r == -EPIPE || r == -ECONNRESET);
}

/* Errors after which another attempt cannot do better. */
static bool hopeless(const struct agent_address *address, int r)
{
	switch (r) {
	case -EAFNOSUPPORT:
	case -EPERM:
	case -EACCES:
	case -EMFILE:
	case -ENFILE:
	case -EINVAL:
		return true;
	default:
		return port_closed(address, r);
	}
}

/* Whether the VM lives. Its port closes first when it ends: then the news is waited for. */
static bool is_alive(const struct agent_address *address, const struct agent_life *life, int r)
{
	uint64_t deadline = clock_after(port_closed(address, r) ? DEATH_GRACE : 0);

	if (!life->alive)
		return true;
	while (life->alive(life->arg)) {
		if (clock_now() >= deadline)
			return true;
		co_sleep(ATTEMPT_PAUSE);
	}
	return false;
}

int agent_dial(const struct agent_address *address, const struct agent_life *life, int *ret,
	       struct err *err)
{
	bool given = address->transport == AGENT_STREAM || address->transport == AGENT_SERIAL;
	_cleanup_(closep) int fd = given ? address->fd : -1;
	uint64_t began = clock_now(), seen = began, pause = ATTEMPT_PAUSE;
	uint64_t progress = life->progress ? life->progress(life->arg) : 0;

	for (;;) {
		int r = try(address, &fd, ret);
		uint64_t now = clock_now(), latest;

		if (r >= 0)
			return 0;
		if (!is_alive(address, life, r))
			return err_setx(err, -ECONNABORTED,
					"the virtual machine ended before its agent answered");
		if (hopeless(address, r))
			return err_set(err, r, "connect to the agent");
		latest = life->progress ? life->progress(life->arg) : 0;
		if (latest != progress)
			seen = now;
		progress = latest;
		if (now - seen > life->patience || now - began > PATIENCE_FACTOR * life->patience)
			return err_setx(err, -ETIMEDOUT,
					"the agent does not answer: %s after %llu s, no sign of "
					"life from the virtual machine for %llu s",
					strerror(-r),
					(unsigned long long)((now - began) / USEC_PER_SEC),
					(unsigned long long)((now - seen) / USEC_PER_SEC));
		co_sleep(pause);
		pause = MIN(pause * 2, ATTEMPT_PAUSE_MAX);
	}
}
