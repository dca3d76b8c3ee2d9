/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/rpc.h"
#include "agent/stream.h"
#include "base/alloc.h"
#include "base/fd.h"

/*
 * Connections from the host to the guest's loopback, which is that of all containers: they are in
 * the agent's network namespace. The host chooses their numbers, so that it can close one without
 * having an answer. Each is a reader and a writer (stream.h) on two descriptors of one socket.
 */

#define CONNECTIONS_MAX 256U
#define DIAL_TIME       (10 * USEC_PER_SEC)
#define BACKLOG_MAX     (4U << 20) /* as in rpc_stream.c */

struct connection {
	struct list link;
	uint32_t id;
	struct stream_reader from;
	struct stream_writer to;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static struct connection *find(struct agent *agent, uint32_t id, struct err *err)
{
	struct connection *c;

	list_for_each (c, &agent->loopback, link)
		if (c->id == id)
			return c;
	err_setx(err, -ENOENT, "there is no connection %u", id);
	return NULL;
}

/* --- dial --- */

static int parse_address(const Grpc__DialLoopbackRequest *request, union address *ret,
			 struct err *err)
{
	const ProtobufCBinaryData *from = &request->address;

	*ret = (union address){0};
	if (!request->port || request->port > UINT16_MAX)
		return err_setx(err, -EINVAL, "port %u does not exist", request->port);
	if (from->len == sizeof(ret->v4.sin_addr) && from->data[0] == IN_LOOPBACKNET) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons((uint16_t)request->port);
		memcpy(&ret->v4.sin_addr, from->data, from->len);
		return 0;
	}
	if (from->len == sizeof(in6addr_loopback) &&
	    memcmp(from->data, &in6addr_loopback, from->len) == 0) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons((uint16_t)request->port);
		ret->v6.sin6_addr = in6addr_loopback;
		return 0;
	}
	return err_setx(err, -EINVAL, "not an address of the loopback");
}

/* Returns the connected socket or -errno. Waits. */
static int dial(const union address *to, uint64_t deadline)
{
	_cleanup_(closep) int fd = socket(to->any.sa_family,
					  SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n_error = sizeof(int);
	int r, error = 0, yes = 1;

	if (fd < 0)
		return -errno;
	/* Pieces come one after the other, each as large as it gets. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (connect(fd, &to->any, sizeof(*to)) == 0)
		return TAKE_FD(fd);
	if (errno != EINPROGRESS)
		return -errno;
	r = co_wait_io(fd, EPOLLOUT, deadline);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_error) < 0)
		return -errno;
	return error ? -error : TAKE_FD(fd);
}

/*
 * Who dials "localhost" tries ::1 when 127.0.0.1 refuses. Where the host has taken the connection
 * before it asks here, that has to be done here.
 */
static int dial_localhost(const union address *to, uint64_t deadline)
{
	union address other = {.v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback}};
	int fd = dial(to, deadline), fd6;

	if (fd != -ECONNREFUSED || to->any.sa_family != AF_INET ||
	    to->v4.sin_addr.s_addr != htonl(INADDR_LOOPBACK))
		return fd;
	other.v6.sin6_port = to->v4.sin_port;
	fd6 = dial(&other, deadline);
	return fd6 < 0 ? fd : fd6;
}

static int check_room(struct agent *agent, uint32_t id, struct err *err)
{
	if (find(agent, id, NULL))
		return err_setx(err, -EEXIST, "connection %u exists already", id);
	if (agent->n_loopback >= CONNECTIONS_MAX)
		return err_setx(err, -EBUSY, "there are %u connections already", CONNECTIONS_MAX);
	return 0;
}

RPC(dial_loopback)
{
	const Grpc__DialLoopbackRequest *request = request_;
	struct agent *agent = rpc_agent(call);
	_cleanup_(closep) int fd = -1;
	struct connection *c;
	union address to;
	int r, second;

	(void)response_;
	r = parse_address(request, &to, err);
	if (r < 0)
		return r;
	fd = dial_localhost(&to, MIN(ttrpc_call_deadline(call), clock_after(DIAL_TIME)));
	if (fd < 0)
		return err_set(err, fd, "dial port %u of the loopback", request->port);
	/* After what may have waited. */
	r = check_room(agent, request->id, err);
	if (r < 0)
		return r;
	second = fd_dup(fd);
	if (second < 0)
		return err_set(err, second, "duplicate the connection");
	c = xnew(struct connection);
	c->id = request->id;
	stream_reader_init(&c->from, agent->loop, TAKE_FD(fd));
	stream_writer_init(&c->to, agent->loop, second);
	list_add_tail(&agent->loopback, &c->link);
	agent->n_loopback++;
	return 0;
}

/* --- use --- */

RPC(read_loopback)
{
	const Grpc__ReadLoopbackRequest *request = request_;
	struct connection *c;

	(void)response_;
	/* Waits, so that the connection is looked up after it. */
	if (ttrpc_call_sendable(call, BACKLOG_MAX) < 0)
		return err_setx(err, -ECANCELED, "the caller is gone");
	c = find(rpc_agent(call), request->id, err);
	return c ? stream_read(&c->from, call, request->len, err) : -ENOENT;
}

RPC(write_loopback)
{
	const Grpc__WriteLoopbackRequest *request = request_;
	struct connection *c = find(rpc_agent(call), request->id, err);

	(void)response_;
	if (!c)
		return -ENOENT;
	if (request->data.len)
		return stream_write(&c->to, call, request->data.data, request->data.len, err);
	stream_writer_finish(&c->to);
	return 0;
}

RPC(close_loopback)
{
	const Grpc__CloseLoopbackRequest *request = request_;
	struct agent *agent = rpc_agent(call);
	struct connection *c = find(agent, request->id, err);

	(void)response_;
	if (!c)
		return -ENOENT;
	/* Both are closed when both sides have come to their end. */
	fd_reset(c->from.fd);
	fd_reset(c->to.fd);
	stream_reader_close(&c->from);
	stream_writer_close(&c->to);
	list_remove(&c->link);
	agent->n_loopback--;
	free(c);
	return 0;
}
