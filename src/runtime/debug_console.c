/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: one client at a time, since there is one shell; a second one is told so and sent
 * away. Two buffers of a fixed size: a side is read only while the buffer towards the other is
 * empty, so nothing grows. Without a client the port is not read: the guest's shell waits. What it
 * said before is thrown away when a client comes, who gets a new prompt.
 */
#include "runtime/debug_console.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"

#define PIECE 4096

static const char busy[] = "The debug console is in use by somebody else.\r\n";

struct piece {
	char data[PIECE];
	size_t at, n;
};

struct debug_console {
	struct loop *loop;
	char *path;
	int listen_fd, port_fd, client_fd;
	struct loop_io listener, port, client;
	struct piece to_client, to_port;
};

static void on_port(struct loop_io *io, uint32_t events);
static void on_client(struct loop_io *io, uint32_t events);

static void drop_client(struct debug_console *c)
{
	loop_io_remove(&c->client);
	loop_io_remove(&c->port);
	c->client_fd = fd_close(c->client_fd);
	c->to_client.n = c->to_client.at = 0;
}

/* Read into an empty piece. Returns false at the end. */
static bool fill(int fd, struct piece *piece)
{
	ssize_t n;

	if (piece->n)
		return true;
	n = read(fd, piece->data, sizeof(piece->data));
	if (n > 0) {
		piece->at = 0;
		piece->n = (size_t)n;
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Write what is there. Returns false when the other side is gone. */
static bool drain(int fd, struct piece *piece)
{
	ssize_t n;

	if (!piece->n)
		return true;
	n = send(fd, piece->data + piece->at, piece->n, MSG_NOSIGNAL);
	if (n > 0) {
		piece->at += (size_t)n;
		piece->n -= (size_t)n;
	}
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void update(struct debug_console *c)
{
	loop_io_set(&c->port, (c->to_client.n ? 0 : EPOLLIN) | (c->to_port.n ? EPOLLOUT : 0));
	loop_io_set(&c->client, (c->to_port.n ? 0 : EPOLLIN) | (c->to_client.n ? EPOLLOUT : 0));
}

static void on_port(struct loop_io *io, uint32_t events)
{
	struct debug_console *c = container_of(io, struct debug_console, port);
	bool ok = !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || fill(c->port_fd, &c->to_client);

	if (ok)
		ok = drain(c->client_fd, &c->to_client) && drain(c->port_fd, &c->to_port);
	if (ok)
		update(c);
	else
		drop_client(c);
}

static void on_client(struct loop_io *io, uint32_t events)
{
	struct debug_console *c = container_of(io, struct debug_console, client);
	bool ok = !(events & EPOLLERR);

	if (ok && events & (EPOLLIN | EPOLLHUP))
		ok = fill(c->client_fd, &c->to_port);
	if (ok)
		ok = drain(c->port_fd, &c->to_port) && drain(c->client_fd, &c->to_client);
	if (ok)
		update(c);
	else
		drop_client(c);
}

/* A new prompt for a new client. */
static void refresh(struct debug_console *c)
{
	char old[PIECE];

	for (int i = 0; i < 256 && recv(c->port_fd, old, sizeof(old), MSG_DONTWAIT) > 0; i++)
		;
	c->to_client.n = 0;
	c->to_port = (struct piece){.data = "\n", .n = 1};
}

static void on_connection(struct loop_io *io, _unused_ uint32_t events)
{
	struct debug_console *c = container_of(io, struct debug_console, listener);
	_cleanup_(closep) int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (c->client_fd >= 0) {
		(void)!send(fd, busy, strlen(busy), MSG_NOSIGNAL);
		return;
	}
	c->client_fd = TAKE_FD(fd);
	refresh(c);
	if (loop_io_add(c->loop, &c->port, c->port_fd, EPOLLIN, on_port) < 0 ||
	    loop_io_add(c->loop, &c->client, c->client_fd, EPOLLIN, on_client) < 0)
		drop_client(c);
	else
		update(c);
}

void debug_console_free(struct debug_console *c)
{
	if (!c)
		return;
	drop_client(c);
	loop_io_remove(&c->listener);
	if (c->listen_fd >= 0)
		unlink(c->path);
	fd_close(c->listen_fd);
	fd_close(c->port_fd);
	free(c->path);
	free(c);
}

int debug_console_new(struct loop *loop, int port_fd, const char *path, struct debug_console **ret,
		      struct err *err)
{
	struct debug_console *c = xnew(struct debug_console);
	int r;

	c->loop = loop;
	c->path = xstrdup(path);
	c->port_fd = port_fd;
	c->client_fd = -1;
	c->listen_fd = fd_unix_listen(path, 0600);
	r = c->listen_fd < 0
		    ? c->listen_fd
		    : loop_io_add(loop, &c->listener, c->listen_fd, EPOLLIN, on_connection);
	if (r < 0) {
		debug_console_free(c);
		return err_set(err, r, "listen on %s", path);
	}
	*ret = c;
	return 0;
}
