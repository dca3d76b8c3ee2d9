/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "loop/co.h"

static struct loop *loop;
static struct buf trace;
static int running;

static int setup(_unused_ void **state)
{
	return loop_new(&loop);
}

static int teardown(_unused_ void **state)
{
	loop_free(loop);
	buf_fini(&trace);
	return 0;
}

static void finished(void)
{
	if (--running == 0)
		loop_quit(loop, 0);
}

static void start(co_fn fn, void *arg)
{
	running++;
	co_start(loop, fn, arg);
}

static void interleave(void *arg)
{
	for (int i = 0; i < 3; i++) {
		buf_addf(&trace, "%s%d ", (char *)arg, i);
		co_pause();
	}
	finished();
}

static void test_interleaves(_unused_ void **state)
{
	start(interleave, "a");
	start(interleave, "b");
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace.data, "a0 b0 a1 b1 a2 b2 ");
}

static struct co_lock lock;

static void locked(void *arg)
{
	co_lock(&lock);
	buf_addf(&trace, "%s( ", (char *)arg);
	co_sleep(1000);
	buf_addf(&trace, ")%s ", (char *)arg);
	co_unlock(&lock);
	finished();
}

static void test_lock_is_fair(_unused_ void **state)
{
	co_lock_init(&lock);
	start(locked, "a");
	start(locked, "b");
	start(locked, "c");
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace.data, "a( )a b( )b c( )c ");
}

static void wait_io(void *arg)
{
	int *fds = arg;
	char c;

	assert_int_equal(co_wait_io(fds[0], EPOLLIN, clock_after(2000)), -ETIMEDOUT);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(co_wait_io(fds[0], EPOLLIN, USEC_NEVER), EPOLLIN);
	assert_int_equal(read(fds[0], &c, 1), 1);
	finished();
}

static void test_wait_io(_unused_ void **state)
{
	int fds[2];

	assert_int_equal(fd_socketpair(fds), 0);
	start(wait_io, fds);
	assert_int_equal(loop_run(loop), 0);
	close(fds[0]);
	close(fds[1]);
}

static int child_answers(void *arg, void *reply)
{
	strcpy(reply, arg);
	return -ENOTDIR;
}

static int child_hangs(_unused_ void *arg, _unused_ void *reply)
{
	for (;;)
		pause();
	return 0;
}

static int child_dies(_unused_ void *arg, _unused_ void *reply)
{
	_exit(3);
	return 0;
}

static void run_children(_unused_ void *arg)
{
	char reply[16] = "";

	assert_int_equal(co_run_child(child_answers, "hello", reply, sizeof(reply), USEC_NEVER),
			 -ENOTDIR);
	assert_string_equal(reply, "hello");
	assert_int_equal(co_run_child(child_hangs, NULL, NULL, 0, clock_after(5000)), -ETIMEDOUT);
	assert_int_equal(co_run_child(child_dies, NULL, NULL, 0, USEC_NEVER), -EIO);
	finished();
}

static void test_children(_unused_ void **state)
{
	start(run_children, NULL);
	assert_int_equal(loop_run(loop), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static struct co_cond cond;

static void wait_cond(void *arg)
{
	int expected = *(int *)arg;

	assert_int_equal(co_cond_wait(&cond, clock_after(expected ? 1000 : USEC_PER_SEC)),
			 expected);
	finished();
}

static void wake_cond(_unused_ void *arg)
{
	co_sleep(10000);
	co_cond_wake_all(&cond);
	finished();
}

static void test_cond(_unused_ void **state)
{
	int woken = 0, late = -ETIMEDOUT;

	co_cond_init(&cond);
	start(wait_cond, &woken);
	start(wait_cond, &woken);
	start(wait_cond, &late);
	start(wake_cond, NULL);
	assert_int_equal(loop_run(loop), 0);
}

static void deep(_unused_ void *arg)
{
	char big[100000];

	memset(big, 1, sizeof(big));
	co_pause();
	assert_int_equal(big[99999], 1);
	finished();
}

static void test_many(_unused_ void **state)
{
	for (int i = 0; i < 200; i++)
		start(deep, NULL);
	assert_int_equal(loop_run(loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_interleaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_is_fair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_io, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cond, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
