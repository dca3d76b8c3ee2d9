/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "runtime/systemd_scope.h"

#define DEADLINE clock_after(test_limit(20 * USEC_PER_SEC))

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static char *group_of(pid_t pid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/cgroup", (int)pid);
	char *text = NULL;

	assert_int_equal(fs_read(path, 65536, &text, NULL), 0);
	return text;
}

/* The process comes into its unit, a second unit of the name is refused, and the name is free again
 * when the first has ended. */
static void test_start(_unused_ void **state)
{
	_cleanup_(freep) char *unit = xasprintf("kata-test-%d.scope", (int)getpid());
	_cleanup_(freep) char *error = NULL, *again = NULL, *third = NULL, *group = NULL;
	uint64_t deadline = DEADLINE;
	pid_t first = sleeper(), second = sleeper();
	int r;

	assert_int_equal(systemd_scope_start(unit, "kata-test.slice", first, DEADLINE, &error), 0);
	group = group_of(first);
	assert_non_null(strstr(group, "/kata.slice/kata-test.slice/"));
	assert_non_null(strstr(group, unit));
	r = systemd_scope_start(unit, "kata-test.slice", second, DEADLINE, &again);
	assert_int_equal(r, -EREMOTEIO);
	assert_non_null(strstr(again, "org.freedesktop.systemd1.UnitExists"));
	end(first);
	do {
		freep(&third);
		r = systemd_scope_start(unit, "kata-test.slice", second, DEADLINE, &third);
	} while (r == -EREMOTEIO && clock_now() < deadline);
	end(second);
	assert_int_equal(r, 0);
}

/* An empty slice stays. */
static int stop_slice(_unused_ void **state)
{
	return system("systemctl stop kata.slice") == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_start)};

	if (!systemd_is_running() || geteuid() != 0)
		skip_program("systemd does not run, or this is not root");
	return cmocka_run_group_tests(tests, NULL, stop_slice);
}
