/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uevents.h"

#include <errno.h>

#include "loop/test.h"

static struct agent agent;

/* --- the time is up --- */

static void time_is_up_body(void)
{
	assert_int_equal(uevents_wait(&agent, clock_now()), -ETIMEDOUT);
	assert_int_equal(uevents_wait(&agent, clock_after(1000)), 0);
}

/* A driver that is being loaded may make the device: on a loaded host the time was up before. */
static void drivers_are_waited_for_body(void)
{
	uint64_t began = clock_now();

	agent.n_loading = 1;
	for (int i = 0; i < 3; i++)
		assert_int_equal(uevents_wait(&agent, began), 0);
	assert_true(clock_now() > began);
	agent.n_loading = 0;
	assert_int_equal(uevents_wait(&agent, began), -ETIMEDOUT);
}

static void load_present(void *arg)
{
	bool *done = arg;

	uevents_load_present(&agent);
	*done = true;
}

/* As long as the child runs the wait goes on, and its end is the end of the wait. */
static void loading_counts_body(void)
{
	bool done = false;

	co_start(agent.loop, load_present, &done);
	while (!agent.n_loading && !done)
		co_pause();
	assert_false(done);
	while (!done)
		assert_int_equal(uevents_wait(&agent, 0), 0);
	assert_int_equal(agent.n_loading, 0);
	assert_int_equal(uevents_wait(&agent, 0), -ETIMEDOUT);
}

static int set_up(void **state)
{
	(void)state;
	return loop_new(&agent.loop);
}

static int tear_down(void **state)
{
	(void)state;
	uevents_close(&agent);
	loop_free(TAKE_PTR(agent.loop));
	return 0;
}

/* With events and, as for an unprivileged process, without. */
static void both(void (*body)(void))
{
	test_in_coroutine(agent.loop, body);
	uevents_open(&agent);
	test_in_coroutine(agent.loop, body);
}

static void time_is_up(void **state)
{
	(void)state;
	both(time_is_up_body);
}

static void drivers_are_waited_for(void **state)
{
	(void)state;
	both(drivers_are_waited_for_body);
}

static void loading_counts(void **state)
{
	(void)state;
	both(loading_counts_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(time_is_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(drivers_are_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loading_counts, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
