/* SPDX-License-Identifier: Apache-2.0 */
/* The checked longjmp() of a fortified build takes a jump to another stack for an error. */
#undef _FORTIFY_SOURCE
#include "loop/co.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "loop/fiber.h"

/*
 * How it works: a coroutine has a stack of its own (reserved, so that only touched pages cost
 * memory, with a guard page below), first entered through a ucontext, from then on by _setjmp and
 * _longjmp, which leave the signal mask alone and need no system call. It is entered by the loop,
 * from a deferred callback, and leaves to the loop: there is no nesting. Finished stacks are kept,
 * a few, for the next one.
 */

#define STACK_SIZE  ((size_t)256 * 1024)
#define STACKS_KEPT 4

struct co {
	struct loop *loop;
	struct loop_defer enter;
	jmp_buf context;
	struct fiber fiber; /* what sanitizers and valgrind want to know */
	char *stack;
	co_fn fn;
	void *arg;
	bool started, woken, suspended, done;
};

static struct co *current;
static jmp_buf loop_context;
static struct fiber loop_fiber;
static struct co *kept[STACKS_KEPT];
static size_t n_kept;

static void leave(struct co *co)
{
	fiber_leave(&co->fiber, &loop_fiber);
	if (_setjmp(co->context) == 0)
		_longjmp(loop_context, 1);
	fiber_entered(&co->fiber, &loop_fiber);
}

/* The bottom of every stack: one coroutine after the other. */
static void trampoline(void)
{
	struct co *co = current;

	fiber_entered(&co->fiber, &loop_fiber);
	for (;;) {
		co->fn(co->arg);
		co->done = true;
		leave(co);
	}
}

/*
 * The first entry into a new stack; it never returns here, but to the loop's setjmp. Its frame is
 * therefore left without clean-up, which AddressSanitizer must not learn of.
 */
static __attribute__((noinline, no_sanitize_address)) void start_trampoline(struct co *co)
{
	ucontext_t first;

	getcontext(&first);
	first.uc_stack.ss_sp = co->stack;
	first.uc_stack.ss_size = STACK_SIZE;
	first.uc_link = NULL;
	makecontext(&first, trampoline, 0);
	setcontext(&first);
	abort();
}

static struct co *co_take(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct co *co;

	if (n_kept)
		return kept[--n_kept];
	co = xnew(struct co);
	co->stack = mmap(NULL, STACK_SIZE + page, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (co->stack == MAP_FAILED ||
	    mprotect(co->stack + page, STACK_SIZE, PROT_READ | PROT_WRITE) < 0)
		abort();
	co->stack += page;
	fiber_register(&co->fiber, co->stack, STACK_SIZE);
	return co;
}

static void co_give(struct co *co)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	fiber_end(&co->fiber);
	if (n_kept < STACKS_KEPT) {
		kept[n_kept++] = co;
		return;
	}
	fiber_unregister(&co->fiber);
	munmap(co->stack - page, STACK_SIZE + page);
	free(co);
}

static void enter(struct loop_defer *defer)
{
	struct co *co = container_of(defer, struct co, enter);

	current = co;
	fiber_leave(&loop_fiber, &co->fiber);
	if (_setjmp(loop_context) == 0) {
		if (co->started)
			_longjmp(co->context, 1);
		co->started = true;
		start_trampoline(co);
	}
	fiber_entered(&loop_fiber, NULL);
	co = TAKE_PTR(current);
	if (co->done)
		co_give(co);
}

void co_start(struct loop *loop, co_fn fn, void *arg)
{
	struct co *co = co_take();

	fiber_begin(&co->fiber);
	co->loop = loop;
	co->fn = fn;
	co->arg = arg;
	co->woken = co->suspended = co->done = false;
	loop_defer(loop, &co->enter, enter);
}

struct co *co_self(void)
{
	return current;
}

void co_suspend(void)
{
	struct co *co = current;

	if (!co->woken) {
		co->suspended = true;
		leave(co);
		co->suspended = false;
	}
	co->woken = false;
}

void co_wake(struct co *co)
{
	co->woken = true;
	if (co->suspended)
		loop_defer(co->loop, &co->enter, enter);
}

/* --- waiting for something --- */

struct waiter {
	struct loop_io io;
	struct loop_timer timer;
	struct loop_child child;
	struct list link;
	struct co *co;
	int result; /* 1: pending */
	int status;
};

static void finish_wait(struct waiter *w, int result)
{
	if (w->result == 1)
		w->result = result;
	co_wake(w->co);
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct waiter *w = container_of(io, struct waiter, io);

	loop_io_remove(io);
	w->status = (int)events;
	finish_wait(w, 0);
}

static void on_timer(struct loop_timer *timer)
{
	finish_wait(container_of(timer, struct waiter, timer), -ETIMEDOUT);
}

static void on_child(struct loop_child *child, int status)
{
	struct waiter *w = container_of(child, struct waiter, child);

	w->status = status;
	finish_wait(w, 0);
}

/* Suspends until the waiter has a result or its deadline passes. */
static int await(struct waiter *w, uint64_t deadline)
{
	loop_timer_set(w->co->loop, &w->timer, deadline, on_timer);
	while (w->result == 1)
		co_suspend();
	loop_timer_cancel(&w->timer);
	return w->result;
}

void co_sleep(uint64_t usec)
{
	struct waiter w = {.co = current, .result = 1};

	await(&w, clock_after(usec));
}

void co_pause(void)
{
	struct co *co = current;

	co->suspended = true;
	loop_defer(co->loop, &co->enter, enter);
	leave(co);
	co->suspended = false;
}

int co_wait_io(int fd, uint32_t events, uint64_t deadline)
{
	struct waiter w = {.co = current, .result = 1};
	int r;

	r = loop_io_add(current->loop, &w.io, fd, events, on_io);
	if (r < 0)
		return r;
	r = await(&w, deadline);
	loop_io_remove(&w.io);
	return r < 0 ? r : w.status;
}

int co_wait_child(pid_t pid, uint64_t deadline, int *ret_status)
{
	struct waiter w = {.co = current, .result = 1};
	int r;

	r = loop_child_add(current->loop, &w.child, pid, on_child);
	if (r < 0)
		return r;
	r = await(&w, deadline);
	loop_child_remove(&w.child);
	if (r == 0)
		*ret_status = w.status;
	return r;
}

int co_run_child(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		 uint64_t deadline)
{
	struct {
		int result;
		_Alignas(16) char reply[]; /* any type may lie there */
	} * shared;
	size_t size = sizeof(*shared) + n_reply;
	pid_t pid, parent = getpid();
	int r, status;

	/* Shared memory rather than a pipe: the answer never blocks and may be large. */
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -errno;
	shared->result = -EIO;
	pid = fork();
	if (pid == 0) {
		/* What it makes after our end would be missed by whoever cleans up behind us. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		/* There is no loop to wait in here. */
		current = NULL;
		shared->result = fn(arg, shared->reply);
		_exit(0);
	}
	if (pid < 0) {
		r = -errno;
	} else {
		r = co_wait_child(pid, deadline, &status);
		if (r == -ETIMEDOUT)
			kill(pid, SIGKILL);
		if (r == 0) {
			r = shared->result;
			if (reply)
				memcpy(reply, shared->reply, n_reply);
		}
	}
	munmap(shared, size);
	return r;
}

/* --- locks and conditions --- */

void co_lock_init(struct co_lock *lock)
{
	lock->owner = NULL;
	list_init(&lock->waiters);
}

void co_lock(struct co_lock *lock)
{
	struct waiter w = {.co = current, .result = 1};

	if (!lock->owner) {
		lock->owner = current;
		return;
	}
	list_add_tail(&lock->waiters, &w.link);
	await(&w, USEC_NEVER);
}

/* Ownership passes directly, so that a newcomer cannot overtake. */
void co_unlock(struct co_lock *lock)
{
	struct waiter *next;

	lock->owner = NULL;
	if (list_empty(&lock->waiters))
		return;
	next = list_first(&lock->waiters, struct waiter, link);
	list_remove(&next->link);
	lock->owner = next->co;
	finish_wait(next, 0);
}

void co_cond_init(struct co_cond *cond)
{
	list_init(&cond->waiters);
}

int co_cond_wait(struct co_cond *cond, uint64_t deadline)
{
	struct waiter w = {.co = current, .result = 1};
	int r;

	list_add_tail(&cond->waiters, &w.link);
	r = await(&w, deadline);
	list_remove(&w.link);
	return r;
}

void co_cond_wake_all(struct co_cond *cond)
{
	while (!list_empty(&cond->waiters)) {
		struct waiter *w = list_first(&cond->waiters, struct waiter, link);

		list_remove(&w->link);
		finish_wait(w, 0);
	}
}
