/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"

#define COLUMN 30

static void print_option(const struct cli_option *o)
{
	_cleanup_(freep) char *left = NULL;
	char letter[5] = "    ";

	if (o->hidden)
		return;
	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	left = xasprintf("%s--%s%s%s", letter, o->name, o->value ? " " : "",
			 o->value ? o->value : "");
	printf("  %-*s", COLUMN - 2, left);
	if (strlen(left) > COLUMN - 3)
		printf("\n%*s", COLUMN, "");
	printf("%s\n", o->help);
}

static bool any_shown(const struct cli_option *options)
{
	for (; options && options->name; options++)
		if (!options->hidden)
			return true;
	return false;
}

static void print_options(const char *title, const struct cli_option *options)
{
	if (!any_shown(options))
		return;
	printf("\n%s:\n", title);
	for (; options->name; options++)
		print_option(options);
}

static void print_program_help(void)
{
	printf("Usage: " CLI_PROGRAM " [OPTION]... COMMAND [OPTION]... [ARGUMENT]...\n"
	       "\n"
	       "Looks after Kata Containers on this host, and runs a container in a virtual\n"
	       "machine of its own.\n"
	       "\n"
	       "Commands:\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!(*c)->hidden)
			printf("  %-*s%s\n", COLUMN - 2, (*c)->name, (*c)->summary);
	print_options("Options", cli_global_options);
	printf("\n" CLI_PROGRAM " COMMAND --help says more.\n");
}

void cli_print_help(const struct cli_command *command)
{
	if (!command) {
		print_program_help();
		return;
	}
	printf("Usage: " CLI_PROGRAM " %s%s%s%s\n\n%s.\n", command->name,
	       any_shown(command->options) ? " [OPTION]..." : "", *command->arguments ? " " : "",
	       command->arguments, command->summary);
	if (command->alias)
		printf("Also called %s.\n", command->alias);
	if (command->details)
		printf("\n%s\n", command->details);
	print_options("Options", command->options);
	print_options("Global options", cli_global_options);
}
