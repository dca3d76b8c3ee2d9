/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/str.h"
#include "base/test.h"
#include "kernel/caps.h"
#include "kernel/rlimit.h"

static void test_names(_unused_ void **state)
{
	assert_int_equal(CAP_LAST_CAP + 1, CAPS_NUMBER);
	for (int cap = 0; cap < CAPS_NUMBER; cap++) {
		assert_non_null(caps_name(cap));
		assert_int_equal(caps_parse(caps_name(cap)), cap);
		assert_int_equal(caps_parse(caps_name(cap) + 4), cap);
	}
	assert_int_equal(caps_parse("cap_sys_admin"), CAP_SYS_ADMIN);
	assert_int_equal(caps_parse("CAP_"), -EINVAL);
	assert_int_equal(caps_parse(""), -EINVAL);
	assert_int_equal(caps_parse("CAP_CHOWNER"), -EINVAL);
	assert_null(caps_name(CAPS_NUMBER));
	assert_null(caps_name(-1));
	assert_in_range(caps_last(), CAP_AUDIT_READ, 63);
}

/* In a child: what is left out cannot be had again. */
static void test_apply(_unused_ void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct caps none = {.ambient = 1ULL << CAP_CHOWN};
		struct caps all = {.permitted = UINT64_MAX};

		if (caps_apply(&none) < 0)
			_exit(1);
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) != 0)
			_exit(2);
		_exit(caps_apply(&all) == -EPERM ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_rlimits(_unused_ void **state)
{
	assert_int_equal(rlimit_parse("RLIMIT_NOFILE"), RLIMIT_NOFILE);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		assert_int_equal(rlimit_parse(rlimit_name(i)), i);
	assert_int_equal(rlimit_parse("NOFILE"), -EINVAL);
	assert_int_equal(rlimit_parse(""), -EINVAL);
	assert_null(rlimit_name(RLIM_NLIMITS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_rlimits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
