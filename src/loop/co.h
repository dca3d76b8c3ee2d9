/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Stackful coroutines on the loop (design decision 2). A sequence that talks to several peers
 * (boot, create, teardown, an RPC method) is written as one linear function that runs in a
 * coroutine: it "blocks" in the co_ functions below while the loop goes on serving everything else.
 * Not threads: a coroutine runs until it waits, and nothing changes under it in between.
 *
 * Rules: locals may not be shared with other code across a wait unless their owner outlives it;
 * after a wait, look again at whatever others may have changed. A coroutine is not cancelled from
 * outside: what it waits for ends with an error or a deadline instead.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop/loop.h"

struct co;
typedef void (*co_fn)(void *arg);

/* co_start: run fn(arg) in a new coroutine, first entered by the loop in this or the next round. */
void co_start(struct loop *loop, co_fn fn, void *arg);
/* co_self: the coroutine that runs now, NULL outside of one. */
struct co *co_self(void);
/* co_suspend: wait until co_wake(co_self()). A wake that came before the suspend is not lost. */
void co_suspend(void);
/* co_wake: let co go on, from the loop (never directly). Waking it twice is as once. */
void co_wake(struct co *co);
/* co_sleep: wait usec. co_pause: let the loop do one round. */
void co_sleep(uint64_t usec);
void co_pause(void);
/*
 * co_wait_io: wait for events on fd until the monotonic deadline. Returns the events (> 0),
 * -ETIMEDOUT or -errno. fd may not be registered elsewhere at the same time.
 */
int co_wait_io(int fd, uint32_t events, uint64_t deadline);
/* co_wait_child: reap pid; *ret_status as of waitpid(2). Returns 0, -ETIMEDOUT (not reaped then;
 * the loop reaps it later) or -errno. */
int co_wait_child(pid_t pid, uint64_t deadline, int *ret_status);
/*
 * co_run_child: fork, run fn(arg) in the child, and wait. For work that blocks (mount, umount,
 * statfs, large copies). The child ends with us. Its return value (0 or -errno) is the result;
 * -ETIMEDOUT: it was sent SIGKILL; -EIO: it died otherwise. `reply` (may be NULL) receives up to
 * n_reply bytes the child stored there.
 */
int co_run_child(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		 uint64_t deadline);

/* A first-in first-out lock between coroutines. Zero-initialise with co_lock_init. */
struct co_lock {
	struct co *owner;
	struct list waiters;
};

void co_lock_init(struct co_lock *lock);
void co_lock(struct co_lock *lock);
void co_unlock(struct co_lock *lock);

/* Something that coroutines wait for until others say so: co_cond_wait until woken or the deadline.
 */
struct co_cond {
	struct list waiters;
};

void co_cond_init(struct co_cond *cond);
/* Returns 0 when woken, -ETIMEDOUT otherwise. Check the condition again after it. */
int co_cond_wait(struct co_cond *cond, uint64_t deadline);
void co_cond_wake_all(struct co_cond *cond);
