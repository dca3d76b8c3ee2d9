/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "base/str.h"

static void test_buf(_unused_ void **state)
{
	_cleanup_(buf_fini) struct buf b = {0};
	char *text = buf_take(&b);

	assert_string_equal(text, "");
	free(text);
	buf_adds(&b, "hello ");
	buf_addf(&b, "%d", 42);
	buf_addc(&b, '!');
	assert_string_equal(b.data, "hello 42!");
	buf_consume(&b, 6);
	assert_string_equal(b.data, "42!");
	assert_int_equal(b.len, 3);
	buf_consume(&b, 3);
	assert_string_equal(b.data, "");
}

static void test_strv(_unused_ void **state)
{
	_cleanup_(strv_fini) struct strv s = {0};
	_cleanup_(freep) char *joined = NULL;

	strv_split(&s, ",a,,bc,", ",");
	strv_addf(&s, "%s", "d");
	assert_int_equal(s.n, 3);
	joined = strv_join(&s, "+");
	assert_string_equal(joined, "a+bc+d");
	assert_true(strv_contains(&s, "bc"));
	assert_false(strv_contains(&s, "b"));
	assert_null(s.v[3]);
}

static void test_fixes(_unused_ void **state)
{
	char text[] = "x \n\t";

	assert_true(str_has_suffix("a.toml", ".toml"));
	assert_false(str_has_suffix("toml", ".toml"));
	assert_string_equal(str_skip_prefix("unix:///run", "unix://"), "/run");
	assert_null(str_skip_prefix("vsock://", "unix://"));
	assert_string_equal(str_chomp(text), "x");
	assert_true(streq(NULL, NULL));
	assert_false(streq(NULL, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_strv),
		cmocka_unit_test(test_fixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
