/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: global options stand before the command or behind it, options of the command
 * anywhere behind it, until "--" or, for commands that start a program, until the first argument.
 * getopt_long() is not used because it abbreviates names and cannot say what was probably meant.
 */
#include <errno.h>
#include <stdint.h>

#include "cli/cli.h"

/* How far apart two names may be for one to be suggested for the other. */
static size_t distance_limit(const char *name)
{
	return 1 + strlen(name) / 3;
}

/* Levenshtein's distance of short words; SIZE_MAX when they are long. */
static size_t word_distance(const char *a, const char *b)
{
	size_t row[33] = {0}, n = strlen(a), m = strlen(b);

	if (n > 32 || m > 32)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t changed = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			row[j] = MIN(changed, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[m];
}

const struct cli_command *cli_find_command(const char *name)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (streq((*c)->name, name) || ((*c)->alias && streq((*c)->alias, name)))
			return *c;
	return NULL;
}

static int unknown_command(const char *name, struct err *err)
{
	const char *best = NULL;
	size_t limit = distance_limit(name) + 1;

	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		size_t distance = word_distance((*c)->name, name);

		if ((*c)->hidden || distance >= limit)
			continue;
		limit = distance;
		best = (*c)->name;
	}
	if (best)
		return err_setx(err, -EINVAL, "unknown command \"%s\": did you mean %s?", name,
				best);
	return err_setx(err, -EINVAL, "unknown command \"%s\": see " CLI_PROGRAM " --help", name);
}

/* --- options --- */

static const struct cli_option *find_long(const struct cli_option *options, const char *name,
					  size_t n)
{
	for (const struct cli_option *o = options; o && o->name; o++) {
		if (strncmp(o->name, name, n) == 0 && !o->name[n])
			return o;
		if (o->alias && strncmp(o->alias, name, n) == 0 && !o->alias[n])
			return o;
	}
	return NULL;
}

static const struct cli_option *find_letter(const struct cli_option *options, char letter)
{
	for (const struct cli_option *o = options; o && o->name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static void nearest_option(const struct cli_option *options, const char *name, size_t *limit,
			   const char **best)
{
	for (const struct cli_option *o = options; o && o->name; o++) {
		size_t distance = word_distance(o->name, name);

		if (o->hidden || distance >= *limit)
			continue;
		*limit = distance;
		*best = o->name;
	}
}

static int unknown_option(const struct cli *cli, const char *arg, struct err *err)
{
	_cleanup_(freep) char *name = xstrndup(arg + strspn(arg, "-"), strcspn(arg, "="));
	size_t limit = distance_limit(name) + 1;
	const char *best = NULL;

	nearest_option(cli_global_options, name, &limit, &best);
	if (cli->command)
		nearest_option(cli->command->options, name, &limit, &best);
	if (best)
		return err_setx(err, -EINVAL, "unknown option %s: did you mean --%s?", arg, best);
	return err_setx(err, -EINVAL, "unknown option %s: see " CLI_PROGRAM "%s%s --help", arg,
			cli->command ? " " : "", cli->command ? cli->command->name : "");
}

/* Where what is given for the option is kept; global options and those of the command alike. */
static struct cli_given *slot(struct cli *cli, const struct cli_option *option)
{
	const struct cli_option *o = cli->command ? cli->command->options : NULL;

	for (size_t i = 0; o && o[i].name; i++)
		if (&o[i] == option)
			return &cli->given[i];
	return &cli->global[option - cli_global_options];
}

static bool is_choice(const char *choices, const char *value)
{
	size_t n = strlen(value);

	for (;;) {
		size_t len = strcspn(choices, "|");

		if (len == n && memcmp(choices, value, n) == 0)
			return true;
		if (!choices[len])
			return false;
		choices += len + 1;
	}
}

static int store(struct cli *cli, const struct cli_option *option, const char *value,
		 struct err *err)
{
	struct cli_given *given = slot(cli, option);

	if (option->choices && !is_choice(option->choices, value))
		return err_setx(err, -EINVAL, "--%s must be %s, not \"%s\"", option->name,
				option->choices, value);
	if (!option->repeated)
		strv_fini(&given->values);
	strv_add(&given->values, value);
	given->present = true;
	return 0;
}

/* One option at argv[*i]; advances *i over a value in the next word. */
static int parse_option(struct cli *cli, int argc, char **argv, int *i, struct err *err)
{
	const char *arg = argv[*i], *value = NULL;
	const struct cli_option *option = NULL, *own;

	own = cli->command ? cli->command->options : NULL;
	if (arg[1] == '-') {
		size_t n = strcspn(arg + 2, "=");

		option = find_long(own, arg + 2, n);
		if (!option)
			option = find_long(cli_global_options, arg + 2, n);
		value = arg[2 + n] ? arg + 2 + n + 1 : NULL;
	} else {
		option = find_letter(own, arg[1]);
		if (!option)
			option = find_letter(cli_global_options, arg[1]);
		value = arg[2] ? arg + 2 : NULL;
		if (option && value && !option->value)
			option = NULL;
	}
	if (!option)
		return unknown_option(cli, arg, err);
	if (!option->value && value)
		return err_setx(err, -EINVAL, "--%s takes no value", option->name);
	if (option->value && !value) {
		if (*i + 1 >= argc)
			return err_setx(err, -EINVAL, "--%s needs a value: %s", option->name,
					option->value);
		value = argv[++*i];
	}
	return store(cli, option, value ? value : "", err);
}

static int check_arguments(const struct cli *cli, struct err *err)
{
	const struct cli_command *c = cli->command;
	int n = (int)cli->args.n;

	if (n < c->min_args)
		return err_setx(err, -EINVAL, "%s needs %s", c->name, c->arguments);
	if (c->max_args >= 0 && n > c->max_args)
		return err_setx(err, -EINVAL, "%s: unexpected argument \"%s\"", c->name,
				cli->args.v[c->max_args]);
	return 0;
}

int cli_parse(struct cli *cli, int argc, char **argv, struct err *err)
{
	int r, i = 1;

	for (; i < argc; i++) {
		const char *arg = argv[i];

		if (streq(arg, "--") && cli->command) {
			i++;
			break;
		}
		if (arg[0] == '-' && arg[1]) {
			r = parse_option(cli, argc, argv, &i, err);
			if (r < 0)
				return r;
			continue;
		}
		if (!cli->command) {
			cli->command = cli_find_command(arg);
			if (!cli->command)
				return unknown_command(arg, err);
			continue;
		}
		if (cli->command->rest)
			break;
		strv_add(&cli->args, arg);
	}
	for (; i < argc; i++)
		strv_add(&cli->args, argv[i]);
	if (!cli->command || cli_has(cli, "help"))
		return 0;
	return check_arguments(cli, err);
}

void cli_fini(struct cli *cli)
{
	for (size_t i = 0; i < CLI_OPTIONS_MAX; i++) {
		strv_fini(&cli->global[i].values);
		strv_fini(&cli->given[i].values);
	}
	strv_fini(&cli->args);
}

const struct cli_given *cli_given(const struct cli *cli, const char *name)
{
	const struct cli_option *o = NULL;

	if (cli->command)
		o = find_long(cli->command->options, name, strlen(name));
	if (!o)
		o = find_long(cli_global_options, name, strlen(name));
	return o ? slot((struct cli *)cli, o) : NULL;
}

bool cli_has(const struct cli *cli, const char *name)
{
	const struct cli_given *given = cli_given(cli, name);

	return given && given->present;
}

const char *cli_value(const struct cli *cli, const char *name, const char *fallback)
{
	const struct cli_given *given = cli_given(cli, name);

	return given && given->present ? given->values.v[given->values.n - 1] : fallback;
}
