/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "cli/commands.h"

#define ARGV_MAX 16

/* Parse the words of a line, blank-separated, behind the program's name. */
static int parse(struct cli *cli, const char *line, struct err *err)
{
	_cleanup_(strv_fini) struct strv words = {0};

	*cli = (struct cli){0};
	strv_add(&words, CLI_PROGRAM);
	strv_split(&words, line, " ");
	assert_true(words.n < ARGV_MAX);
	return cli_parse(cli, (int)words.n, words.v, err);
}

static void test_parsed(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	struct cli cli;

	assert_int_equal(parse(&cli, "--config /a --log=/b env --json sb --config=/c", &err), 0);
	assert_string_equal(cli.command->name, "env");
	assert_true(cli_has(&cli, "json"));
	assert_string_equal(cli_value(&cli, "config", "x"), "/c");
	assert_string_equal(cli_value(&cli, "log", "x"), "/b");
	assert_string_equal(cli_value(&cli, "log-format", "text"), "text");
	assert_int_equal(cli.args.n, 1);
	cli_fini(&cli);

	assert_int_equal(parse(&cli, "kata-check -v -n", &err), 0);
	assert_string_equal(cli.command->name, "check");
	assert_true(cli_has(&cli, "verbose"));
	assert_false(cli_has(&cli, "version"));
	cli_fini(&cli);

	assert_int_equal(parse(&cli, "--kata-config /x -v", &err), 0);
	assert_null(cli.command);
	assert_true(cli_has(&cli, "version"));
	assert_string_equal(cli_value(&cli, "config", ""), "/x");
	cli_fini(&cli);

	/* An argument that looks like an option, behind "--". */
	assert_int_equal(parse(&cli, "env -- --json", &err), 0);
	assert_false(cli_has(&cli, "json"));
	assert_string_equal(cli.args.v[0], "--json");
	cli_fini(&cli);

	/* --help is served whatever is missing. */
	assert_int_equal(parse(&cli, "metrics --help", &err), 0);
	cli_fini(&cli);
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{"cheek", "did you mean check?"},
		{"lst", "did you mean list?"},
		{"xylophone", "see kata-runtime --help"},
		{"list --fromat json", "did you mean --format?"},
		{"list --confg x", "did you mean --config?"},
		{"list --zzzzzzz", "see kata-runtime list --help"},
		{"list --format", "--format needs a value"},
		{"list --format xml", "must be table|json"},
		{"list --format table|json", "must be table|json"},
		{"list --quiet=yes", "takes no value"},
		{"list -qx", "unknown option -qx"},
		{"list x", "unexpected argument \"x\""},
		{"metrics", "metrics needs SANDBOX"},
		{"env a b", "unexpected argument \"b\""},
		{"--log-format xml list", "must be text|json"},
		{"-z", "unknown option -z"},
		{"--", "unknown option --"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct cli cli;
		int r = parse(&cli, cases[i].line, &err);

		if (r != -EINVAL || !strstr(err_text(&err), cases[i].text))
			fail_msg("%s: %d %s", cases[i].line, r, err_text(&err));
		cli_fini(&cli);
	}
}

/* Every command and option is complete, and no name is there twice. */
static void test_tables(_unused_ void **state)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		size_t n = 0;

		assert_ptr_equal(cli_find_command((*c)->name), *c);
		assert_non_null((*c)->summary);
		assert_non_null((*c)->arguments);
		assert_non_null((*c)->run);
		for (const struct cli_option *o = (*c)->options; o && o->name; o++, n++) {
			assert_non_null(o->help);
			for (const struct cli_option *p = (*c)->options; p < o; p++)
				assert_string_not_equal(o->name, p->name);
		}
		assert_true(n < CLI_OPTIONS_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parsed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
