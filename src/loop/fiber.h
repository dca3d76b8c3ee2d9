/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What AddressSanitizer and valgrind must be told when the stack changes. Without them (the
 * ordinary build) everything here is empty.
 */

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif

#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

struct fiber {
	const void *stack; /* ASan learns the loop's own stack on the first switch away from it */
	size_t size;
	void *fake;
	unsigned int valgrind_id;
};

static inline void fiber_register(struct fiber *f, void *stack, size_t size)
{
	f->stack = stack;
	f->size = size;
#ifdef HAVE_VALGRIND
	f->valgrind_id = VALGRIND_STACK_REGISTER(stack, (char *)stack + size);
#endif
}

static inline void fiber_unregister(struct fiber *f)
{
#ifdef HAVE_VALGRIND
	VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#else
	(void)f;
#endif
}

/* What lies on the stack is in use between these two: a coroutine that still waits when the program
 * ends has not leaked what it holds. */
static inline void fiber_begin(struct fiber *f)
{
#ifdef FIBER_ASAN
	__lsan_register_root_region(f->stack, f->size);
#else
	(void)f;
#endif
}

static inline void fiber_end(struct fiber *f)
{
#ifdef FIBER_ASAN
	__lsan_unregister_root_region(f->stack, f->size);
#else
	(void)f;
#endif
}

/* Just before the switch. */
static inline void fiber_leave(struct fiber *from, const struct fiber *to)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&from->fake, to->stack, to->size);
#else
	(void)from;
	(void)to;
#endif
}

/* Just after the switch, on the new stack; `from` (may be NULL) learns where its stack is. */
static inline void fiber_entered(struct fiber *self, struct fiber *from)
{
#ifdef FIBER_ASAN
	const void *stack;
	size_t size;

	__sanitizer_finish_switch_fiber(self->fake, &stack, &size);
	if (from) {
		from->stack = stack;
		from->size = size;
	}
#else
	(void)self;
	(void)from;
#endif
}
