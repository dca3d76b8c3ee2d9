/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/proc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"

static void stat_with_an_awkward_name(void **state)
{
	const char *text = "77 (a) (b c) S 1 77 77 0 -1 4194560 5 0 0 0 10 20 30 40 20 0 3 0 500 "
			   "4096000 250 18446744073709551615 1";
	struct proc_stat stat;

	(void)state;
	assert_int_equal(proc_stat_parse(text, &stat), 0);
	assert_int_equal(stat.state, 'S');
	assert_int_equal(stat.ppid, 1);
	assert_int_equal(stat.utime, 10);
	assert_int_equal(stat.cstime, 40);
	assert_int_equal(stat.threads, 3);
	assert_int_equal(stat.starttime, 500);
	assert_int_equal(stat.rss, 250);
	assert_false(stat.exiting);
}

static void stat_of_one_that_was_killed(void **state)
{
	const char *text = "77 (a) R 1 77 77 0 -1 4194564 5 0 0 0 10 20 30 40 20 0 1 0 500 0 0 0 1";
	struct proc_stat stat;

	(void)state;
	assert_int_equal(proc_stat_parse(text, &stat), 0);
	assert_true(stat.exiting);
}

static void bad_stat_is_refused(void **state)
{
	struct proc_stat stat;

	(void)state;
	assert_int_equal(proc_stat_parse("", &stat), -EBADMSG);
	assert_int_equal(proc_stat_parse("1 (x)", &stat), -EBADMSG);
	assert_int_equal(proc_stat_parse("1 (x) S 1 2 3", &stat), -EBADMSG);
	assert_int_equal(proc_stat_parse("1 (x) S 1 2 x", &stat), -EBADMSG);
}

static uint64_t seen[4];

static void note(const char *key, uint64_t value, void *arg)
{
	static const char *const keys[] = {"VmRSS", "rchar", "nr_free", "Odd"};

	(*(int *)arg)++;
	for (size_t i = 0; i < 4; i++)
		if (strcmp(keys[i], key) == 0)
			seen[i] = value;
}

static void pairs_of_all_kinds(void **state)
{
	char text[] = "Name:\tx\nVmRSS:\t  1234 kB\nrchar: 5\nnr_free 6\nMask:\t00000000,0001\n"
		      "Odd:7\n\nHex: 0f\n:\n";
	int n = 0;

	(void)state;
	proc_pairs_parse(text, note, &n);
	assert_int_equal(n, 4);
	assert_int_equal(seen[0], 1234);
	assert_int_equal(seen[1], 5);
	assert_int_equal(seen[2], 6);
	assert_int_equal(seen[3], 7);
}

static void numbers_of_a_line(void **state)
{
	uint64_t values[3];

	(void)state;
	assert_int_equal(proc_numbers(" 1\t22  333 4444", values, 3), 3);
	assert_int_equal(values[2], 333);
	assert_int_equal(proc_numbers("5 x 6", values, 3), 1);
	assert_int_equal(proc_numbers("-1", values, 3), 0);
	assert_int_equal(proc_numbers("7\n8", values, 3), 1);
	assert_int_equal(proc_numbers("", values, 3), 0);
}

static void oneself(void **state)
{
	struct proc_stat stat;
	int n = proc_fds(0);

	(void)state;
	assert_int_equal(proc_stat_read(0, &stat), 0);
	assert_int_equal(stat.ppid, getppid());
	assert_true(n >= 1);
	assert_int_equal(proc_fds(getpid()), n + 1);
	assert_int_equal(proc_stat_read(0x3fffffff, &stat), -ESRCH);
}

static bool is_among(pid_t pid, const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static void *wait_in_thread(void *fd)
{
	char byte;

	(void)!read(*(int *)fd, &byte, 1);
	return NULL;
}

static void threads(void **state)
{
	pid_t found[8];
	pthread_t thread;
	int fds[2];

	(void)state;
	assert_int_equal(proc_threads(0, found, 8), 1);
	assert_int_equal(found[0], getpid());
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_in_thread, &fds[0]), 0);
	assert_int_equal(proc_threads(getpid(), found, 8), 2);
	assert_true(is_among(getpid(), found, 2));
	/* No more than there is room for. */
	assert_int_equal(proc_threads(0, found, 1), 1);
	assert_int_equal(proc_threads(0, found, 0), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(proc_threads(0x3fffffff, found, 8), 0);
}

/* A child that has one, too. */
static pid_t start_two(int ready[2])
{
	pid_t child = fork();

	if (child == 0) {
		pid_t grandchild = fork();

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (grandchild > 0)
			(void)!write(ready[1], &grandchild, sizeof(grandchild));
		pause();
		_exit(0);
	}
	return child;
}

static void descendants(void **state)
{
	pid_t found[8], child, grandchild;
	int ready[2];

	(void)state;
	assert_int_equal(proc_descendants(0, found, 8), 0);
	assert_int_equal(pipe(ready), 0);
	child = start_two(ready);
	assert_int_equal(read(ready[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_int_equal(proc_descendants(0, found, 8), 2);
	assert_int_equal(found[0], child);
	assert_int_equal(found[1], grandchild);
	assert_int_equal(proc_descendants(child, found, 8), 1);
	assert_int_equal(found[0], grandchild);
	assert_int_equal(proc_descendants(grandchild, found, 8), 0);
	assert_int_equal(proc_descendants(0, found, 1), 1);
	assert_int_equal(found[0], child);
	assert_int_equal(proc_descendants(0, found, 0), 0);
	assert_int_equal(proc_descendants(0x3fffffff, found, 8), 0);
	kill(grandchild, SIGKILL);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stat_with_an_awkward_name),
		cmocka_unit_test(stat_of_one_that_was_killed),
		cmocka_unit_test(bad_stat_is_refused),
		cmocka_unit_test(pairs_of_all_kinds),
		cmocka_unit_test(numbers_of_a_line),
		cmocka_unit_test(oneself),
		cmocka_unit_test(threads),
		cmocka_unit_test(descendants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
