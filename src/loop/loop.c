/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"

#define EVENTS_PER_ROUND 64

struct loop {
	int epoll_fd;
	bool quit;
	int code;
	struct epoll_event ready[EVENTS_PER_ROUND]; /* this round's; removal clears an entry */
	int n_ready;
	struct list timers; /* by deadline */
	struct list deferred;
	struct loop_defer round_end; /* marks where this round's deferred work ends */
	int signal_fd;
	sigset_t signal_set;
	struct loop_io signal_io;
	struct list signals;
	struct loop_signal child_signal;
	struct list children;
};

int loop_new(struct loop **ret)
{
	struct loop *loop = xnew(struct loop);

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int r = -errno;

		free(loop);
		return r;
	}
	loop->signal_fd = -1;
	sigemptyset(&loop->signal_set);
	list_init(&loop->timers);
	list_init(&loop->deferred);
	list_init(&loop->signals);
	list_init(&loop->children);
	signal(SIGPIPE, SIG_IGN);
	*ret = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	fd_close(loop->signal_fd);
	close(loop->epoll_fd);
	free(loop);
}

void loop_quit(struct loop *loop, int code)
{
	loop->quit = true;
	loop->code = code;
}

/* --- descriptors --- */

int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn fn)
{
	struct epoll_event event = {.events = events, .data.ptr = io};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*io = (struct loop_io){.loop = loop, .fd = fd, .events = events, .fn = fn};
	return 0;
}

int loop_io_set(struct loop_io *io, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = io};

	if (io->events == events)
		return 0;
	if (epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_io_remove(struct loop_io *io)
{
	struct loop *loop = io->loop;

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	for (int i = 0; i < loop->n_ready; i++)
		if (loop->ready[i].data.ptr == io)
			loop->ready[i].data.ptr = NULL;
	io->loop = NULL;
}

/* --- timers --- */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline,
		    loop_timer_fn fn)
{
	struct list *before;

	loop_timer_cancel(timer);
	if (deadline == USEC_NEVER)
		return;
	timer->loop = loop;
	timer->deadline = deadline;
	timer->fn = fn;
	/* From the back: most timers are set further away than those that wait already. */
	for (before = loop->timers.prev; before != &loop->timers; before = before->prev)
		if (list_entry(before, struct loop_timer, link)->deadline <= deadline)
			break;
	timer->link.prev = before;
	timer->link.next = before->next;
	before->next->prev = &timer->link;
	before->next = &timer->link;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer->loop)
		return;
	list_remove(&timer->link);
	timer->loop = NULL;
}

static void run_timers(struct loop *loop)
{
	uint64_t now = clock_now();

	while (!list_empty(&loop->timers)) {
		struct loop_timer *timer = list_first(&loop->timers, struct loop_timer, link);

		if (timer->deadline > now)
			break;
		loop_timer_cancel(timer);
		timer->fn(timer);
	}
}

/* --- deferred work --- */

void loop_defer(struct loop *loop, struct loop_defer *defer, loop_defer_fn fn)
{
	if (defer->loop)
		return;
	defer->loop = loop;
	defer->fn = fn;
	list_add_tail(&loop->deferred, &defer->link);
}

void loop_defer_cancel(struct loop_defer *defer)
{
	if (!defer->loop)
		return;
	list_remove(&defer->link);
	defer->loop = NULL;
}

static void run_deferred(struct loop *loop)
{
	list_add_tail(&loop->deferred, &loop->round_end.link);
	for (;;) {
		struct loop_defer *defer = list_first(&loop->deferred, struct loop_defer, link);

		list_remove(&defer->link);
		if (defer == &loop->round_end)
			return;
		defer->loop = NULL;
		defer->fn(defer);
	}
}

/* --- signals --- */

static void on_signal_fd(struct loop_io *io, _unused_ uint32_t events)
{
	struct loop *loop = io->loop;
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		struct loop_signal *source, *tmp;

		list_for_each_safe (source, tmp, &loop->signals, link) {
			if (source->signo != (int)info.ssi_signo)
				continue;
			source->fn(source, source->signo);
			break;
		}
	}
}

int loop_signal_add(struct loop *loop, struct loop_signal *source, int signo, loop_signal_fn fn)
{
	int fd;

	sigaddset(&loop->signal_set, signo);
	if (sigprocmask(SIG_BLOCK, &loop->signal_set, NULL) < 0)
		return -errno;
	fd = signalfd(loop->signal_fd, &loop->signal_set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (loop->signal_fd < 0) {
		int r;

		loop->signal_fd = fd;
		r = loop_io_add(loop, &loop->signal_io, fd, EPOLLIN, on_signal_fd);
		if (r < 0)
			return r;
	}
	*source = (struct loop_signal){.loop = loop, .signo = signo, .fn = fn};
	list_add_tail(&loop->signals, &source->link);
	return 0;
}

void loop_signal_remove(struct loop_signal *source)
{
	if (!source->loop)
		return;
	list_remove(&source->link);
	source->loop = NULL;
}

/* --- children --- */

static void on_sigchld(struct loop_signal *source, _unused_ int signo)
{
	struct loop *loop = container_of(source, struct loop, child_signal);
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct loop_child *child, *found = NULL;

		list_for_each (child, &loop->children, link)
			if (child->pid == pid)
				found = child;
		if (!found)
			continue;
		loop_child_remove(found);
		found->fn(found, status);
	}
}

int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, loop_child_fn fn)
{
	if (!loop->child_signal.loop) {
		int r = loop_signal_add(loop, &loop->child_signal, SIGCHLD, on_sigchld);

		if (r < 0)
			return r;
	}
	*child = (struct loop_child){.loop = loop, .pid = pid, .fn = fn};
	list_add_tail(&loop->children, &child->link);
	/* The child may have ended before SIGCHLD was blocked for the first time. */
	raise(SIGCHLD);
	return 0;
}

void loop_child_remove(struct loop_child *child)
{
	if (!child->loop)
		return;
	list_remove(&child->link);
	child->loop = NULL;
}

/* --- rounds --- */

static int timeout_msec(const struct loop *loop, uint64_t usec)
{
	uint64_t now;

	if (!list_empty(&loop->deferred))
		return 0;
	if (!list_empty(&loop->timers)) {
		uint64_t first = list_first(&loop->timers, struct loop_timer, link)->deadline;

		now = clock_now();
		usec = MIN(usec, first > now ? first - now : 0);
	}
	if (usec == USEC_NEVER)
		return -1;
	return (int)MIN((usec + 999) / 1000, (uint64_t)INT32_MAX);
}

int loop_round(struct loop *loop, uint64_t usec)
{
	int n;

	n = epoll_wait(loop->epoll_fd, loop->ready, EVENTS_PER_ROUND, timeout_msec(loop, usec));
	if (n < 0 && errno != EINTR)
		return -errno;
	loop->n_ready = MAX(n, 0);
	for (int i = 0; i < loop->n_ready; i++) {
		struct loop_io *io = loop->ready[i].data.ptr;

		if (io)
			io->fn(io, loop->ready[i].events);
	}
	loop->n_ready = 0;
	run_timers(loop);
	run_deferred(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	loop->quit = false;
	while (!loop->quit) {
		int r = loop_round(loop, USEC_NEVER);

		if (r < 0)
			return r;
	}
	return loop->code;
}
