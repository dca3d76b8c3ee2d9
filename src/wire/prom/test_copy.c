/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "wire/prom/copy.h"

static const char *const prefixes[] = {"guest_", "agent_", NULL};

static void check(const char *line, bool kept)
{
	_cleanup_(freep) char *text = xasprintf("guest_before 1\n%s\nguest_after 2\n", line);
	_cleanup_(freep) char *expected = xasprintf("guest_before 1\n%s%sguest_after 2\n",
						    kept ? line : "", kept ? "\n" : "");
	_cleanup_(buf_fini) struct buf out = {0};

	prom_copy(&out, text, prefixes);
	assert_string_equal(out.data, expected);
}

static void what_is_well_formed_is_kept(_unused_ void **state)
{
	static const char *const lines[] = {
		"# HELP guest_x What it is: \\\\ and \\n, f\xc3\xbcr all",
		"# HELP guest_x ",
		"# TYPE guest_x gauge",
		"# TYPE agent_y_seconds histogram",
		"guest_x 1",
		"guest_x -1.5e+10",
		"guest_x NaN",
		"guest_x +Inf",
		"guest_:x9{item=\"a b\"} 0",
		"agent_y_seconds_bucket{le=\"0.1\",action=\"q\\\"uo\\\\te\\n\"} 7",
		"guest_x{a=\"\",_b=\"},\"} 1",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		check(lines[i], true);
}

static void what_is_not_is_left_out(_unused_ void **state)
{
	static const char *const lines[] = {
		"",
		"#",
		"# guest_x comment",
		"# HELP other_x What it is",
		"# HELP guest_x",
		"# HELP guest_x \xff",
		"# HELP guest_x \\t",
		"# HELP guest_x \\",
		"# HELP guest_x a\rb",
		"# TYPE guest_x",
		"# TYPE guest_x gauges",
		"# TYPE guest_x{} gauge",
		"other_x 1",
		"kata_shim_guest_x 1",
		"guest_x",
		"guest_x ",
		"guest_x  1",
		"guest_x 1 ",
		"guest_x 1 1700000000000",
		"guest_x one",
		"guest_x 0x10",
		"guest_x inf",
		"guest_x nan",
		"guest_x 1e",
		"guest_x 1\r",
		"guest_x\xc3\xbc 1",
		"guest_x-y 1",
		"guest_x{} 1",
		"guest_x{a} 1",
		"guest_x{a=b} 1",
		"guest_x{a=\"b} 1",
		"guest_x{a=\"b\"",
		"guest_x{a=\"b\" 1",
		"guest_x{a=\"b\",} 1",
		"guest_x{a=\"b\"}1",
		"guest_x{9a=\"b\"} 1",
		"guest_x{a=\"\\x\"} 1",
		"guest_x{a=\"\xff\"} 1",
		"guest_x{a=\"\x1b[2J\"} 1",
	};
	_cleanup_(buf_fini) struct buf out = {0};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		check(lines[i], false);
	/* The last line needs no end; what is cut off is left out. */
	prom_copy(&out, "guest_x 1", prefixes);
	prom_copy(&out, "guest_x{a=\"", prefixes);
	prom_copy(&out, "", prefixes);
	assert_string_equal(out.data, "guest_x 1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_well_formed_is_kept),
		cmocka_unit_test(what_is_not_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
