/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/str.h"
#include "base/test.h"
#include "kernel/seccomp.h"

static void test_check(_unused_ void **state)
{
	assert_int_equal(seccomp_check(8), 1);
	assert_int_equal(seccomp_check(8 * SECCOMP_PROGRAM_MAX), SECCOMP_PROGRAM_MAX);
	assert_int_equal(seccomp_check(0), -EINVAL);
	assert_int_equal(seccomp_check(7), -EINVAL);
	assert_int_equal(seccomp_check(9), -EINVAL);
	assert_int_equal(seccomp_check(8 * (SECCOMP_PROGRAM_MAX + 1)), -EINVAL);
}

static void test_flags(_unused_ void **state)
{
	unsigned int flags = 0;

	assert_int_equal(seccomp_parse_flag("SECCOMP_FILTER_FLAG_LOG", &flags), 0);
	assert_int_equal(seccomp_parse_flag("SECCOMP_FILTER_FLAG_SPEC_ALLOW", &flags), 0);
	assert_int_equal(flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	assert_int_equal(seccomp_parse_flag("SECCOMP_FILTER_FLAG_NEW_LISTENER", &flags),
			 -EOPNOTSUPP);
	assert_int_equal(seccomp_parse_flag("", &flags), -EINVAL);
	assert_int_equal(flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
}

/* getppid fails with EXDEV, everything else goes on. */
static void test_load(_unused_ void **state)
{
	const struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			_exit(1);
		if (seccomp_load(program, sizeof(program) - 1, 0) != -EINVAL)
			_exit(2);
		if (seccomp_load(program, sizeof(program), 0) < 0)
			_exit(3);
		_exit(syscall(SYS_getppid) == -1 && errno == EXDEV ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
