/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oom.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/container.h"
#include "agent/rpc.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"

/*
 * How it works: one inotify descriptor for all containers; the kernel modifies memory.events when
 * a counter changes, and oom_kill is compared with what it was. The ids of the containers queue
 * until a parked GetOOMEvent call takes them.
 */

#define OOM_CALLS_MAX 16U
#define OOM_QUEUE_MAX 64U

struct oom {
	struct agent *agent;
	int fd;
	struct loop_io io;
	struct strv queue; /* ids to report, oldest first */
	struct list calls;
	size_t n_calls;
};

struct oom_call {
	struct list link;
	struct ttrpc_call *call;
	struct oom *oom;
};

static void pop_front(struct strv *s)
{
	free(s->v[0]);
	memmove(s->v, s->v + 1, s->n * sizeof(*s->v));
	s->n--;
}

/* Hands queued reports to waiting calls. */
static void match(struct oom *oom)
{
	while (oom->queue.n && !list_empty(&oom->calls)) {
		struct oom_call *c = list_first(&oom->calls, struct oom_call, link);
		Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;

		list_remove(&c->link);
		oom->n_calls--;
		event.container_id = oom->queue.v[0];
		ttrpc_call_reply(c->call, &event.base);
		pop_front(&oom->queue);
	}
}

static void report(struct oom *oom, const char *id)
{
	if (strv_contains(&oom->queue, id))
		return;
	if (oom->queue.n >= OOM_QUEUE_MAX)
		pop_front(&oom->queue);
	strv_add(&oom->queue, id);
	match(oom);
}

static void check_watch(struct oom *oom, int watch)
{
	map_for_each (entry, &oom->agent->containers) {
		struct container *c = entry->value;

		if (c->oom_watch == watch) {
			oom_check(c);
			return;
		}
	}
}

static void on_inotify(struct loop_io *io, _unused_ uint32_t events)
{
	struct oom *oom = container_of(io, struct oom, io);
	char buffer[2048] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(oom->fd, buffer, sizeof(buffer));

	for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		check_watch(oom, event->wd);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
}

static struct oom *oom_get(struct agent *agent)
{
	struct oom *oom = agent->oom;

	if (oom)
		return oom;
	oom = agent->oom = xnew(struct oom);
	oom->agent = agent;
	list_init(&oom->calls);
	oom->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (oom->fd < 0 || loop_io_add(agent->loop, &oom->io, oom->fd, EPOLLIN, on_inotify) < 0)
		log_warn("out of memory cannot be reported: %s", strerror(errno));
	return oom;
}

void oom_watch(struct container *c)
{
	struct oom *oom = oom_get(c->agent);
	char path[64];

	if (!c->has_cgroup || oom->fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/memory.events", c->cgroup.dir);
	c->oom_watch = inotify_add_watch(oom->fd, path, IN_MODIFY);
	c->oom_kills = cgroup_oom_kills(&c->cgroup);
}

void oom_check(struct container *c)
{
	uint64_t kills;

	if (!c->has_cgroup || c->oom_watch < 0)
		return;
	kills = cgroup_oom_kills(&c->cgroup);
	if (kills > c->oom_kills) {
		log_info("container %s: out of memory", c->id);
		report(oom_get(c->agent), c->id);
	}
	c->oom_kills = kills;
}

void oom_forget(struct container *c)
{
	if (c->agent->oom && c->oom_watch >= 0)
		inotify_rm_watch(c->agent->oom->fd, c->oom_watch);
	c->oom_watch = -1;
}

static void on_gone(struct ttrpc_call *call, void *arg)
{
	struct oom_call *c = arg;

	list_remove(&c->link);
	c->oom->n_calls--;
	ttrpc_call_fail(call, -ECANCELED, "the caller is gone");
}

RPC(get_oom_event)
{
	struct oom *oom = oom_get(rpc_agent(call));
	struct oom_call *c;

	(void)request_;
	(void)response_;
	if (oom->n_calls >= OOM_CALLS_MAX)
		return err_setx(err, -EBUSY, "%u calls wait for this already", OOM_CALLS_MAX);
	c = ttrpc_call_alloc(call, sizeof(*c));
	*c = (struct oom_call){.call = call, .oom = oom};
	list_add_tail(&oom->calls, &c->link);
	oom->n_calls++;
	ttrpc_call_on_gone(call, on_gone, c);
	match(oom);
	return TTRPC_PARKED;
}
