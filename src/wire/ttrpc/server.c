/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"
#include "wire/ttrpc/call.h"

/*
 * How it works: the server owns its listeners and peers (connections), a peer its calls (call.c).
 * A request frame becomes a call, its method a coroutine that the loop enters in the same round.
 * What one peer can hold is bounded: calls, arena bytes of calls, unsent bytes (frame.c stops
 * reading from it). A call beyond a bound is refused; the connection goes on.
 *
 * Streaming calls are not served: a request that announces more data is UNIMPLEMENTED, and data
 * frames that follow it are dropped, so that the unary calls of the same connection are not hurt.
 */

#define PEERS_MAX    1024U
#define HELD_MAX     ((size_t)4 * TTRPC_ARENA_MAX) /* arena bytes of all calls of a connection */
#define ACCEPT_PAUSE (100 * USEC_PER_MSEC)         /* when there are no descriptors left */

struct listener {
	struct ttrpc_server *server;
	struct loop_io io;
	struct loop_timer again;
	struct list link;
};

struct ttrpc_server {
	struct loop *loop;
	void *user;
	ttrpc_observe_fn observe;
	ttrpc_admit_fn admit;
	const struct ttrpc_service **services;
	size_t n_services;
	struct list listeners, peers;
	size_t n_peers;
};

int ttrpc_server_new(struct loop *loop, void *user, struct ttrpc_server **ret)
{
	struct ttrpc_server *server = xnew(struct ttrpc_server);

	server->loop = loop;
	server->user = user;
	list_init(&server->listeners);
	list_init(&server->peers);
	*ret = server;
	return 0;
}

void ttrpc_server_add(struct ttrpc_server *server, const struct ttrpc_service *service)
{
	server->services = xreallocarray(server->services, server->n_services + 1, sizeof(void *));
	server->services[server->n_services++] = service;
}

void ttrpc_server_observe(struct ttrpc_server *server, ttrpc_observe_fn fn)
{
	server->observe = fn;
}

/* --- peers --- */

static void peer_free(struct ttrpc_peer *peer)
{
	list_remove(&peer->link);
	peer->server->n_peers--;
	ttrpc_conn_free(peer->conn);
	while (!list_empty(&peer->calls))
		call_orphan(list_first(&peer->calls, struct ttrpc_call, link));
	co_cond_wake_all(&peer->drained);
	if (peer->waiter) {
		*peer->ended = true;
		co_wake(peer->waiter);
	}
	free(peer);
}

/* Finds service and method; on failure says what is missing. */
static int find_method(struct ttrpc_server *server, struct ttrpc_call *call, char *text, size_t n)
{
	const Ttrpc__Request *request = call->request;

	for (size_t i = 0; i < server->n_services; i++) {
		const struct ttrpc_service *service = server->services[i];

		if (!streq(service->name, request->service))
			continue;
		for (size_t m = 0; m < service->n_methods; m++) {
			if (!streq(service->methods[m].name, request->method))
				continue;
			call->service = service;
			call->method = &service->methods[m];
			return 0;
		}
		snprintf(text, n, "method /%.200s/%.100s is not implemented", request->service,
			 request->method);
		return -ENOSYS;
	}
	snprintf(text, n, "service %.200s is not implemented (method %.100s)", request->service,
		 request->method);
	return -ENOSYS;
}

/* Returns 0 when the call runs; otherwise the code, with the reason in text. */
static enum ttrpc_code start_call(struct ttrpc_peer *peer, const struct ttrpc_header *header,
				  const uint8_t *data, char *text, size_t n)
{
	struct ttrpc_server *server = peer->server;
	struct ttrpc_call *call;
	int r;

	if (peer->n_calls >= TTRPC_CALLS_MAX || peer->held >= HELD_MAX) {
		snprintf(text, n, "too many calls under way: %zu with %zu bytes", peer->n_calls,
			 peer->held);
		return TTRPC_RESOURCE_EXHAUSTED;
	}
	call = call_new(peer, header, data);
	if (!call) {
		snprintf(text, n, "the frame holds no request");
		return TTRPC_INVALID_ARGUMENT;
	}
	call->loop = server->loop;
	call->user = server->user;
	call->observe = server->observe;
	r = find_method(server, call, text, n);
	if (r == 0 && header->flags & TTRPC_REMOTE_OPEN) {
		snprintf(text, n, "method /%s/%s is not a streaming one", call->service->name,
			 call->method->name);
		r = -ENOSYS;
	}
	if (r == 0) {
		r = call_start(call);
		if (r < 0)
			snprintf(text, n, "/%s/%s: %s", call->service->name, call->method->name,
				 r == -ENOMEM ? "the request is too large when unpacked"
					      : "the request cannot be unpacked");
	}
	if (r == 0)
		return TTRPC_OK;
	call_free(call);
	return r == -EBADMSG ? TTRPC_INVALID_ARGUMENT : ttrpc_code_of(r);
}

static void on_frame(void *arg, const struct ttrpc_header *header, const uint8_t *data)
{
	struct ttrpc_peer *peer = arg;
	enum ttrpc_code code = TTRPC_INVALID_ARGUMENT;
	char text[512];

	if (header->type != TTRPC_FRAME_REQUEST)
		return;
	if (header->stream % 2 == 0) {
		snprintf(text, sizeof(text), "stream %u: a client's streams are odd",
			 header->stream);
	} else if (peer->last_stream && (int32_t)(header->stream - peer->last_stream) <= 0) {
		/* Compared as serial numbers: a client of ours starts again behind 2^32 - 1. */
		snprintf(text, sizeof(text), "stream %u was used before: streams must increase",
			 header->stream);
	} else {
		peer->last_stream = header->stream;
		code = start_call(peer, header, data, text, sizeof(text));
	}
	if (code != TTRPC_OK)
		send_status(peer->conn, header->stream, code, text);
}

static void on_oversize(void *arg, const struct ttrpc_header *header)
{
	struct ttrpc_peer *peer = arg;
	char text[96];

	if (header->type == TTRPC_FRAME_REQUEST &&
	    (!peer->last_stream || (int32_t)(header->stream - peer->last_stream) > 0))
		peer->last_stream = header->stream;
	snprintf(text, sizeof(text), "a message of %u bytes exceeds the maximum of %u",
		 header->length, TTRPC_FRAME_MAX);
	send_status(peer->conn, header->stream, TTRPC_RESOURCE_EXHAUSTED, text);
}

static void on_closed(void *arg, _unused_ const char *reason)
{
	peer_free(arg);
}

static void on_drained(void *arg)
{
	struct ttrpc_peer *peer = arg;

	co_cond_wake_all(&peer->drained);
}

static const struct ttrpc_conn_ops peer_ops = {
	.frame = on_frame,
	.oversize = on_oversize,
	.closed = on_closed,
	.drained = on_drained,
	.read_waits = true,
};

static int peer_new(struct ttrpc_server *server, int fd, struct ttrpc_peer **ret)
{
	struct ttrpc_peer *peer = xnew(struct ttrpc_peer);
	int r;

	r = ttrpc_conn_new(server->loop, fd, &peer_ops, peer, &peer->conn);
	if (r < 0) {
		free(peer);
		return r;
	}
	peer->server = server;
	list_init(&peer->calls);
	co_cond_init(&peer->drained);
	list_add_tail(&server->peers, &peer->link);
	server->n_peers++;
	*ret = peer;
	return 0;
}

int ttrpc_server_attach(struct ttrpc_server *server, int fd)
{
	struct ttrpc_peer *peer;

	return peer_new(server, fd, &peer);
}

int ttrpc_server_serve(struct ttrpc_server *server, int fd)
{
	struct ttrpc_peer *peer;
	bool ended = false;
	int r;

	r = peer_new(server, fd, &peer);
	if (r < 0)
		return r;
	peer->waiter = co_self();
	peer->ended = &ended;
	while (!ended)
		co_suspend();
	return 0;
}

/* --- listeners --- */

static void on_again(struct loop_timer *timer)
{
	struct listener *listener = container_of(timer, struct listener, again);

	loop_io_set(&listener->io, EPOLLIN);
}

static void on_connection(struct loop_io *io, _unused_ uint32_t events)
{
	struct listener *listener = container_of(io, struct listener, io);
	struct ttrpc_server *server = listener->server;

	for (;;) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno != EAGAIN) {
			/* Out of descriptors or memory: the connection waits in the kernel. */
			loop_io_set(io, 0);
			loop_timer_set(server->loop, &listener->again, clock_after(ACCEPT_PAUSE),
				       on_again);
		}
		if (fd < 0)
			return;
		if (server->n_peers >= PEERS_MAX || (server->admit && !server->admit(fd)))
			close(fd);
		else
			ttrpc_server_attach(server, fd);
	}
}

void ttrpc_server_admit(struct ttrpc_server *server, ttrpc_admit_fn fn)
{
	server->admit = fn;
}

int ttrpc_server_listen(struct ttrpc_server *server, int fd)
{
	struct listener *listener = xnew(struct listener);
	int r;

	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(server->loop, &listener->io, fd, EPOLLIN, on_connection);
	if (r < 0) {
		close(fd);
		free(listener);
		return r;
	}
	listener->server = server;
	list_add_tail(&server->listeners, &listener->link);
	return 0;
}

void ttrpc_server_free(struct ttrpc_server *server)
{
	struct listener *listener, *tmp;

	if (!server)
		return;
	list_for_each_safe (listener, tmp, &server->listeners, link) {
		loop_timer_cancel(&listener->again);
		loop_io_remove(&listener->io);
		close(listener->io.fd);
		free(listener);
	}
	while (!list_empty(&server->peers))
		peer_free(list_first(&server->peers, struct ttrpc_peer, link));
	free(server->services);
	free(server);
}
