/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Events to containerd (docs/runtime-v2.md, "Events"): in the order in which they were published,
 * each until containerd has taken it, within bounds.
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/err.h"
#include "loop/loop.h"

/* Events that wait at most, seconds that one is tried for: a containerd that is down longer asks
 * for the state of everything when it comes back. */
#define PUBLISHER_QUEUE_MAX   2048
#define PUBLISHER_EVENT_USEC  (120 * USEC_PER_SEC)
#define PUBLISHER_BACKOFF_MIN (100 * USEC_PER_MSEC)
#define PUBLISHER_BACKOFF_MAX (5 * USEC_PER_SEC)

struct publisher;

struct publisher_target {
	const char *namespace;
	const char
		*ttrpc_address; /* containerd's ttRPC socket, "unix://" in front or not; "": none */
	const char *publish_binary; /* `FILE -address A publish -topic T -namespace N`; "": none */
	const char *address;        /* its -address */
};

/* publisher_new: copies the target. Nothing is connected before the first event. */
struct publisher *publisher_new(struct loop *loop, const struct publisher_target *target);
/* publisher_send: queue an event of containerd.events, under its topic ("/tasks/exit"). */
void publisher_send(struct publisher *publisher, const char *topic, const ProtobufCMessage *event);
/* publisher_flush: wait (in a coroutine) until the queue is empty, at most until the monotonic
 * deadline. Returns 0 or -ETIMEDOUT. */
int publisher_flush(struct publisher *publisher, uint64_t deadline);
/* publisher_free: drops what is queued; not while another coroutine is in publisher_flush(). */
void publisher_free(struct publisher *publisher);
