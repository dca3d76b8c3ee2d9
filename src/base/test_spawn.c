/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/spawn.h"

/* Runs a shell command; what it prints goes to out. Returns its exit code or -errno of the start.
 */
static int shell(const char *command, struct spawn s, char *out, size_t n)
{
	char *argv[] = {"sh", "-c", (char *)command, NULL};
	int fds[2];
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	s.path = "sh";
	s.argv = argv;
	s.in = -1;
	s.out = fds[1];
	s.err = 2;
	pid = spawn_start(&s);
	close(fds[1]);
	got = fd_read_full(fds[0], out, n - 1);
	out[got > 0 ? got : 0] = '\0';
	close(fds[0]);
	return pid < 0 ? (int)pid : spawn_wait(pid);
}

static void test_output_and_code(_unused_ void **state)
{
	char out[64];

	assert_int_equal(shell("echo $((6 * 7)); exit 3", (struct spawn){0}, out, sizeof(out)), 3);
	assert_string_equal(out, "42\n");
	assert_int_equal(shell("kill -9 $$", (struct spawn){0}, out, sizeof(out)), 128 + 9);
}

static void test_exit_status(_unused_ void **state)
{
	assert_int_equal(spawn_exit_status(0), 0);
	assert_int_equal(spawn_exit_status(3 << 8), 3);
	assert_int_equal(spawn_exit_status(SIGKILL), 137);
	assert_int_equal(spawn_exit_status(SIGSEGV | 0x80), 139);
}

static void test_exec_errors_are_the_callers(_unused_ void **state)
{
	char *argv[] = {"x", NULL};
	struct spawn s = {.argv = argv, .in = -1, .out = -1, .err = -1};

	s.path = "/no/such/program";
	assert_int_equal(spawn_start(&s), -ENOENT);
	s.path = "no-such-program-anywhere";
	assert_int_equal(spawn_start(&s), -ENOENT);
	s.path = "/etc/passwd";
	assert_int_equal(spawn_start(&s), -EACCES);
	s.path = "true";
	s.netns_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(spawn_start(&s) < 0); /* not a namespace */
	close(s.netns_fd);
}

static void test_descriptors(_unused_ void **state)
{
	_cleanup_(closep) int null = open("/dev/null", O_RDONLY);
	int a[2], b[2];
	struct spawn_fd fds[2];
	char out[256];

	assert_int_equal(pipe2(a, 0), 0); /* not close-on-exec: must be closed all the same */
	assert_int_equal(pipe2(b, 0), 0);
	/* Each wants the number that the other has. */
	fds[0] = (struct spawn_fd){a[1], b[1]};
	fds[1] = (struct spawn_fd){b[1], a[1]};
	assert_int_equal(shell("ls /proc/self/fd | grep -v '^[012]$' | sort -n | tr '\\n' ' '",
			       (struct spawn){.fds = fds, .n_fds = 2}, out, sizeof(out)),
			 0);
	{
		char expected[64];

		/* ls has one for the folder: the lowest that is free. */
		snprintf(expected, sizeof(expected), "3 %d %d ", a[1], b[1]);
		assert_string_equal(out, expected);
	}
	snprintf(out, sizeof(out), "echo one >&%d; echo two >&%d", b[1], a[1]);
	{
		char got[64], command[64];

		memcpy(command, out, sizeof(command));
		assert_int_equal(
			shell(command, (struct spawn){.fds = fds, .n_fds = 2}, got, sizeof(got)),
			0);
		assert_int_equal(read(a[0], got, sizeof(got)), 4);
		assert_memory_equal(got, "one\n", 4);
		assert_int_equal(read(b[0], got, sizeof(got)), 4);
		assert_memory_equal(got, "two\n", 4);
	}
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void test_signals_are_reset(_unused_ void **state)
{
	sigset_t set, old;
	char out[64];

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	assert_int_equal(shell("kill -TERM $$; echo alive", (struct spawn){0}, out, sizeof(out)),
			 128 + SIGTERM);
	assert_string_equal(out, "");
	assert_int_equal(shell("kill -PIPE $$; echo alive", (struct spawn){0}, out, sizeof(out)),
			 128 + SIGPIPE);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void test_environment_and_session(_unused_ void **state)
{
	char *envp[] = {"A=b", "PATH=/usr/bin:/bin", NULL};
	char out[128];

	assert_int_equal(shell("echo $A $HOME", (struct spawn){.envp = envp}, out, sizeof(out)), 0);
	assert_string_equal(out, "b\n");
	assert_int_equal(shell("[ $(cut -d' ' -f6 /proc/$$/stat) = $$ ]",
			       (struct spawn){.new_session = true}, out, sizeof(out)),
			 0);
	assert_int_equal(shell("grep -c NoNewPrivs:.1 /proc/self/status",
			       (struct spawn){.no_new_privs = true}, out, sizeof(out)),
			 0);
}

static void test_unprivileged(_unused_ void **state)
{
	char out[128];

	if (getuid() != 0)
		skip_test("needs root");
	assert_int_equal(shell("id -u; id -g; grep -E 'Cap(Eff|Prm|Bnd|Amb)' /proc/self/status | "
			       "grep -vc 0000000000000000",
			       (struct spawn){.uid = 12345, .gid = 54321}, out, sizeof(out)),
			 1); /* grep -c found none */
	assert_string_equal(out, "12345\n54321\n0\n");
}

static void test_dies_with_parent(_unused_ void **state)
{
	char out[32];
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char *argv[] = {"sleep", "60", NULL};
		struct spawn s = {.path = "sleep",
				  .argv = argv,
				  .in = -1,
				  .out = fds[1],
				  .err = -1,
				  .die_with_parent = true};

		_exit(spawn_start(&s) > 0 ? 0 : 1);
	}
	close(fds[1]);
	/* Ends when nobody has the write end any more: parent and grandchild are gone. */
	assert_int_equal(fd_read_full(fds[0], out, sizeof(out)), 0);
	assert_int_equal(spawn_wait(pid), 0);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_code),
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_exec_errors_are_the_callers),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_signals_are_reset),
		cmocka_unit_test(test_environment_and_session),
		cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_dies_with_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
