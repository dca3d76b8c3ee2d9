/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/str.h"
#include "wire/toml/toml.h"

static struct toml *parse(const char *text)
{
	struct toml_error error = {0};
	struct toml *root = NULL;
	int r = toml_parse(text, strlen(text), &root, &error);

	if (r < 0)
		print_error("%u:%u: %s\n", error.line, error.column, error.text);
	assert_int_equal(r, 0);
	return root;
}

static void test_types(_unused_ void **state)
{
	_cleanup_(toml_freep) struct toml *t = parse("s = \"a\\u00e9\\n\"\n"
						     "i = -1_000\n"
						     "h = 0xdead_BEEF\n"
						     "f = 6.5e-1\n"
						     "n = -inf\n"
						     "b = true\n"
						     "d = 1979-05-27 07:32:00z\n"
						     "a = [1, [\"x\"], # why\n 2.0,]\n"
						     "m = '''\n\\a'' '''\n"
						     "e = \"\"\"\\\n   \n  x\"\"\"\n"
						     "t = {p.q = 1, r = {}}\n");

	assert_string_equal(toml_get(t, "s")->string.data, "a\xc3\xa9\n");
	assert_int_equal(toml_get(t, "s")->string.len, 4);
	assert_int_equal(toml_get(t, "i")->integer, -1000);
	assert_int_equal(toml_get(t, "h")->integer, 0xdeadbeef);
	assert_true(toml_get(t, "f")->number > 0.649 && toml_get(t, "f")->number < 0.651);
	assert_true(isinf(toml_get(t, "n")->number));
	assert_true(toml_get(t, "b")->boolean);
	assert_int_equal(toml_get(t, "d")->type, TOML_DATETIME);
	assert_string_equal(toml_get(t, "d")->string.data, "1979-05-27T07:32:00Z");
	assert_int_equal(toml_get(t, "a")->items.n, 3);
	assert_int_equal(toml_get(t, "a")->items.v[2]->line, 9);
	assert_string_equal(toml_get(t, "m")->string.data, "\\a'' ");
	assert_string_equal(toml_get(t, "e")->string.data, "x");
	assert_int_equal(toml_get(toml_get(toml_get(t, "t"), "p"), "q")->integer, 1);
	assert_null(toml_get(t, "nothing"));
	for (enum toml_type type = 0; type < _TOML_TYPE_MAX; type++)
		assert_non_null(toml_type_name(type));
}

static void test_places(_unused_ void **state)
{
	_cleanup_(toml_freep) struct toml *t = parse("# \xc3\xa9\n"
						     "\"k\xc3\xa9y\" = 1\r\n"
						     "[a.b]\n"
						     "  x.\"\xc3\xa9\".z = [ 1,\n\t2]\n"
						     "[[l]]\n[[l]]\nk=1\n"
						     "[a]\n");
	const struct toml *a = toml_get(t, "a"), *x = toml_get(toml_get(a, "b"), "x"), *z;

	assert_int_equal(a->line, 9);
	assert_int_equal(toml_get(a, "b")->column, 4);
	z = x->items.v[0]->items.v[0];
	assert_int_equal(z->line, 4);
	assert_int_equal(z->column, 9);
	assert_int_equal(z->items.v[1]->line, 5);
	assert_int_equal(z->items.v[1]->column, 2);
	assert_int_equal(toml_get(t, "l")->items.n, 2);
	assert_int_equal(toml_get(toml_get(t, "l")->items.v[1], "k")->line, 8);
}

static void test_errors(_unused_ void **state)
{
	static const struct {
		const char *text;
		uint32_t line, column;
		const char *part;
	} cases[] = {
		{"a", 1, 2, "\"=\" is missing"},
		{"a = ", 1, 5, "value is missing"},
		{"a = yes", 1, 5, "needs quotes"},
		{"a = truely", 1, 9, "not a value"},
		{"a = 1 b = 2", 1, 7, "line should end"},
		{"a = 1\na = 2", 2, 1, "\"a\" is there twice"},
		{"[a]\n[a]", 2, 2, "twice"},
		{"a = {b = 1}\n[a.c]", 2, 2, "inline table"},
		{"a = {b = 1}\na.c = 1", 2, 1, "defined before"},
		{"[a.b]\nx=1\n[a]\nb.y=2", 4, 1, "dotted key cannot"},
		{"a.b = 1\n[a]", 2, 2, "twice"},
		{"a = 1\n[a.b]", 2, 2, "not a table"},
		{"a = []\n[[a]]", 2, 3, "array of tables"},
		{"a = \"x\n\"", 1, 7, "not closed"},
		{"a = '''x", 1, 9, "''' is missing"},
		{"a = \"\\x41\"", 1, 7, "unknown escape"},
		{"a = \"\\ud800\"", 1, 7, "not a Unicode character"},
		{"a = 9223372036854775808", 1, 5, "64 bits"},
		{"a = 01", 1, 5, "not a value"},
		{"a = 1__0", 1, 5, "not a value"},
		{"a = 2021-02-29", 1, 5, "not a date"},
		{"a = 25:00:00", 1, 5, "not a date"},
		{"a = [1 2]", 1, 8, "\",\" or \"]\""},
		{"a = {b = 1, }", 1, 13, "key is missing"},
		{"# \x01", 1, 3, "control character"},
		{"a = \"\xff\"", 1, 6, "not UTF-8"},
		{"\"\"\"a\"\"\" = 1", 1, 1, "cannot be a key"},
		{"[a", 1, 3, "\"]\" is missing"},
		{"[[a]", 1, 4, "\"]]\" is missing"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct toml_error error = {0};
		struct toml *root = NULL;
		int r = toml_parse(cases[i].text, strlen(cases[i].text), &root, &error);

		if (r != -EINVAL || error.line != cases[i].line ||
		    error.column != cases[i].column || !strstr(error.text, cases[i].part))
			fail_msg("%s: %d %u:%u: %s", cases[i].text, r, error.line, error.column,
				 error.text);
		assert_null(root);
	}
}

/* What a hostile file can make large: nesting, size, number of values. */
static void test_limits(_unused_ void **state)
{
	static const char *const bombs[] = {"[", "{a=", "b.", "\n[[x]]", "\"\"=[\n"};
	struct toml_error error;
	struct toml *root = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bombs); i++) {
		_cleanup_(buf_fini) struct buf text = {0};

		buf_adds(&text, "a=");
		if (bombs[i][0] == 'b' || bombs[i][0] == '\n')
			text.len = 0;
		for (size_t n = 0; n < 30000; n++)
			buf_adds(&text, bombs[i]);
		assert_true(toml_parse(text.data, text.len, &root, &error) < 0);
		assert_null(root);
	}
	{
		_cleanup_(freep) char *text = xmalloc(TOML_SIZE_MAX + 1);

		memset(text, '\n', TOML_SIZE_MAX + 1);
		assert_int_equal(toml_parse(text, TOML_SIZE_MAX + 1, &root, &error), -E2BIG);
		assert_int_equal(toml_parse(text, TOML_SIZE_MAX, &root, &error), 0);
		toml_free(root);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
