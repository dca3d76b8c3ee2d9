/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "wire/ttrpc/ttrpc.h"

static void test_round_trip(_unused_ void **state)
{
	/* Every code has an errno of its own, which leads back to it. */
	for (int code = TTRPC_CANCELLED; code <= TTRPC_UNAUTHENTICATED; code++) {
		int r = ttrpc_errno_of((enum ttrpc_code)code);

		assert_true(r < 0);
		assert_int_equal(ttrpc_code_of(r), code);
	}
	assert_int_equal(ttrpc_errno_of(TTRPC_OK), 0);
	assert_int_equal(ttrpc_code_of(0), TTRPC_OK);
}

static void test_what_containerd_acts_on(_unused_ void **state)
{
	assert_int_equal(ttrpc_code_of(-ENOENT), TTRPC_NOT_FOUND);
	assert_int_equal(ttrpc_code_of(-ESRCH), TTRPC_NOT_FOUND);
	assert_int_equal(ttrpc_code_of(-EEXIST), TTRPC_ALREADY_EXISTS);
	assert_int_equal(ttrpc_code_of(-EBUSY), TTRPC_FAILED_PRECONDITION);
	assert_int_equal(ttrpc_code_of(-ENOSYS), TTRPC_UNIMPLEMENTED);
	assert_int_equal(ttrpc_code_of(-ETIMEDOUT), TTRPC_DEADLINE_EXCEEDED);
	assert_int_equal(ttrpc_code_of(-ECONNREFUSED), TTRPC_UNAVAILABLE);
	assert_int_equal(ttrpc_code_of(-EPERM), TTRPC_PERMISSION_DENIED);
}

static void test_unknown(_unused_ void **state)
{
	assert_int_equal(ttrpc_code_of(-EIO), TTRPC_UNKNOWN);
	assert_int_equal(ttrpc_code_of(-4000), TTRPC_UNKNOWN);
	assert_int_equal(ttrpc_errno_of((enum ttrpc_code)99), -EREMOTEIO);
	assert_int_equal(ttrpc_errno_of((enum ttrpc_code) - 1), -EREMOTEIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_what_containerd_acts_on),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
