/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The event loop: one per process, one thread. Sources are embedded in their owners and registered
 * here; the loop allocates nothing per source and never owns a descriptor. Handlers never block.
 *
 * A round: wait in epoll(7) until the next timer, dispatch ready descriptors, then due timers, then
 * deferred work (in the order it was queued, what it queues itself waits for the next round).
 * A handler may add, change, remove and free any source, its own included.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/list.h"

struct loop;

/* loop_new: returns 0 or -errno; blocks SIGPIPE by ignoring it. loop_free: NULL is fine. */
int loop_new(struct loop **ret);
void loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free)
/* loop_run: rounds until loop_quit(); returns its code, or -errno when epoll fails. */
int loop_run(struct loop *loop);
/* loop_round: one round that waits at most usec. Returns 0 or -errno. For tests and fuzzers. */
int loop_round(struct loop *loop, uint64_t usec);
void loop_quit(struct loop *loop, int code);

/* --- descriptors (level-triggered) --- */

struct loop_io;
typedef void (*loop_io_fn)(struct loop_io *io, uint32_t events);

struct loop_io {
	struct loop *loop; /* NULL: not registered */
	int fd;
	uint32_t events;
	loop_io_fn fn;
};

/* loop_io_add: events as in epoll_ctl(2). A descriptor that epoll refuses (a regular file) gives
 * -EPERM. */
int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn fn);
/* loop_io_set: change the events (0 still reports EPOLLERR and EPOLLHUP). */
int loop_io_set(struct loop_io *io, uint32_t events);
/* loop_io_remove: before the descriptor is closed; unregistered is fine. */
void loop_io_remove(struct loop_io *io);

/* --- timers --- */

struct loop_timer;
typedef void (*loop_timer_fn)(struct loop_timer *timer);

struct loop_timer {
	struct loop *loop; /* NULL: not armed */
	uint64_t deadline;
	struct list link;
	loop_timer_fn fn;
};

/* loop_timer_set: call fn once at the monotonic instant `deadline` (USEC_NEVER disarms). Re-arms.
 */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline,
		    loop_timer_fn fn);
void loop_timer_cancel(struct loop_timer *timer);

/* --- deferred work --- */

struct loop_defer;
typedef void (*loop_defer_fn)(struct loop_defer *defer);

struct loop_defer {
	struct loop *loop; /* NULL: not queued */
	struct list link;
	loop_defer_fn fn;
};

/* loop_defer: call fn once later in this round or in the next; queued already is fine. */
void loop_defer(struct loop *loop, struct loop_defer *defer, loop_defer_fn fn);
void loop_defer_cancel(struct loop_defer *defer);

/* --- signals --- */

struct loop_signal;
typedef void (*loop_signal_fn)(struct loop_signal *source, int signo);

struct loop_signal {
	struct loop *loop;
	int signo;
	loop_signal_fn fn;
	struct list link;
};

/* loop_signal_add: block signo and call fn when it arrives (signalfd). Returns 0 or -errno. */
int loop_signal_add(struct loop *loop, struct loop_signal *source, int signo, loop_signal_fn fn);
void loop_signal_remove(struct loop_signal *source);

/* --- children --- */

struct loop_child;
typedef void (*loop_child_fn)(struct loop_child *child, int status);

struct loop_child {
	struct loop *loop; /* NULL: not watched */
	pid_t pid;
	loop_child_fn fn;
	struct list link;
};

/*
 * loop_child_add: call fn(child, status as of waitpid(2)) once when pid has ended; it is reaped by
 * then. From the first call on the loop reaps **every** child of the process, watched or not;
 * register a child in the same handler that forked it. Returns 0 or -errno.
 */
int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, loop_child_fn fn);
void loop_child_remove(struct loop_child *child);
