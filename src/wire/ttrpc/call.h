/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What server.c (connections) and call.c (calls) share. */

#include "base/list.h"
#include "loop/co.h"
#include "ttrpc.pb-c.h"
#include "wire/ttrpc/arena.h"
#include "wire/ttrpc/frame.h"
#include "wire/ttrpc/ttrpc.h"

#define CALL_SIZE ((size_t)4096) /* a call and the first bytes of its arena */

struct ttrpc_peer {
	struct ttrpc_server *server;
	struct ttrpc_conn *conn;
	struct list link; /* in server->peers */
	struct list calls;
	size_t n_calls;
	size_t held; /* arena bytes of calls */
	uint32_t last_stream;
	struct co_cond drained;
	struct co *waiter; /* of ttrpc_server_serve: woken at the end, NULL: none */
	bool *ended;
};

struct ttrpc_call {
	struct ttrpc_peer *peer; /* NULL: the connection has ended */
	struct list link;        /* in peer->calls */
	struct loop *loop;
	void *user;
	ttrpc_observe_fn observe;
	const struct ttrpc_service *service;
	const struct ttrpc_method *method;
	Ttrpc__Request *request;
	ProtobufCMessage *input;
	uint32_t stream;
	uint64_t started, deadline;
	struct loop_timer timer;
	struct loop_defer gone_later;
	ttrpc_gone_fn gone;
	void *gone_arg;
	size_t held; /* what peer->held counts for it */
	bool over;   /* answered, or nobody listens */
	bool ended;  /* ttrpc_call_reply or _fail was called */
	bool in_method;
	struct arena arena;
	_Alignas(max_align_t) char first[];
};

/* call_new: a call of peer with its request unpacked, or NULL: out of arena or not a message. */
struct ttrpc_call *call_new(struct ttrpc_peer *peer, const struct ttrpc_header *header,
			    const uint8_t *data);
/* call_start: unpack the method's input and run it in a coroutine. Returns 0, -ENOMEM or -EBADMSG.
 */
int call_start(struct ttrpc_call *call);
void call_free(struct ttrpc_call *call);
/* call_orphan: the connection has ended (peer is unlinked by the caller). */
void call_orphan(struct ttrpc_call *call);
/* send_status: answer a stream with a status alone. */
void send_status(struct ttrpc_conn *conn, uint32_t stream, enum ttrpc_code code,
		 const char *message);
