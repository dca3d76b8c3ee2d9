/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/events.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/str.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "loop/co.h"
#include "ttrpc_events.pb-c.h"
#include "wire/ttrpc/ttrpc.h"

/*
 * How it works: a queue of packed events and one coroutine that lives while the queue has any. It
 * sends the first one until it is taken, then the next: so the order can never change. Between
 * attempts it waits, longer each time; what is too old is dropped with a line in the log, as is
 * what comes while the queue is full. When nobody listens at the socket, and there is a program to
 * publish with, that gets the event instead.
 *
 * CRI-O names itself as that program and has no socket: it takes events and does nothing with them,
 * at the price of a start of crio for each. It gets none.
 */

#define FORWARD_TIMEOUT (5 * USEC_PER_SEC)
/* An event that is smaller than a pipe is written without waiting for the program. */
#define PUBLISH_MAX    (60U << 10)
#define EVENTS_SERVICE "containerd.services.events.ttrpc.v1.Events"
/* containerd pkg/namespaces/ttrpc.go */
#define NAMESPACE_HEADER "containerd-namespace-ttrpc"

struct event {
	struct list link;
	char *topic;
	const char *type; /* full name of the message */
	uint8_t *data;
	size_t size;
	uint64_t at;     /* CLOCK_REALTIME µs */
	uint64_t expiry; /* monotonic */
};

struct publisher {
	struct loop *loop;
	char *namespace, *ttrpc_path, *publish_binary, *address;
	struct ttrpc_client *client;
	bool client_closed; /* its peer has gone: to be freed outside of its own callback */
	struct list queue;
	size_t n_queued;
	bool running, freed;
	struct co_cond emptied;
};

static void event_free(struct event *e)
{
	free(e->topic);
	free(e->data);
	free(e);
}

static void client_gone(void *arg, const char *reason)
{
	struct publisher *p = arg;

	log_debug("events: containerd's socket closed: %s", reason);
	p->client_closed = true;
}

static int ensure_client(struct publisher *p, struct err *err)
{
	int fd, r;

	if (p->client && p->client_closed) {
		ttrpc_client_free(p->client);
		p->client = NULL;
	}
	if (p->client)
		return 0;
	fd = fd_unix_connect(p->ttrpc_path);
	if (fd < 0)
		return err_set(err, fd, "connect to %s", p->ttrpc_path);
	r = fd_set_nonblock(fd, true);
	p->client_closed = false;
	if (r == 0)
		r = ttrpc_client_new(p->loop, fd, client_gone, p, &p->client);
	/* As containerd's own shims do, beside the envelope's. */
	if (r == 0)
		ttrpc_client_add_metadata(p->client, NAMESPACE_HEADER, p->namespace);
	return r < 0 ? err_set(err, r, "speak to %s", p->ttrpc_path) : 0;
}

static int forward(struct publisher *p, const struct event *e, struct err *err)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Containerd__Types__Envelope envelope = CONTAINERD__TYPES__ENVELOPE__INIT;
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest request =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
	int r = ensure_client(p, err);

	if (r < 0)
		return r;
	any.type_url = (char *)e->type;
	any.value = (ProtobufCBinaryData){e->size, e->data};
	at.seconds = (int64_t)(e->at / USEC_PER_SEC);
	at.nanos = (int32_t)(e->at % USEC_PER_SEC * 1000);
	envelope.timestamp = &at;
	envelope.namespace_ = p->namespace;
	envelope.topic = e->topic;
	envelope.event = &any;
	request.envelope = &envelope;
	return ttrpc_client_call(p->client, EVENTS_SERVICE, "Forward", &request.base,
				 &google__protobuf__empty__descriptor, clock_after(FORWARD_TIMEOUT),
				 NULL, err);
}

/* The event as an Any, which the program reads from its standard input. */
static int write_any(int fd, const struct event *e)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	_cleanup_(freep) uint8_t *packed = NULL;
	size_t n;

	any.type_url = (char *)e->type;
	any.value = (ProtobufCBinaryData){e->size, e->data};
	n = google__protobuf__any__get_packed_size(&any);
	if (n > PUBLISH_MAX)
		return -EMSGSIZE;
	packed = xmalloc(n);
	google__protobuf__any__pack(&any, packed);
	return fd_write_all(fd, packed, n);
}

static int publish(struct publisher *p, const struct event *e, struct err *err)
{
	const char *const argv[] = {p->publish_binary, "--address",  p->address,
				    "publish",         "--topic",    e->topic,
				    "--namespace",     p->namespace, NULL};
	_cleanup_(closep) int read_end = -1, write_end = -1;
	int pair[2], r, status = 0;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_set(err, -errno, "pipe");
	read_end = pair[0];
	write_end = pair[1];
	r = write_any(write_end, e);
	if (r < 0)
		return err_set(err, r, "write the event");
	write_end = fd_close(write_end);
	pid = spawn_start(&(struct spawn){.path = p->publish_binary,
					  .argv = (char *const *)argv,
					  .in = read_end,
					  .out = -1,
					  .err = -1});
	if (pid < 0)
		return err_set(err, pid, "start %s", p->publish_binary);
	r = co_wait_child(pid, clock_after(FORWARD_TIMEOUT), &status);
	if (r < 0)
		return err_set(err, r, "wait for %s", p->publish_binary);
	if (status != 0)
		return err_setx(err, -EREMOTEIO, "%s failed (status %d)", p->publish_binary,
				spawn_exit_status(status));
	return 0;
}

static int deliver(struct publisher *p, const struct event *e, struct err *err)
{
	int r = -ENOTCONN;

	if (*p->ttrpc_path) {
		r = forward(p, e, err);
		/* A connection that has died meanwhile says nothing about the peer: try once more.
		 */
		if (r < 0 && p->client_closed)
			r = forward(p, e, err);
		if (r != -ECONNREFUSED && r != -ENOENT)
			return r;
	}
	return *p->publish_binary ? publish(p, e, err) : r;
}

static void publisher_unref(struct publisher *p)
{
	if (!p->freed || p->running)
		return;
	for (struct list *l; (l = list_pop(&p->queue));)
		event_free(list_entry(l, struct event, link));
	ttrpc_client_free(p->client);
	free(p->namespace);
	free(p->ttrpc_path);
	free(p->publish_binary);
	free(p->address);
	free(p);
}

/* Until it is taken, or too old. */
static void insist(struct publisher *p, const struct event *e)
{
	uint64_t backoff = PUBLISHER_BACKOFF_MIN;

	while (!p->freed) {
		_cleanup_err_ struct err err = {0};

		if (deliver(p, e, &err) >= 0)
			return;
		if (clock_now() >= e->expiry) {
			log_warn("events: %s was not taken and is dropped: %s", e->topic,
				 err_text(&err));
			return;
		}
		log_debug("events: %s waits: %s", e->topic, err_text(&err));
		co_sleep(backoff);
		backoff = MIN(2 * backoff, PUBLISHER_BACKOFF_MAX);
	}
}

static void publisher_run(void *arg)
{
	struct publisher *p = arg;

	for (struct list *l; !p->freed && (l = list_pop(&p->queue));) {
		struct event *e = list_entry(l, struct event, link);

		insist(p, e);
		event_free(e);
		p->n_queued--;
	}
	p->running = false;
	co_cond_wake_all(&p->emptied);
	publisher_unref(p);
}

struct publisher *publisher_new(struct loop *loop, const struct publisher_target *target)
{
	struct publisher *p = xnew(struct publisher);
	const char *path = str_skip_prefix(target->ttrpc_address, "unix://");

	p->loop = loop;
	p->namespace = xstrdup(target->namespace);
	p->ttrpc_path = xstrdup(path ? path : target->ttrpc_address);
	p->publish_binary = xstrdup(str_empty(target->address) ? "" : target->publish_binary);
	p->address = xstrdup(target->address);
	list_init(&p->queue);
	co_cond_init(&p->emptied);
	return p;
}

void publisher_send(struct publisher *p, const char *topic, const ProtobufCMessage *message)
{
	struct event *e;

	if (!*p->ttrpc_path && !*p->publish_binary)
		return;
	if (p->n_queued >= PUBLISHER_QUEUE_MAX) {
		log_warn("events: %s is dropped: %d others wait", topic, PUBLISHER_QUEUE_MAX);
		return;
	}
	e = xnew(struct event);
	e->topic = xstrdup(topic);
	e->type = message->descriptor->name;
	e->data = xmalloc(protobuf_c_message_get_packed_size(message) + 1);
	e->size = protobuf_c_message_pack(message, e->data);
	e->at = clock_realtime();
	e->expiry = clock_after(PUBLISHER_EVENT_USEC);
	list_add_tail(&p->queue, &e->link);
	p->n_queued++;
	if (!p->running) {
		p->running = true;
		co_start(p->loop, publisher_run, p);
	}
}

int publisher_flush(struct publisher *p, uint64_t deadline)
{
	int r = 0;

	while (p->running && r == 0)
		r = co_cond_wait(&p->emptied, deadline);
	return r;
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	p->freed = true;
	publisher_unref(p);
}
