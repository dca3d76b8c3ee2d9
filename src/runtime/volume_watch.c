/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/volume_watch.h"

#include <errno.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: one inotify descriptor for all, one watch for each folder. A folder without one
 * (the host's limits of inotify are reached, or it was replaced) is looked at every POLL.
 */

#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)
#define POLL   (2 * USEC_PER_SEC)
#define DATA   "..data"

bool volume_watch_concerns(uint32_t mask, const char *name)
{
	if (!(mask & EVENTS))
		return false;
	/* What kubelet is making or removing; it is the one that ..data names from then on. */
	return !name || mask & IN_ATTRIB || streq(name, DATA) || !str_has_prefix(name, "..");
}

static void on_event(struct volume_watches *all, const struct inotify_event *event)
{
	bool lost = event->mask & IN_Q_OVERFLOW;
	struct volume_watch *w;

	list_for_each (w, &all->list, link) {
		if (!lost && w->wd != event->wd)
			continue;
		if (event->mask & IN_IGNORED)
			w->wd = -1;
		else if (lost ||
			 volume_watch_concerns(event->mask, event->len ? event->name : NULL))
			all->changed(w);
	}
}

static void look(struct loop_timer *timer);

/* The next look at those without a watch, when there are any. */
static void plan_look(struct volume_watches *all)
{
	struct volume_watch *w;

	if (all->poll.loop)
		return;
	list_for_each (w, &all->list, link)
		if (w->wd < 0) {
			loop_timer_set(all->loop, &all->poll, clock_after(POLL), look);
			return;
		}
}

static void look(struct loop_timer *timer)
{
	struct volume_watches *all = container_of(timer, struct volume_watches, poll);
	struct volume_watch *w;

	list_for_each (w, &all->list, link) {
		_cleanup_(freep) char *data = path_join(w->path, DATA);
		struct stat st;

		if (w->wd >= 0 || lstat(data, &st) < 0 ||
		    !memcmp(&st.st_ctim, &w->seen, sizeof(w->seen)))
			continue;
		w->seen = st.st_ctim;
		all->changed(w);
	}
	plan_look(all);
}

static void on_inotify(struct loop_io *io, _unused_ uint32_t events)
{
	struct volume_watches *all = container_of(io, struct volume_watches, io);
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(all->fd, buffer, sizeof(buffer));

	for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		on_event(all, event);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	plan_look(all);
}

void volume_watches_init(struct volume_watches *all, struct loop *loop,
			 void (*changed)(struct volume_watch *watch))
{
	*all = (struct volume_watches){.loop = loop, .changed = changed};
	list_init(&all->list);
	all->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (all->fd < 0)
		log_warn("no inotify (%s; sysctl fs.inotify.max_user_instances): volumes are "
			 "looked at every %u s",
			 strerror(errno), (unsigned int)(POLL / USEC_PER_SEC));
	else if (loop_io_add(loop, &all->io, all->fd, EPOLLIN, on_inotify) < 0)
		all->fd = fd_close(all->fd);
}

void volume_watches_fini(struct volume_watches *all)
{
	loop_timer_cancel(&all->poll);
	loop_io_remove(&all->io);
	fd_close(all->fd);
}

void volume_watch_add(struct volume_watches *all, struct volume_watch *w, const char *path)
{
	*w = (struct volume_watch){.path = path};
	w->wd = inotify_add_watch(all->fd, path, EVENTS | IN_ONLYDIR);
	/* Without any inotify that was logged already. */
	if (w->wd < 0 && all->fd >= 0)
		log_warn("volume %s: no inotify (%s): it is looked at every %u s", path,
			 strerror(errno), (unsigned int)(POLL / USEC_PER_SEC));
	list_add_tail(&all->list, &w->link);
	plan_look(all);
}

/* Two paths may lead to one folder, and then have one watch. */
void volume_watch_remove(struct volume_watches *all, struct volume_watch *watch)
{
	struct volume_watch *w;

	list_remove(&watch->link);
	list_for_each (w, &all->list, link)
		if (w->wd == watch->wd)
			return;
	if (watch->wd >= 0)
		inotify_rm_watch(all->fd, watch->wd);
}
