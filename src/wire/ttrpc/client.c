/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "loop/co.h"
#include "ttrpc.pb-c.h"
#include "wire/ttrpc/arena.h"
#include "wire/ttrpc/frame.h"
#include "wire/ttrpc/ttrpc.h"

/*
 * How it works: every call is a `pending` with an odd stream number, found by number when its
 * response comes, and ended exactly once: by the response, its deadline, the end of the connection
 * or ttrpc_client_free(). ttRPC cannot cancel: the answer to a call that has ended meanwhile finds
 * no pending and is dropped. The peer may be a hostile guest: a response may unpack to no more than
 * TTRPC_ARENA_MAX.
 */

#define BUCKETS 64

struct ttrpc_client {
	struct loop *loop;
	struct ttrpc_conn *conn;
	ttrpc_closed_fn closed;
	void *arg;
	uint32_t next_stream;
	size_t n_pending;
	bool gone;
	bool closing, freed; /* pending calls are being told; freed meanwhile */
	struct list pending[BUCKETS];
	struct buf metadata; /* encoded fields of a Request */
};

struct pending {
	struct ttrpc_client *client;
	struct list link;
	struct loop_timer timer;
	uint32_t stream;
	const ProtobufCMessageDescriptor *output;
	ttrpc_done_fn done;
	void *arg;
};

static struct list *bucket(struct ttrpc_client *client, uint32_t stream)
{
	return &client->pending[stream / 2 % BUCKETS];
}

static struct pending *find(struct ttrpc_client *client, uint32_t stream)
{
	struct pending *pending;

	list_for_each (pending, bucket(client, stream), link)
		if (pending->stream == stream)
			return pending;
	return NULL;
}

/* Ends a call; `response` is handed over. The client may be freed by `done`. */
static void finish(struct pending *pending, int r, const char *message, ProtobufCMessage *response)
{
	ttrpc_done_fn done = pending->done;
	void *arg = pending->arg;

	list_remove(&pending->link);
	loop_timer_cancel(&pending->timer);
	pending->client->n_pending--;
	free(pending);
	done(arg, r, message, response);
}

/* Ends every call. What `done` does cannot end another: no call is sent, the client is not freed.
 */
static void finish_all(struct ttrpc_client *client, int r, const char *message)
{
	struct pending *pending, *tmp;

	client->gone = client->closing = true;
	for (size_t i = 0; i < BUCKETS; i++)
		list_for_each_safe (pending, tmp, &client->pending[i], link)
			finish(pending, r, message, NULL);
	client->closing = false;
}

/* --- what the peer sends --- */

static void finish_response(struct pending *pending, const Ttrpc__Response *response)
{
	struct budget budget;
	ProtobufCMessage *message;

	if (response->status && response->status->code != TTRPC_OK) {
		enum ttrpc_code code = (enum ttrpc_code)response->status->code;

		finish(pending, ttrpc_errno_of(code), response->status->message, NULL);
		return;
	}
	budget_init(&budget, TTRPC_ARENA_MAX);
	message = protobuf_c_message_unpack(
		pending->output, &budget.allocator, response->payload.len,
		response->payload.data ? response->payload.data : (const uint8_t *)"");
	if (message)
		finish(pending, 0, NULL, message);
	else
		finish(pending, -EBADMSG, "the response cannot be unpacked", NULL);
}

static void on_frame(void *arg, const struct ttrpc_header *header, const uint8_t *data)
{
	struct ttrpc_client *client = arg;
	struct pending *pending = find(client, header->stream);
	struct arena arena;
	Ttrpc__Response *response;

	if (!pending)
		return;
	if (header->type != TTRPC_FRAME_RESPONSE) {
		finish(pending, -EPROTO, "the peer answered with a stream", NULL);
		return;
	}
	arena_init(&arena, NULL, 0, TTRPC_ARENA_MAX);
	response = ttrpc__response__unpack(&arena.allocator, header->length, data);
	if (response)
		finish_response(pending, response);
	else
		finish(pending, -EBADMSG, "the frame holds no response", NULL);
	arena_fini(&arena);
}

static void on_oversize(void *arg, const struct ttrpc_header *header)
{
	struct pending *pending = find(arg, header->stream);
	char text[96];

	if (!pending)
		return;
	snprintf(text, sizeof(text), "a response of %u bytes exceeds the maximum of %u",
		 header->length, TTRPC_FRAME_MAX);
	finish(pending, -EMSGSIZE, text, NULL);
}

static void on_closed(void *arg, const char *reason)
{
	struct ttrpc_client *client = arg;
	ttrpc_closed_fn closed = client->closed;
	_cleanup_(freep) char *text = xasprintf("connection closed: %s", reason);

	finish_all(client, -EPIPE, text);
	if (client->freed)
		ttrpc_client_free(client);
	else if (closed)
		closed(client->arg, reason);
}

static void on_deadline(struct loop_timer *timer)
{
	finish(container_of(timer, struct pending, timer), -ETIMEDOUT, "no answer in time", NULL);
}

static const struct ttrpc_conn_ops client_ops = {
	.frame = on_frame,
	.oversize = on_oversize,
	.closed = on_closed,
};

/* --- life --- */

int ttrpc_client_new(struct loop *loop, int fd, ttrpc_closed_fn closed, void *arg,
		     struct ttrpc_client **ret)
{
	struct ttrpc_client *client = xnew(struct ttrpc_client);
	int r;

	r = ttrpc_conn_new(loop, fd, &client_ops, client, &client->conn);
	if (r < 0) {
		free(client);
		return r;
	}
	client->loop = loop;
	client->closed = closed;
	client->arg = arg;
	client->next_stream = 1;
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&client->pending[i]);
	*ret = client;
	return 0;
}

void ttrpc_client_free(struct ttrpc_client *client)
{
	if (!client)
		return;
	if (client->closing) {
		client->freed = true;
		return;
	}
	ttrpc_conn_free(client->conn);
	finish_all(client, -ECANCELED, "the client was closed");
	buf_fini(&client->metadata);
	free(client);
}

/* --- calls --- */

/* Numbers start again behind 2^32 - 1; one that is still in use is left out. */
static uint32_t take_stream(struct ttrpc_client *client)
{
	uint32_t stream;

	do {
		stream = client->next_stream;
		client->next_stream += 2;
	} while (find(client, stream));
	return stream;
}

static uint8_t *put_string(uint8_t *p, unsigned int field, const char *s, size_t n)
{
	p = pb_bytes(p, field, n);
	memcpy(p, s, n);
	return p + n;
}

void ttrpc_client_add_metadata(struct ttrpc_client *client, const char *key, const char *value)
{
	size_t n_key = strlen(key), n_value = strlen(value);
	size_t n = pb_bytes_size(n_key) + pb_bytes_size(n_value);
	uint8_t *p;

	buf_reserve(&client->metadata, pb_bytes_size(n));
	p = pb_bytes((uint8_t *)client->metadata.data + client->metadata.len, 5, n);
	p = put_string(p, 1, key, n_key);
	put_string(p, 2, value, n_value);
	client->metadata.len += pb_bytes_size(n);
}

/* The envelope is written around the packed message, in the output buffer. */
static int send_request(struct ttrpc_client *client, uint32_t stream, const char *service,
			const char *method, const ProtobufCMessage *request, uint64_t deadline)
{
	size_t n_service = strlen(service), n_method = strlen(method);
	size_t n = protobuf_c_message_get_packed_size(request);
	uint64_t now, nsec = 0;
	struct ttrpc_header header = {.stream = stream, .type = TTRPC_FRAME_REQUEST};
	size_t length;
	uint8_t *p;

	if (deadline != USEC_NEVER) {
		now = clock_now();
		nsec = deadline > now ? MIN((deadline - now) * 1000, (uint64_t)INT64_MAX) : 1;
	}
	length = pb_bytes_size(n_service) + pb_bytes_size(n_method) + (n ? pb_bytes_size(n) : 0) +
		 (nsec ? 1 + pb_varint_size(nsec) : 0) + client->metadata.len;
	if (n > TTRPC_FRAME_MAX || length > TTRPC_FRAME_MAX)
		return -EMSGSIZE;
	header.length = (uint32_t)length;
	p = ttrpc_conn_begin(client->conn, length);
	p = put_string(p, 1, service, n_service);
	p = put_string(p, 2, method, n_method);
	if (n) {
		p = pb_bytes(p, 3, n);
		p += protobuf_c_message_pack(request, p);
	}
	if (nsec) {
		*p++ = 4 << 3;
		p = pb_varint(p, nsec);
	}
	if (client->metadata.len)
		memcpy(p, client->metadata.data, client->metadata.len);
	ttrpc_conn_commit(client->conn, &header);
	return 0;
}

int ttrpc_client_send(struct ttrpc_client *client, const char *service, const char *method,
		      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		      uint64_t deadline, ttrpc_done_fn done, void *arg)
{
	struct pending *pending;
	uint32_t stream;
	int r;

	if (client->gone)
		return -EPIPE;
	if (ttrpc_conn_backlog(client->conn) > TTRPC_BACKLOG_MAX ||
	    client->n_pending >= TTRPC_CALLS_MAX)
		return -ENOBUFS;
	stream = take_stream(client);
	r = send_request(client, stream, service, method, request, deadline);
	if (r < 0)
		return r;
	pending = xnew(struct pending);
	*pending = (struct pending){
		.client = client,
		.stream = stream,
		.output = output,
		.done = done,
		.arg = arg,
	};
	list_add_tail(bucket(client, stream), &pending->link);
	client->n_pending++;
	loop_timer_set(client->loop, &pending->timer, deadline, on_deadline);
	return 0;
}

/* --- the same for coroutines --- */

struct waiting {
	struct co *co;
	bool done;
	int r;
	char *message;
	ProtobufCMessage *response;
};

static void on_done(void *arg, int r, const char *message, ProtobufCMessage *response)
{
	struct waiting *waiting = arg;

	waiting->done = true;
	waiting->r = r;
	waiting->message = xstrdup(message);
	waiting->response = response;
	co_wake(waiting->co);
}

int ttrpc_client_call(struct ttrpc_client *client, const char *service, const char *method,
		      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		      uint64_t deadline, ProtobufCMessage **ret, struct err *err)
{
	struct waiting waiting = {.co = co_self()};
	int r;

	r = ttrpc_client_send(client, service, method, request, output, deadline, on_done,
			      &waiting);
	if (r < 0)
		return err_set(err, r, "call %s", method);
	while (!waiting.done)
		co_suspend();
	if (waiting.r < 0) {
		err_setx(err, waiting.r, "%s", waiting.message);
		free(waiting.message);
		return waiting.r;
	}
	if (ret)
		*ret = waiting.response;
	else
		protobuf_c_message_free_unpacked(waiting.response, NULL);
	return 0;
}
