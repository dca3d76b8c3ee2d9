/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's clock when the host's jumps. */
#include <stdlib.h>
#include <time.h>

#include "runtime/sandbox_fixture.h"

#define METHOD "SetGuestDateTime"
#define WAIT   (10 * USEC_PER_SEC)

static unsigned int n_set(void)
{
	return count(fake_agent_log(fake_vm_agent()), METHOD);
}

static void await_set(unsigned int more_than)
{
	uint64_t deadline = clock_after(test_limit(WAIT));

	while (n_set() <= more_than) {
		if (clock_now() > deadline)
			fail_msg("it is not set");
		co_sleep(USEC_PER_MSEC);
	}
}

/* As the kernel would tell it. */
static void jump(void)
{
	sandbox->clock.jumped(&sandbox->clock);
}

static void followed_body(void)
{
	unsigned int n;

	start();
	n = n_set();
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(n_set(), n);
	jump();
	await_set(n);
	/* Again while the first is under way: it is not forgotten. */
	n = n_set();
	fake_agent_delay(fake_vm_agent(), METHOD, 20 * USEC_PER_MSEC);
	jump();
	co_sleep(5 * USEC_PER_MSEC);
	jump();
	await_set(n + 1);
	stop();
}

static void followed(_unused_ void **state)
{
	in_coroutine(followed_body);
}

/* It cannot be set: the sandbox lives on, and the next jump is another chance. */
static void refused_body(void)
{
	unsigned int n;

	start();
	fake_agent_fail(fake_vm_agent(), METHOD, -EPERM, "no");
	n = n_set();
	jump();
	await_set(n);
	run("c1");
	fake_agent_fail(fake_vm_agent(), METHOD, 0, "");
	n = n_set();
	jump();
	await_set(n);
	stop();
}

static void refused(_unused_ void **state)
{
	in_coroutine(refused_body);
}

static void dies_body(void)
{
	start();
	fake_agent_delay(fake_vm_agent(), METHOD, 200 * USEC_PER_MSEC);
	jump();
	co_sleep(5 * USEC_PER_MSEC);
	fake_vm_die("killed");
	co_sleep(USEC_PER_MSEC);
	jump();
	stop();
}

static void dies(_unused_ void **state)
{
	in_coroutine(dies_body);
}

static void shift(int seconds)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	now.tv_sec += seconds;
	assert_int_equal(clock_settime(CLOCK_REALTIME, &now), 0);
}

static void host_is_set_body(void)
{
	unsigned int n;

	start();
	n = n_set();
	shift(3600);
	await_set(n);
	n = n_set();
	shift(-3600);
	await_set(n);
	stop();
}

static void host_is_set(_unused_ void **state)
{
	if (!getenv("KATA_TEST_OWN_MACHINE"))
		skip_test("sets the machine's clock");
	in_coroutine(host_is_set_body);
}

SANDBOX_TESTS(TEST(followed), TEST(refused), TEST(dies), TEST(host_is_set))
