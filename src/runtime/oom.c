/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/log.h"
#include "runtime/model.h"

#define RETRY_PAUSE (1 * USEC_PER_SEC)
#define EVENT_PAUSE (50 * USEC_PER_MSEC) /* a guest cannot flood us with events */

struct event {
	struct loop_defer defer;
	struct sandbox *sandbox;
	char *container_id;
};

static void announce(struct loop_defer *defer)
{
	struct event *event = container_of(defer, struct event, defer);
	struct sandbox *s = event->sandbox;

	if (!s->freed && s->listener.oom)
		s->listener.oom(s->listener.arg, event->container_id);
	sandbox_unref(s);
	free(event->container_id);
	free(event);
}

/* Only for containers that exist: the guest may say what it likes. */
static void report(struct sandbox *s, const char *container_id)
{
	struct event *event;

	if (!map_get(&s->containers, container_id))
		return;
	event = xnew(struct event);
	event->sandbox = s;
	event->container_id = xstrdup(container_id);
	sandbox_ref(s);
	loop_defer(s->loop, &event->defer, announce);
}

static void watch(void *arg)
{
	struct sandbox *s = arg;

	while (s->state == SANDBOX_RUNNING) {
		Grpc__GetOOMEventRequest request = GRPC__GET_OOMEVENT_REQUEST__INIT;
		Grpc__OOMEvent *event = NULL;
		_cleanup_err_ struct err err = {0};
		int r;

		r = agent_get_oom_event(s->agent, &request, USEC_NEVER, &event, &err);
		if (r >= 0) {
			report(s, event->container_id);
			protobuf_c_message_free_unpacked(&event->base, NULL);
			co_sleep(EVENT_PAUSE);
			continue;
		}
		if (r == -ESHUTDOWN)
			break;
		log_debug("wait for OOM events: %s", err_text(&err));
		if (r == -ENOSYS)
			break;
		co_sleep(RETRY_PAUSE);
	}
	sandbox_unref(s);
}

void oom_watch(struct sandbox *s)
{
	sandbox_ref(s);
	co_start(s->loop, watch, s);
}
