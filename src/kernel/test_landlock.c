/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/path.h"
#include "base/spawn.h"
#include "base/str.h"
#include "kernel/landlock.h"

/* A shell under a ruleset tries what it may and what it may not. */

#define NO_LANDLOCK "the kernel has no Landlock"

static char dir[] = "/tmp/kata-landlock-XXXXXX";
static char *allowed, *other;
static int ruleset;

static int setup(_unused_ void **state)
{
	struct landlock_rule rules[2];

	if (!mkdtemp(dir))
		return -1;
	allowed = path_join(dir, "allowed");
	other = path_join(dir, "other");
	if (fs_mkdir_all(allowed, 0755) < 0 || fs_mkdir_all(other, 0755) < 0)
		return -1;
	rules[0] = (struct landlock_rule){allowed, true};
	rules[1] = (struct landlock_rule){"/dev", false};
	ruleset = landlock_new(rules, 2);
	return 0;
}

static int teardown(_unused_ void **state)
{
	fs_remove_all(dir);
	free(allowed);
	free(other);
	fd_close(ruleset);
	return 0;
}

static int shell(const char *script)
{
	char *argv[] = {"sh", "-c", (char *)script, allowed, other, NULL};
	/* The very number of the ruleset's descriptor is overwritten on the way. */
	struct spawn_fd fd = {STDERR_FILENO, ruleset};
	struct spawn spawn = {
		.path = "/bin/sh",
		.argv = argv,
		.fds = &fd,
		.n_fds = 1,
		.in = -1,
		.out = -1,
		.err = -1,
		.no_new_privs = true,
		.landlock_fd = ruleset,
	};
	pid_t pid = spawn_start(&spawn);

	assert_true(pid > 0);
	return spawn_wait(pid);
}

static void test_files(_unused_ void **state)
{
	_cleanup_(freep) char *file = NULL, *second = NULL;

	if (ruleset < 0)
		skip_test(NO_LANDLOCK);
	file = path_join(allowed, "file");
	second = path_join(other, "file");
	assert_int_equal(fs_replace(file, "x", 1, 0644, false), 0);
	assert_int_equal(fs_replace(second, "x", 1, 0644, false), 0);
	assert_int_equal(shell("cat $0/file $1/file"), 0);
	assert_int_equal(shell("echo > /dev/null"), 0);
	assert_int_equal(shell("echo y > $0/file"), 0);
	assert_int_not_equal(shell("echo y > $1/file"), 0);
	assert_int_not_equal(shell("echo y > $0/new"), 0);
	assert_int_not_equal(shell("mkdir $0/new"), 0);
	assert_int_not_equal(shell("rm $1/file"), 0);
	assert_int_equal(shell("rm $0/file"), 0);
	assert_true(fs_exists(second));
}

/* A process of the same user cannot be traced from under the ruleset. */
static void test_no_tracing(_unused_ void **state)
{
	_cleanup_(freep) char *memory = NULL;
	_cleanup_(freep) char *script = NULL;
	pid_t victim;
	int fd;

	if (ruleset < 0)
		skip_test(NO_LANDLOCK);
	victim = fork();
	if (victim == 0) {
		pause();
		_exit(0);
	}
	/* Opening the memory is an access check of the same kind as ptrace(2)'s. */
	memory = xasprintf("/proc/%d/mem", victim);
	fd = open(memory, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0); /* the parent of both may */
	close(fd);
	script = xasprintf("exec 3< %s", memory);
	assert_int_not_equal(shell(script), 0);
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
}

static void test_missing_folder(_unused_ void **state)
{
	struct landlock_rule rule = {"/nonexistent", false};

	if (ruleset < 0)
		skip_test(NO_LANDLOCK);
	assert_int_equal(landlock_new(&rule, 1), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_no_tracing),
		cmocka_unit_test(test_missing_folder),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
