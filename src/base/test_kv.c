/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <stdio.h>
#include <time.h>

#include "base/kv.h"

static void test_logfmt(_unused_ void **state)
{
	struct buf b = {0};

	kv_logfmt(&b, "a", "plain");
	kv_logfmt(&b, "b", "two words");
	kv_logfmt(&b, "c", "");
	kv_logfmt(&b, "d", "x=\"y\"\n");
	kv_logfmt(&b, "e", "\x7f");
	assert_string_equal(b.data, "a=plain b=\"two words\" c=\"\" d=\"x=\\\"y\\\"\\n\" "
				    "e=\"\\u007f\"");
	buf_fini(&b);
}

static void test_json(_unused_ void **state)
{
	struct buf b = {0};

	buf_addc(&b, '{');
	kv_json(&b, "k", "v");
	kv_json(&b, "forged\n", "\"}\\{\t\x01");
	buf_addc(&b, '}');
	assert_string_equal(b.data, "{\"k\":\"v\",\"forged\\n\":\"\\\"}\\\\{\\t\\u0001\"}");
	buf_fini(&b);
}

static void test_utf8(_unused_ void **state)
{
#define BAD "\xef\xbf\xbd"
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xe2\x82\xac\xf0\x9f\x90\x9f", "\xe2\x82\xac\xf0\x9f\x90\x9f"},
		{"\xff", BAD},
		{"\xc3", BAD},                         /* cut off */
		{"\xc0\xaf", BAD BAD},                 /* overlong */
		{"\xe0\x80\xaf", BAD BAD BAD},         /* overlong */
		{"\xed\xa0\x80", BAD BAD BAD},         /* surrogate */
		{"\xf4\x90\x80\x80", BAD BAD BAD BAD}, /* beyond Unicode */
		{"a\x80z", "a" BAD "z"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = {0};

		kv_json_string(&b, cases[i].in);
		assert_int_equal(b.len, strlen(cases[i].out) + 2);
		assert_memory_equal(b.data + 1, cases[i].out, strlen(cases[i].out));
		buf_fini(&b);
	}
}

static void test_time(_unused_ void **state)
{
	char text[32], expected[64];

	kv_time(text, 0);
	assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
	kv_time(text, 1709210096000042);
	assert_string_equal(text, "2024-02-29T12:34:56.000042Z");
	/* A step that meets every day of month, leap years and the end of centuries. */
	for (time_t t = 0; t < 10000000000; t += 86400 * 3 + 12345) {
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000Z", &tm);
		kv_time(text, (uint64_t)t * 1000000);
		assert_string_equal(text, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logfmt),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
