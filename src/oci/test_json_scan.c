/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>

#include "oci/json_scan.h"

static char *scan(const char *json)
{
	char *text = NULL;

	assert_int_equal(json_scan(json, strlen(json), 1000, 4, &text, NULL), 0);
	return text;
}

static void test_unchanged(_unused_ void **state)
{
	static const char *const cases[] = {
		"",
		"{\"a\": [1, -2, 3.5e10, 9223372036854775807, -9223372036854775808]}",
		"\"18446744073709551615 \\\" 18446744073709551615 [[[[[[ \"",
		"18446744073709551616",
		"018446744073709551615",
		"1844674407370955161.5",
		"\"unfinished \\",
		"\"\\\"",
		"]]]}}}[[[[",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *text = scan(cases[i]);

		assert_string_equal(text, cases[i]);
	}
}

static void test_huge_numbers(_unused_ void **state)
{
	_cleanup_(freep) char *text = scan("[9223372036854775808,18446744073709551615]");
	uint64_t value;

	assert_string_equal(text, "[\"u64\x7f"
				  "9223372036854775808\",\"u64\x7f"
				  "18446744073709551615\"]");
	assert_int_equal(json_scan_u64("u64\x7f"
				       "18446744073709551615",
				       &value),
			 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(json_scan_u64("18446744073709551615", &value), -EINVAL);
	assert_int_equal(json_scan_u64("u64\x7f", &value), -EINVAL);
}

static void test_refused(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	char *text = NULL;

	assert_int_equal(json_scan("[[[[[", 5, 1000, 4, &text, &err), -EINVAL);
	assert_int_equal(json_scan("{{{{{", 5, 1000, 4, &text, &err), -EINVAL);
	assert_int_equal(json_scan("[][][][][][]", 12, 11, 4, &text, &err), -EFBIG);
	assert_int_equal(json_scan("a\0b", 3, 1000, 4, &text, &err), -EINVAL);
	assert_null(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unchanged),
		cmocka_unit_test(test_huge_numbers),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
