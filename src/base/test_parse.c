/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/parse.h"

static void test_u64(_unused_ void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t value;
	} cases[] = {
		{"0", 0, 0},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"0x1F", 0, 31},
		{"0o17", 0, 15},
		{"017", 0, 17},
		{"", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"0x0x1", -EINVAL, 0},
		{"0x-1", -EINVAL, 0},
		{"a", -EINVAL, 0},
		{"1.5", -EINVAL, 0},
		{"0o8", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = 77;

		if (parse_u64(cases[i].text, &value) != cases[i].r ||
		    value != (cases[i].r < 0 ? 77 : cases[i].value))
			fail_msg("\"%s\"", cases[i].text);
	}
}

static void test_i64(_unused_ void **state)
{
	int64_t value;

	assert_int_equal(parse_i64("-9223372036854775808", &value), 0);
	assert_true(value == INT64_MIN);
	assert_int_equal(parse_i64("9223372036854775807", &value), 0);
	assert_true(value == INT64_MAX);
	assert_int_equal(parse_i64("-0x10", &value), 0);
	assert_int_equal(value, -16);
	assert_int_equal(parse_i64("9223372036854775808", &value), -ERANGE);
	assert_int_equal(parse_i64("-9223372036854775809", &value), -ERANGE);
	assert_int_equal(parse_i64("--1", &value), -EINVAL);
	assert_int_equal(parse_i64("-", &value), -EINVAL);
	assert_int_equal(value, -16);
}

static void test_u32_and_octal(_unused_ void **state)
{
	uint32_t value;

	assert_int_equal(parse_u32("4294967295", &value), 0);
	assert_true(value == UINT32_MAX);
	assert_int_equal(parse_u32("4294967296", &value), -ERANGE);
	assert_int_equal(parse_octal("0755", &value), 0);
	assert_int_equal(value, 0755);
	assert_int_equal(parse_octal("644", &value), 0);
	assert_int_equal(value, 0644);
	assert_int_equal(parse_octal("8", &value), -EINVAL);
	assert_int_equal(parse_octal("77777777777777", &value), -ERANGE);
}

static void test_size(_unused_ void **state)
{
	uint64_t value;

	assert_int_equal(parse_size("4096", &value), 0);
	assert_int_equal(value, 4096);
	assert_int_equal(parse_size("2k", &value), 0);
	assert_int_equal(value, 2048);
	assert_int_equal(parse_size("3MiB", &value), 0);
	assert_int_equal(value, 3 << 20);
	assert_int_equal(parse_size("1TB", &value), 0);
	assert_true(value == (uint64_t)1 << 40);
	assert_int_equal(parse_size("7B", &value), 0);
	assert_int_equal(parse_size("16777216T", &value), -ERANGE);
	assert_int_equal(parse_size("1X", &value), -EINVAL);
	assert_int_equal(parse_size("1KX", &value), -EINVAL);
	assert_int_equal(parse_size("K", &value), -EINVAL);
	assert_int_equal(parse_size("", &value), -EINVAL);
	assert_int_equal(value, 7);
}

static void test_bool(_unused_ void **state)
{
	bool value = false;

	assert_int_equal(parse_bool("Yes", &value), 0);
	assert_true(value);
	assert_int_equal(parse_bool("off", &value), 0);
	assert_false(value);
	assert_int_equal(parse_bool("", &value), -EINVAL);
	assert_int_equal(parse_bool("2", &value), -EINVAL);
	assert_int_equal(parse_bool("truee", &value), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u64),           cmocka_unit_test(test_i64),
		cmocka_unit_test(test_u32_and_octal), cmocka_unit_test(test_size),
		cmocka_unit_test(test_bool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
