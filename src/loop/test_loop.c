/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "loop/loop.h"

static struct loop *loop;
static struct buf trace;

static int setup(_unused_ void **state)
{
	return loop_new(&loop);
}

static int teardown(_unused_ void **state)
{
	sigset_t none;

	loop_free(loop);
	buf_fini(&trace);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* --- timers --- */

struct named_timer {
	struct loop_timer timer;
	const char *name;
	struct loop_timer *cancels;
};

static void on_timer(struct loop_timer *timer)
{
	struct named_timer *named = container_of(timer, struct named_timer, timer);

	buf_adds(&trace, named->name);
	if (named->cancels)
		loop_timer_cancel(named->cancels);
	if (*named->name == 'z')
		loop_quit(loop, 7);
}

static void test_timers_fire_in_order(_unused_ void **state)
{
	struct named_timer a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"},
			   d = {.name = "d"}, z = {.name = "z"};
	uint64_t now = clock_now();

	loop_timer_set(loop, &z.timer, now + 4000, on_timer);
	loop_timer_set(loop, &b.timer, now + 2000, on_timer);
	loop_timer_set(loop, &c.timer, now + 3000, on_timer);
	loop_timer_set(loop, &a.timer, 0, on_timer); /* long past */
	loop_timer_set(loop, &d.timer, now + 100, on_timer);
	loop_timer_set(loop, &d.timer, now + 3500, on_timer); /* set again: later */
	c.cancels = &d.timer;
	assert_int_equal(loop_run(loop), 7);
	assert_string_equal(trace.data, "abcz");
	assert_true(clock_now() >= now + 4000);
	assert_null(a.timer.loop);
	assert_null(d.timer.loop);
	loop_timer_set(loop, &a.timer, USEC_NEVER, on_timer);
	assert_null(a.timer.loop);
	loop_timer_cancel(&a.timer); /* not armed: fine */
}

static void on_repeat(struct loop_timer *timer)
{
	buf_addc(&trace, '.');
	if (trace.len < 5)
		loop_timer_set(loop, timer, clock_now(), on_repeat);
	else
		loop_quit(loop, 0);
}

static void test_timer_sets_itself(_unused_ void **state)
{
	struct loop_timer timer = {0};

	loop_timer_set(loop, &timer, 0, on_repeat);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace.data, ".....");
}

/* --- deferred work --- */

static struct loop_defer first, second, third;

static void on_third(_unused_ struct loop_defer *defer)
{
	buf_addc(&trace, '3');
}

static void on_first(struct loop_defer *defer)
{
	buf_addc(&trace, '1');
	loop_defer(loop, defer, on_third); /* itself: next round */
	loop_defer_cancel(&third);
}

static void on_second(_unused_ struct loop_defer *defer)
{
	buf_addc(&trace, '2');
}

static void test_deferred(_unused_ void **state)
{
	loop_defer(loop, &first, on_first);
	loop_defer(loop, &second, on_second);
	loop_defer(loop, &second, on_third); /* queued already */
	loop_defer(loop, &third, on_third);
	assert_int_equal(loop_round(loop, 0), 0);
	assert_string_equal(trace.data, "12");
	/* Something is queued, so the round does not wait. */
	assert_int_equal(loop_round(loop, USEC_NEVER), 0);
	assert_string_equal(trace.data, "123");
	loop_defer_cancel(&third);
}

/* --- descriptors --- */

struct pipe_source {
	struct loop_io io;
	struct pipe_source *frees; /* another source, removed by this one's handler */
	int n;
};

static void on_readable(struct loop_io *io, uint32_t events)
{
	struct pipe_source *source = container_of(io, struct pipe_source, io);

	assert_true(events & EPOLLIN);
	source->n++;
	if (source->frees) {
		loop_io_remove(&source->frees->io);
		memset(&source->frees->io, 0xee, sizeof(source->frees->io));
	}
}

static void test_io(_unused_ void **state)
{
	struct pipe_source source = {0};
	int fds[2], file;

	assert_int_equal(fd_socketpair(fds), 0);
	assert_int_equal(loop_io_add(loop, &source.io, fds[0], EPOLLIN, on_readable), 0);
	loop_round(loop, 0);
	assert_int_equal(source.n, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	loop_round(loop, 0);
	loop_round(loop, 0);
	assert_int_equal(source.n, 2); /* level-triggered */
	assert_int_equal(loop_io_set(&source.io, 0), 0);
	loop_round(loop, 0);
	assert_int_equal(source.n, 2);
	assert_int_equal(loop_io_set(&source.io, EPOLLIN), 0);
	loop_round(loop, 0);
	assert_int_equal(source.n, 3);
	loop_io_remove(&source.io);
	loop_io_remove(&source.io);
	loop_round(loop, 0);
	assert_int_equal(source.n, 3);
	file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(loop_io_add(loop, &source.io, file, EPOLLIN, on_readable), -EPERM);
	close(file);
	close(fds[0]);
	close(fds[1]);
}

/* Two are ready in one round; whichever comes first removes the other. */
static void test_io_removes_another(_unused_ void **state)
{
	struct pipe_source a = {0}, b = {0};
	int one[2], two[2];

	assert_int_equal(fd_socketpair(one), 0);
	assert_int_equal(fd_socketpair(two), 0);
	a.frees = &b;
	b.frees = &a;
	assert_int_equal(loop_io_add(loop, &a.io, one[0], EPOLLIN, on_readable), 0);
	assert_int_equal(loop_io_add(loop, &b.io, two[0], EPOLLIN, on_readable), 0);
	assert_int_equal(write(one[1], "x", 1), 1);
	assert_int_equal(write(two[1], "x", 1), 1);
	loop_round(loop, 0);
	assert_int_equal(a.n + b.n, 1);
	loop_io_remove(a.n ? &a.io : &b.io);
	for (int i = 0; i < 2; i++) {
		close(one[i]);
		close(two[i]);
	}
}

/* --- signals and children --- */

static void on_signal(struct loop_signal *source, int signo)
{
	buf_addf(&trace, "%d ", signo == SIGUSR1 ? 1 : 2);
	if (signo == SIGUSR2)
		loop_quit(loop, 0);
	else
		loop_signal_remove(source);
}

static void test_signals(_unused_ void **state)
{
	struct loop_signal one, two;

	assert_int_equal(loop_signal_add(loop, &one, SIGUSR1, on_signal), 0);
	assert_int_equal(loop_signal_add(loop, &two, SIGUSR2, on_signal), 0);
	kill(getpid(), SIGUSR1);
	loop_round(loop, 0);
	kill(getpid(), SIGUSR1); /* nobody's any more */
	kill(getpid(), SIGUSR2);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace.data, "1 2 ");
	loop_signal_remove(&two);
	loop_signal_remove(&two);
}

static int n_children;

static void on_child(struct loop_child *child, int status)
{
	buf_addf(&trace, "%d ", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	assert_null(child->loop);
	if (--n_children == 0)
		loop_quit(loop, 0);
}

static pid_t child_that(int code, bool hangs)
{
	pid_t pid = fork();

	if (pid == 0) {
		while (hangs)
			pause();
		_exit(code);
	}
	assert_true(pid > 0);
	return pid;
}

static void test_children(_unused_ void **state)
{
	struct loop_child early, killed, ignored;
	pid_t pid;

	n_children = 2;
	pid = child_that(5, false);
	usleep(20000); /* ended before anybody watches */
	assert_int_equal(loop_child_add(loop, &early, pid, on_child), 0);
	pid = child_that(0, true);
	assert_int_equal(loop_child_add(loop, &killed, pid, on_child), 0);
	kill(pid, SIGKILL);
	pid = child_that(9, false);
	assert_int_equal(loop_child_add(loop, &ignored, pid, on_child), 0);
	loop_child_remove(&ignored);
	assert_int_equal(loop_run(loop), 0);
	assert_true(strstr(trace.data, "5 ") && strstr(trace.data, "-9 "));
	/* The one that nobody watches any more is reaped all the same. */
	for (int i = 0; i < 100 && kill(pid, 0) == 0; i++)
		loop_round(loop, 10000);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(n_children, 0); /* and told to nobody */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timers_fire_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_sets_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deferred, setup, teardown),
		cmocka_unit_test_setup_teardown(test_io, setup, teardown),
		cmocka_unit_test_setup_teardown(test_io_removes_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_children, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
