/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "wire/dbus/dbus.h"

#define LINE_BYTES 256U /* of the handshake */
#define CHUNK      4096U

/* What is left until the deadline is the limit of the next read or write. */
static int arm(int fd, uint64_t deadline)
{
	uint64_t now = clock_now(), left = deadline > now ? deadline - now : 0;
	struct timeval limit = {.tv_sec = (time_t)(left / USEC_PER_SEC),
				.tv_usec = (suseconds_t)(left % USEC_PER_SEC)};

	if (!left)
		return -ETIMEDOUT;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

static int put(int fd, const void *p, size_t n, uint64_t deadline)
{
	size_t done = 0;

	while (done < n) {
		int r = arm(fd, deadline);
		ssize_t k;

		if (r < 0)
			return r;
		k = send(fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
		if (k < 0 && errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		done += k > 0 ? (size_t)k : 0;
	}
	return 0;
}

/* More bytes at the end of b. */
static int get(int fd, struct buf *b, uint64_t deadline)
{
	ssize_t k;
	int r;

	do {
		r = arm(fd, deadline);
		if (r < 0)
			return r;
		buf_reserve(b, CHUNK);
		k = recv(fd, b->data + b->len, CHUNK, 0);
	} while (k < 0 && errno == EINTR);
	if (k <= 0)
		return !k ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
	b->len += (size_t)k;
	return 0;
}

/* Who we are is what the kernel says; its digits are sent in hexadecimal. */
static int authenticate(int fd, uint64_t deadline)
{
	_cleanup_(buf_fini) struct buf line = {0};
	char uid[16];
	int r;

	buf_addc(&line, '\0');
	buf_adds(&line, "AUTH EXTERNAL ");
	snprintf(uid, sizeof(uid), "%u", (unsigned int)geteuid());
	for (const char *p = uid; *p; p++)
		buf_addf(&line, "%02x", (unsigned int)*p);
	buf_adds(&line, "\r\n");
	r = put(fd, line.data, line.len, deadline);
	line.len = 0;
	while (r == 0 && !(line.len && line.data[line.len - 1] == '\n'))
		r = line.len > LINE_BYTES ? -EBADMSG : get(fd, &line, deadline);
	if (r < 0)
		return r;
	if (line.len < 3 || memcmp(line.data, "OK ", 3) != 0)
		return -EACCES;
	return put(fd, "BEGIN\r\n", strlen("BEGIN\r\n"), deadline);
}

int dbus_open(struct dbus *bus, const char *path, bool is_bus, uint64_t deadline)
{
	static const struct dbus_call hello = {
		.destination = "org.freedesktop.DBus",
		.path = "/org/freedesktop/DBus",
		.interface = "org.freedesktop.DBus",
		.member = "Hello",
	};
	_cleanup_(freep) char *error = NULL;
	int r;

	*bus = (struct dbus){.fd = fd_unix_connect(path)};
	if (bus->fd < 0)
		return bus->fd;
	r = fd_set_nonblock(bus->fd, false);
	if (r == 0)
		r = authenticate(bus->fd, deadline);
	if (r == 0 && is_bus)
		r = dbus_ask(bus, &hello, deadline, &error);
	if (r < 0)
		dbus_close(bus);
	return r;
}

int dbus_ask(struct dbus *bus, const struct dbus_call *call, uint64_t deadline, char **ret_error)
{
	_cleanup_(buf_fini) struct buf in = {0}, out = {0};
	int r;

	dbus_format_call(&out, call, ++bus->serial);
	r = put(bus->fd, out.data, out.len, deadline);
	while (r >= 0) {
		struct dbus_message m;

		r = dbus_parse(in.data, in.len, &m);
		if (r == 0)
			r = get(bus->fd, &in, deadline);
		else if (r > 0 && m.reply_to == bus->serial && m.type == DBUS_RETURN)
			return 0;
		else if (r > 0 && m.reply_to == bus->serial && m.type == DBUS_ERROR) {
			*ret_error = xasprintf("%s: %s", m.error ? m.error : "error",
					       m.text ? m.text : "no more is said");
			return -EREMOTEIO;
		} else if (r > 0)
			/* A signal, which everybody gets. */
			buf_consume(&in, (size_t)r);
	}
	return r;
}

void dbus_close(struct dbus *bus)
{
	bus->fd = fd_close(bus->fd);
}
