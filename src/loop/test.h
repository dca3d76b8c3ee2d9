/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tests: base/test.h and a coroutine to run a test's body in. */

#include "base/clock.h"
#include "base/test.h"
#include "loop/co.h"

#define TEST_HANG_USEC (120 * USEC_PER_SEC) /* no limit of time, only of a hang */

struct test_body {
	void (*fn)(void);
	bool over;
};

static inline void test_run_body(void *arg)
{
	struct test_body *body = arg;

	body->fn();
	body->over = true;
}

/* test_in_coroutine: run fn in a coroutine of loop to its end. */
static inline void test_in_coroutine(struct loop *loop, void (*fn)(void))
{
	struct test_body body = {.fn = fn};
	uint64_t limit = clock_after(TEST_HANG_USEC);

	co_start(loop, test_run_body, &body);
	while (!body.over) {
		assert_true(clock_now() < limit);
		assert_int_equal(loop_round(loop, 50 * USEC_PER_MSEC), 0);
	}
}
