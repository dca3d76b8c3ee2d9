/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

static void test_reads_from_the_outside_in(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(err_set(&err, -EACCES, "open %s", "/dev/kvm"), -EACCES);
	assert_int_equal(err_wrap(&err, -EACCES, "start %s", "VM"), -EACCES);
	assert_string_equal(err_text(&err), "start VM: open /dev/kvm: Permission denied");
	assert_int_equal(err.code, -EACCES);
	assert_non_null(strstr(err.file, "test_err.c"));
}

static void test_wrap_keeps_the_origin(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	int line;

	err_setx(&err, -ENOENT, "no such container");
	line = err.line;
	assert_int_equal(err_wrap(&err, -EIO, "stop"), -EIO);
	assert_int_equal(err.code, -ENOENT);
	assert_int_equal(err.line, line);
	assert_string_equal(err_text(&err), "stop: no such container");
}

static void test_wrap_of_nothing(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(err_wrap(&err, -EBUSY, "umount"), -EBUSY);
	assert_int_equal(err.code, -EBUSY);
	assert_string_equal(err_text(&err), "umount: Device or resource busy");
}

static void test_set_replaces(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};

	err_setx(&err, -ENOENT, "old");
	err_setx(&err, -EINVAL, "new, once %s", err_text(&err)); /* of its own text */
	assert_string_equal(err_text(&err), "new, once old");
	assert_int_equal(err.code, -EINVAL);
	err_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err_text(&err), "unknown error");
}

static void test_move(_unused_ void **state)
{
	_cleanup_err_ struct err a = {0}, b = {0};

	err_setx(&a, -ENOENT, "a");
	err_setx(&b, -EINVAL, "b");
	err_move(&a, &b);
	assert_string_equal(err_text(&a), "b");
	assert_null(b.msg);
	err_move(NULL, &a);
	assert_null(a.msg);
}

static void test_null(_unused_ void **state)
{
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
	assert_string_equal(err_text(NULL), "unknown error");
	err_clear(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_from_the_outside_in),
		cmocka_unit_test(test_wrap_keeps_the_origin),
		cmocka_unit_test(test_wrap_of_nothing),
		cmocka_unit_test(test_set_replaces),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
