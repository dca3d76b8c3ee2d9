/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"

static void test_length(_unused_ void **state)
{
	static const struct {
		const char *s;
		size_t length;
	} cases[] = {
		{"", 1},
		{"a", 1},
		{"\x7f", 1},
		{"\x80", 0},
		{"\xc1\xbf", 0}, /* overlong */
		{"\xc2\x80", 2},
		{"\xc2", 0},
		{"\xc2 ", 0},
		{"\xe0\x9f\xbf", 0},
		{"\xe0\xa0\x80", 3},
		{"\xe2\x82\xac", 3},
		{"\xe2\x82", 0},
		{"\xed\x9f\xbf", 3},
		{"\xed\xa0\x80", 0}, /* a surrogate */
		{"\xf0\x8f\xbf\xbf", 0},
		{"\xf0\x90\x80\x80", 4},
		{"\xf0\x90\x80", 0},
		{"\xf4\x8f\xbf\xbf", 4},
		{"\xf4\x90\x80\x80", 0}, /* beyond Unicode */
		{"\xf5\x80\x80\x80", 0},
		{"\xff", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (utf8_length(cases[i].s, SIZE_MAX) != cases[i].length)
			fail_msg("row %zu: %zu", i, utf8_length(cases[i].s, SIZE_MAX));
		/* One byte less than it needs. */
		if (cases[i].length > 1)
			assert_int_equal(utf8_length(cases[i].s, cases[i].length - 1), 0);
	}
}

static void test_fix(_unused_ void **state)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{"", ""},
		{"f\xc3\xbcr", "f\xc3\xbcr"},
		{"\xff ever \xe2\x82", "? ever ??"},
		{"\xed\xa0\x80", "???"},
		{"\xf0\x9f\x98\x80\xf0\x9f", "\xf0\x9f\x98\x80??"},
	};
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		strcpy(text, cases[i].before);
		utf8_fix(text, strlen(text));
		assert_string_equal(text, cases[i].after);
	}
	/* The end of the bytes counts, not the NUL behind them. */
	strcpy(text, "a\xe2\x82\xac");
	utf8_fix(text, 3);
	assert_string_equal(text, "a??\xac");
}

static void test_clean(_unused_ void **state)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{"", ""},
		{"plain\ttext\nof two lines", "plain\ttext\nof two lines"},
		{"caf\xc3\xa9 \xf0\x9f\x90\xb1", "caf\xc3\xa9 \xf0\x9f\x90\xb1"},
		{"\x1b]0;title\x07\x1b[2J\r", "?]0;title??[2J?"},
		{"\x7f\xc2\x9b!", "?\?\?!"}, /* DEL, CSI in the C1 set */
		{"\xc2\xa0", "\xc2\xa0"},
		{"\xff!\xe2\x82", "?!??"},
	};
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		strcpy(text, cases[i].before);
		utf8_clean(text);
		assert_string_equal(text, cases[i].after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_fix),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
