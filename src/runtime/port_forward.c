/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/port_forward.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "kernel/loopback.h"
#include "kernel/ns.h"
#include "loop/co.h"
#include "runtime/blocking.h"

/*
 * How it works: a child enters the namespace and sends back a socket that gets every connection to
 * its loopback (kernel/loopback.h). It is in that namespace, and keeps it: it is closed when the
 * sandbox ends.
 *
 * A connection is two coroutines, one for each direction, on two descriptors of its socket, since
 * each of them waits on its own. Neither reads on before the other side has taken what it has read,
 * so a connection holds one piece for each direction at most. The end of one direction is passed on
 * as such. `inward` owns the connection in the guest, and closes it when the socket has come to its
 * end: in order, when both directions have ended, or by a reset, with which everything that goes
 * wrong on either side ends the socket.
 *
 * Who dials has been accepted by the kernel before the guest is asked: a port where nobody listens
 * is a connection that is reset.
 */

#define PIECE_IN      (64U << 10)
#define PIECE_OUT     (128U << 10)
#define ACCEPT_PAUSE  (100 * USEC_PER_MSEC)
#define CLOSE_TIMEOUT (10 * USEC_PER_SEC)
#define KEEP_IDLE     60 /* seconds, then we ask whether the other side is still there */

struct port_forward {
	struct loop *loop;
	struct agent_client *agent; /* NULL: not started, or at the end */
	int listen_fd, link_fd;
	struct loop_io listener;
	struct loop_timer again;
	struct list connections;
	size_t n_connections;
	uint32_t next_id;
	bool freed;
};

struct connection {
	struct port_forward *pf;
	struct list link;
	uint32_t id;
	int in, out;
	bool broken;   /* the guest takes no more */
	bool out_done; /* the guest has said all */
	unsigned int n_refs;
};

static void connection_unref(struct connection *c)
{
	struct port_forward *pf = c->pf;

	if (--c->n_refs)
		return;
	fd_close(c->in);
	fd_close(c->out);
	list_remove(&c->link);
	free(c);
	if (--pf->n_connections)
		return;
	if (pf->freed)
		free(pf);
	/* The rest of the time nothing of it is needed. */
	(void)malloc_trim(0);
}

/* --- to the guest --- */

/* Where it was dialled: its own address. */
static int dial_guest(struct connection *c, struct err *err)
{
	Grpc__DialLoopbackRequest request = GRPC__DIAL_LOOPBACK_REQUEST__INIT;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} own = {.v6 = {0}};
	socklen_t n = sizeof(own);

	if (getsockname(c->in, &own.any, &n) < 0)
		return err_set(err, -errno, "getsockname");
	request.id = c->id;
	if (own.any.sa_family == AF_INET) {
		request.address.data = (uint8_t *)&own.v4.sin_addr;
		request.address.len = sizeof(own.v4.sin_addr);
		request.port = ntohs(own.v4.sin_port);
	} else {
		bool mapped = IN6_IS_ADDR_V4MAPPED(&own.v6.sin6_addr);

		request.address.data = own.v6.sin6_addr.s6_addr + (mapped ? 12 : 0);
		request.address.len = mapped ? 4 : 16;
		request.port = ntohs(own.v6.sin6_port);
	}
	if (!c->pf->agent)
		return err_setx(err, -ESHUTDOWN, "the sandbox ends");
	return agent_dial_loopback(c->pf->agent, &request, USEC_NEVER, err);
}

/* n == 0: the end. */
static int write_guest(struct connection *c, char *data, size_t n)
{
	Grpc__WriteLoopbackRequest request = GRPC__WRITE_LOOPBACK_REQUEST__INIT;
	Grpc__WriteStreamResponse *answer = NULL;
	uint32_t written;
	int r;

	if (!c->pf->agent)
		return -ESHUTDOWN;
	request.id = c->id;
	request.data.data = (uint8_t *)data;
	request.data.len = n;
	r = agent_write_loopback(c->pf->agent, &request, USEC_NEVER, &answer, NULL);
	if (r < 0)
		return r;
	written = answer->len;
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return written == n ? 0 : -EPROTO;
}

static int carry_inward(struct connection *c)
{
	for (;;) {
		_cleanup_(freep) char *piece = NULL;
		ssize_t n;
		int r;

		r = co_wait_io(c->in, EPOLLIN, USEC_NEVER);
		if (r < 0)
			return r;
		piece = xmalloc(PIECE_IN);
		n = read(c->in, piece, PIECE_IN);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		r = write_guest(c, piece, (size_t)n);
		if (r < 0 || n == 0)
			return r;
	}
}

static void hang_up(struct connection *c)
{
	Grpc__CloseLoopbackRequest request = GRPC__CLOSE_LOOPBACK_REQUEST__INIT;

	request.id = c->id;
	if (c->pf->agent)
		agent_close_loopback(c->pf->agent, &request, clock_after(CLOSE_TIMEOUT), NULL);
}

/* --- from the guest --- */

static int send_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
		int r;

		if (done >= 0) {
			p += done;
			n -= (size_t)done;
		} else if (errno == EAGAIN) {
			r = co_wait_io(fd, EPOLLOUT, USEC_NEVER);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* One piece; returns 1, 0 at the end, or -errno. */
static int carry_piece(struct connection *c)
{
	Grpc__ReadLoopbackRequest request = GRPC__READ_LOOPBACK_REQUEST__INIT;
	Grpc__ReadStreamResponse *answer = NULL;
	int r;

	if (!c->pf->agent)
		return -ESHUTDOWN;
	request.id = c->id;
	request.len = PIECE_OUT;
	r = agent_read_loopback(c->pf->agent, &request, USEC_NEVER, &answer, NULL);
	if (r < 0)
		return r;
	if (answer->data.len > PIECE_OUT)
		r = -EPROTO;
	else if (answer->data.len > 0)
		r = send_all(c->out, answer->data.data, answer->data.len);
	if (r >= 0)
		r = answer->data.len > 0;
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return r;
}

static void outward(void *arg)
{
	struct connection *c = arg;
	int r;

	do
		r = carry_piece(c);
	while (r > 0);
	c->out_done = true;
	if (r < 0 || c->broken)
		fd_reset(c->out);
	else
		(void)shutdown(c->out, SHUT_WR);
	connection_unref(c);
}

static void inward(void *arg)
{
	struct connection *c = arg;
	_cleanup_err_ struct err err = {0};

	if (dial_guest(c, &err) < 0) {
		log_debug("a forwarded connection: %s", err_text(&err));
		fd_reset(c->in);
		connection_unref(c);
		return;
	}
	c->n_refs++;
	co_start(c->pf->loop, outward, c);
	/* What the guest had said before it took no more is still to be told. */
	c->broken = carry_inward(c) < 0;
	if (c->broken && c->out_done)
		fd_reset(c->in);
	/* For no event, which leaves EPOLLHUP and EPOLLERR. */
	(void)co_wait_io(c->in, 0, USEC_NEVER);
	hang_up(c);
	connection_unref(c);
}

/* --- accept --- */

static void start_connection(struct port_forward *pf, int fd)
{
	const int yes = 1, idle = KEEP_IDLE;
	struct connection *c;
	int out = fd_dup(fd);

	if (out < 0 || pf->n_connections >= PORT_FORWARD_MAX) {
		log_warn("a forwarded connection is reset: %s",
			 out < 0 ? strerror(-out) : "there are too many");
		fd_reset(fd);
		fd_close(fd);
		fd_close(out);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	/* Who has closed it and gone would be waited for as long as the guest says nothing. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	c = xnew(struct connection);
	c->pf = pf;
	c->id = pf->next_id++;
	c->in = fd;
	c->out = out;
	c->n_refs = 1;
	list_add_tail(&pf->connections, &c->link);
	pf->n_connections++;
	co_start(pf->loop, inward, c);
}

static void on_again(struct loop_timer *timer)
{
	struct port_forward *pf = container_of(timer, struct port_forward, again);

	loop_io_set(&pf->listener, EPOLLIN);
}

static void on_connection(struct loop_io *io, _unused_ uint32_t events)
{
	struct port_forward *pf = container_of(io, struct port_forward, listener);
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		start_connection(pf, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* Out of descriptors or memory: it waits in the kernel. */
		loop_io_set(io, 0);
		loop_timer_set(pf->loop, &pf->again, clock_after(ACCEPT_PAUSE), on_again);
	}
}

/* --- */

static int listen_in_child(void *arg, int *fds, _unused_ void *reply)
{
	int r = ns_enter(arg, CLONE_NEWNET);

	if (r >= 0)
		r = fds[0] = loopback_listen(&fds[1]);
	return r;
}

int port_forward_open(const char *netns, uint64_t deadline, struct port_forward **ret,
		      struct err *err)
{
	int fds[2], r;

	r = blocking_open(listen_in_child, (void *)netns, fds, ARRAY_SIZE(fds), NULL, 0, deadline);
	if (r < 0)
		return err_set(err, r,
			       "network namespace %s: take its loopback (needs Linux 5.9 and BPF)",
			       netns);
	*ret = port_forward_new(fds[0], fds[1]);
	return 0;
}

struct port_forward *port_forward_new(int listen_fd, int link_fd)
{
	struct port_forward *pf = xnew(struct port_forward);

	pf->listen_fd = listen_fd;
	pf->link_fd = link_fd;
	list_init(&pf->connections);
	return pf;
}

int port_forward_start(struct port_forward *pf, struct loop *loop, struct agent_client *agent,
		       struct err *err)
{
	int r = loop_io_add(loop, &pf->listener, pf->listen_fd, EPOLLIN, on_connection);

	if (r < 0)
		return err_set(err, r, "wait for connections");
	pf->loop = loop;
	pf->agent = agent;
	return 0;
}

void port_forward_free(struct port_forward *pf)
{
	struct connection *c;

	if (!pf)
		return;
	pf->agent = NULL;
	pf->freed = true;
	loop_timer_cancel(&pf->again);
	loop_io_remove(&pf->listener);
	fd_close(pf->listen_fd);
	fd_close(pf->link_fd);
	list_for_each (c, &pf->connections, link)
		fd_reset(c->in);
	if (!pf->n_connections)
		free(pf);
}
