/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/ttrpc/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/utf8.h"

/*
 * How it works: a call lives in one allocation with the start of its arena, from its request until
 * it is both answered and left by its method. `over` is about the peer: it has its answer, or
 * cannot get one any more. `ended` is about the method: it has given its answer, wanted or not.
 */

#define MESSAGE_MAX 16384 /* bytes of a status text */

struct ttrpc_call *call_new(struct ttrpc_peer *peer, const struct ttrpc_header *header,
			    const uint8_t *data)
{
	struct ttrpc_call *call = xmalloc(CALL_SIZE);

	memset(call, 0, sizeof(*call));
	call->stream = header->stream;
	call->deadline = USEC_NEVER;
	list_init(&call->link);
	arena_init(&call->arena, call->first, CALL_SIZE - sizeof(*call), TTRPC_ARENA_MAX);
	call->request = ttrpc__request__unpack(&call->arena.allocator, header->length, data);
	if (!call->request) {
		call_free(call);
		return NULL;
	}
	call->peer = peer;
	list_add_tail(&peer->calls, &call->link);
	peer->n_calls++;
	return call;
}

void call_free(struct ttrpc_call *call)
{
	if (call->peer) {
		list_remove(&call->link);
		call->peer->n_calls--;
		call->peer->held -= call->held;
	}
	loop_timer_cancel(&call->timer);
	loop_defer_cancel(&call->gone_later);
	arena_fini(&call->arena);
	free(call);
}

/* --- answers --- */

void send_status(struct ttrpc_conn *conn, uint32_t stream, enum ttrpc_code code,
		 const char *message)
{
	size_t n = strnlen(message, MESSAGE_MAX);
	size_t status = 1 + pb_varint_size(code) + pb_bytes_size(n);
	struct ttrpc_header header = {
		.length = (uint32_t)pb_bytes_size(status),
		.stream = stream,
		.type = TTRPC_FRAME_RESPONSE,
	};
	uint8_t *p = ttrpc_conn_begin(conn, header.length);

	p = pb_bytes(p, 1, status); /* Response.status */
	*p++ = 1 << 3;              /* Status.code */
	p = pb_varint(p, code);
	p = pb_bytes(p, 2, n); /* Status.message */
	memcpy(p, message, n);
	/* Texts hold names that others chose, and the last character may be cut; a peer of proto3
	 * refuses the whole status, code and all, over one wrong byte. */
	utf8_fix((char *)p, n);
	ttrpc_conn_commit(conn, &header);
}

/* Response.payload alone; a status is only sent when it is not OK, as Go does. Returns the code. */
static enum ttrpc_code send_response(struct ttrpc_call *call, const ProtobufCMessage *response)
{
	size_t n = protobuf_c_message_get_packed_size(response);
	struct ttrpc_header header = {.stream = call->stream, .type = TTRPC_FRAME_RESPONSE};
	uint8_t *p;

	if (n > TTRPC_FRAME_MAX || pb_bytes_size(n) > TTRPC_FRAME_MAX) {
		char text[96];

		snprintf(text, sizeof(text), "the response of %zu bytes exceeds %u", n,
			 TTRPC_FRAME_MAX);
		send_status(call->peer->conn, call->stream, TTRPC_RESOURCE_EXHAUSTED, text);
		return TTRPC_RESOURCE_EXHAUSTED;
	}
	header.length = n ? (uint32_t)pb_bytes_size(n) : 0;
	p = ttrpc_conn_begin(call->peer->conn, header.length);
	if (n)
		protobuf_c_message_pack(response, pb_bytes(p, 2, n));
	ttrpc_conn_commit(call->peer->conn, &header);
	return TTRPC_OK;
}

static void observe(struct ttrpc_call *call, enum ttrpc_code code)
{
	if (call->observe)
		call->observe(call->user, call->service->name, call->method->name, (int)code,
			      clock_now() - call->started);
}

/* The method has given its answer; the memory stays while it still runs. */
static void end(struct ttrpc_call *call)
{
	call->over = call->ended = true;
	loop_timer_cancel(&call->timer);
	if (!call->in_method)
		call_free(call);
}

void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response)
{
	if (!call->over && call->peer)
		observe(call, send_response(call, response));
	end(call);
}

static void fail_with(struct ttrpc_call *call, enum ttrpc_code code, const char *message)
{
	if (!call->over && call->peer) {
		send_status(call->peer->conn, call->stream, code, message);
		observe(call, code);
	}
	end(call);
}

void ttrpc_call_fail(struct ttrpc_call *call, int r, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	fail_with(call, ttrpc_code_of(r), text);
}

/* --- the peer has gone, or waits no longer --- */

static void tell_gone(struct ttrpc_call *call)
{
	ttrpc_gone_fn fn = TAKE_PTR(call->gone);

	if (fn)
		fn(call, call->gone_arg);
}

static void on_gone_later(struct loop_defer *defer)
{
	tell_gone(container_of(defer, struct ttrpc_call, gone_later));
}

static void on_deadline(struct loop_timer *timer)
{
	struct ttrpc_call *call = container_of(timer, struct ttrpc_call, timer);

	if (call->over || !call->peer)
		return;
	call->over = true;
	send_status(call->peer->conn, call->stream, TTRPC_DEADLINE_EXCEEDED,
		    "the deadline has passed");
	observe(call, TTRPC_DEADLINE_EXCEEDED);
	co_cond_wake_all(&call->peer->drained);
	tell_gone(call);
}

void call_orphan(struct ttrpc_call *call)
{
	bool was_over = call->over;

	list_remove(&call->link);
	call->peer = NULL;
	call->over = true;
	loop_timer_cancel(&call->timer);
	if (!was_over)
		tell_gone(call);
}

void ttrpc_call_on_gone(struct ttrpc_call *call, ttrpc_gone_fn fn, void *arg)
{
	call->gone = fn;
	call->gone_arg = arg;
	if (call->over && !call->ended)
		loop_defer(call->loop, &call->gone_later, on_gone_later);
}

/* --- running --- */

/* A peer that does not read its answers gets no more of them built. */
static void wait_for_reader(struct ttrpc_call *call)
{
	while (!call->over && call->peer &&
	       ttrpc_conn_backlog(call->peer->conn) >= TTRPC_BACKLOG_MAX)
		co_cond_wait(&call->peer->drained, USEC_NEVER);
}

static void run(void *arg)
{
	struct ttrpc_call *call = arg;
	const ProtobufCMessageDescriptor *output = call->method->output;
	ProtobufCMessage *response;
	_cleanup_err_ struct err err = {0};
	int r;

	if (!call->peer) {
		/* The server may be gone with what the method works on. */
		call_free(call);
		return;
	}
	response = arena_alloc(&call->arena, output->sizeof_message);
	protobuf_c_message_init(output, response);
	r = call->method->fn(call, call->input, response, &err);
	if (call->ended || r == TTRPC_PARKED) {
		call->in_method = false;
		if (call->ended)
			call_free(call);
		return;
	}
	wait_for_reader(call);
	call->in_method = false;
	if (r >= 0)
		ttrpc_call_reply(call, response);
	else
		fail_with(call, ttrpc_code_of(err.code ? err.code : r),
			  err.msg ? err.msg : strerror(-r));
}

int call_start(struct ttrpc_call *call)
{
	const Ttrpc__Request *request = call->request;

	call->input = protobuf_c_message_unpack(
		call->method->input, &call->arena.allocator, request->payload.len,
		request->payload.data ? request->payload.data : (const uint8_t *)"");
	call->held = call->arena.used;
	call->peer->held += call->held;
	if (!call->input)
		return call->arena.full ? -ENOMEM : -EBADMSG;
	if (call->observe)
		call->started = clock_now();
	if (request->timeout_nano > 0) {
		call->deadline = clock_after((uint64_t)request->timeout_nano / 1000);
		loop_timer_set(call->loop, &call->timer, call->deadline, on_deadline);
	}
	call->in_method = true;
	co_start(call->loop, run, call);
	return 0;
}

int ttrpc_call_sendable(struct ttrpc_call *call, size_t low)
{
	while (!call->over && call->peer && ttrpc_conn_backlog(call->peer->conn) >= low)
		co_cond_wait(&call->peer->drained, USEC_NEVER);
	return call->over || !call->peer ? -EPIPE : 0;
}

/* --- what methods ask --- */

void *ttrpc_call_user(const struct ttrpc_call *call)
{
	return call->user;
}

const char *ttrpc_call_method(const struct ttrpc_call *call)
{
	return call->method->name;
}

uint64_t ttrpc_call_deadline(const struct ttrpc_call *call)
{
	return call->deadline;
}

const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key)
{
	for (size_t i = 0; i < call->request->n_metadata; i++)
		if (strcasecmp(call->request->metadata[i]->key, key) == 0)
			return call->request->metadata[i]->value;
	return NULL;
}

void *ttrpc_call_alloc(struct ttrpc_call *call, size_t size)
{
	return arena_alloc(&call->arena, size);
}

char *ttrpc_call_strdup(struct ttrpc_call *call, const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(arena_alloc(&call->arena, n), s, n);
}

char *ttrpc_call_printf(struct ttrpc_call *call, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	return ttrpc_call_strdup(call, text);
}
