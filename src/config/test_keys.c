/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "base/str.h"
#include "config/keys.h"

/* Every row of the table is complete and sensible. */
static void test_table(_unused_ void **state)
{
	size_t n = 0;

	for (const struct key *key = key_next(NULL); key; key = key_next(key), n++) {
		_cleanup_(config_freep) struct config *config = config_default();

		if (key_find(key->section, key->name) != key)
			fail_msg("%s.%s is there twice", key->section, key->name);
		if (key->annotation && key_find_annotation(key->annotation) != key)
			fail_msg("%s has an annotation of another key", key->name);
		assert_true(key_section_known(key->section));
		assert_non_null(key->fallback);
		if (key->status == KEY_SERVED) {
			if (!key->doc || !str_has_suffix(key->doc, ".") || key->why)
				fail_msg("%s is not documented", key->name);
			assert_int_equal(key_set_default(config, key), 0);
		} else if (!key->why || key->doc || str_has_suffix(key->why, ".")) {
			fail_msg("%s has no reason", key->name);
		}
		if (key->status == KEY_REFUSED && key_set_default(config, key) < 0)
			fail_msg("the off value of %s is refused", key->name);
	}
	assert_true(n > 120);
}

/* Two served keys must not share a field. */
static void test_offsets(_unused_ void **state)
{
	for (const struct key *a = key_next(NULL); a; a = key_next(a))
		for (const struct key *b = key_next(a); b; b = key_next(b))
			if (a->status == KEY_SERVED && b->status == KEY_SERVED &&
			    a->offset == b->offset)
				fail_msg("%s and %s share a field", a->name, b->name);
}

static void test_distance(_unused_ void **state)
{
	char long_name[100];

	assert_int_equal(str_distance("", ""), 0);
	assert_int_equal(str_distance("abc", ""), 3);
	assert_int_equal(str_distance("kernel", "kernal"), 1);
	assert_int_equal(str_distance("kernel", "kenrel"), 1);
	assert_int_equal(str_distance("kernel", "kernels"), 1);
	assert_int_equal(str_distance("abcdef", "fedcba"), 5);
	memset(long_name, 'a', sizeof(long_name));
	long_name[99] = '\0';
	assert_true(str_distance(long_name, "a") == SIZE_MAX);
	assert_true(str_distance("a", long_name) == SIZE_MAX);
}

static void test_nearest(_unused_ void **state)
{
	const struct key *key = key_nearest(KEY_HYPERVISOR, "defualt_memory");

	assert_non_null(key);
	assert_string_equal(key->name, "default_memory");
	assert_null(key_nearest(KEY_HYPERVISOR, "xylophone"));
	assert_null(key_nearest(KEY_AGENT, "defualt_memory"));
	key = key_nearest_annotation("config.hypervisor.default_vcpu");
	assert_string_equal(key->name, "default_vcpus");
	assert_false(key_section_known("hypervisor.q"));
	assert_true(key_section_known("hypervisor"));
}

static void test_format(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *config = config_default();
	static const struct {
		const char *section, *name, *text;
	} cases[] = {
		{KEY_HYPERVISOR, "default_memory", "2048"},
		{KEY_HYPERVISOR, "default_vcpus", "1"},
		{KEY_HYPERVISOR, "machine_type", "\"q35\""},
		{KEY_HYPERVISOR, "valid_entropy_sources",
		 "[\"/dev/urandom\", \"/dev/random\", \"\"]"},
		{KEY_RUNTIME, "disable_guest_seccomp", "false"},
		{KEY_AGENT, "kernel_modules", "[]"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct key *key = key_find(cases[i].section, cases[i].name);
		_cleanup_(freep) char *text = key_format(config, key);

		assert_string_equal(text, cases[i].text);
	}
}

/* What is written comes back, whatever is in it. */
static void test_format_round_trip(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *config = config_default();
	const struct key *key = key_find(KEY_HYPERVISOR, "kernel_params");
	_cleanup_(freep) char *text = NULL;

	assert_int_equal(key_set_text(config, key, "a=\"b\\c\" \xc3\xa9", NULL), 0);
	assert_string_equal(config->hypervisor.kernel_params, "a=\"b\\c\" \xc3\xa9");
	text = key_format(config, key);
	assert_string_equal(text, "\"a=\\\"b\\\\c\\\" \xc3\xa9\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),    cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_distance), cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_format),   cmocka_unit_test(test_format_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
