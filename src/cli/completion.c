/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion for three shells, written from the table of commands. Sandboxes are completed by
 * asking `kata-runtime list --quiet`.
 */
#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"

static void print_names(const struct cli_option *options)
{
	for (; options && options->name; options++)
		if (!options->hidden)
			printf(" --%s", options->name);
}

static bool takes_sandbox(const struct cli_command *c)
{
	return strstr(c->arguments, "SANDBOX") != NULL;
}

static void print_bash(void)
{
	printf("# bash completion for " CLI_PROGRAM "\n"
	       "_kata_runtime() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} command= word i\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tword=${COMP_WORDS[i]}\n"
	       "\t\t[[ $word == -* ]] || { command=$word; break; }\n"
	       "\tdone\n"
	       "\tcase $command in\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		printf("\t%s%s%s)\n\t\tif [[ $cur == -* ]]; then\n\t\t\tword=\"", (*c)->name,
		       (*c)->alias ? "|" : "", (*c)->alias ? (*c)->alias : "");
		print_names((*c)->options);
		print_names(cli_global_options);
		printf("\"\n\t\telse\n\t\t\tword=%s\n\t\tfi ;;\n",
		       takes_sandbox(*c) ? "$(" CLI_PROGRAM " list --quiet 2>/dev/null)" : "");
	}
	printf("\t*)\n\t\tword=\"");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!(*c)->hidden)
			printf("%s ", (*c)->name);
	print_names(cli_global_options);
	printf("\" ;;\n"
	       "\tesac\n"
	       "\tCOMPREPLY=($(compgen -W \"$word\" -- \"$cur\"))\n"
	       "\t[[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	       "}\n"
	       "complete -F _kata_runtime " CLI_PROGRAM "\n");
}

/* A help text inside single quotes, without the characters that zsh's specification uses. */
static void print_quoted(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			printf("'\\''");
		else if (strchr("[]:", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

static void print_zsh_options(const struct cli_option *options)
{
	for (; options && options->name; options++) {
		if (options->hidden)
			continue;
		printf(" \\\n\t\t\t'%s--%s%s[", options->repeated ? "*" : "", options->name,
		       options->value ? "=" : "");
		print_quoted(options->help);
		putchar(']');
		if (options->choices) {
			printf(":%s:(", options->value);
			for (const char *p = options->choices; *p; p++)
				putchar(*p == '|' ? ' ' : *p);
			putchar(')');
		} else if (options->value) {
			printf(":%s:_files", options->value);
		}
		putchar('\'');
	}
}

static void print_zsh(void)
{
	printf("#compdef " CLI_PROGRAM "\n"
	       "_kata_runtime_sandboxes() {\n"
	       "\tcompadd -- $(" CLI_PROGRAM " list --quiet 2>/dev/null)\n"
	       "}\n"
	       "_kata_runtime_commands() {\n"
	       "\tlocal -a commands=(");
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		printf("\n\t\t'%s:", (*c)->name);
		print_quoted((*c)->summary);
		putchar('\'');
	}
	printf("\n\t)\n"
	       "\t_describe command commands\n"
	       "}\n"
	       "_kata_runtime() {\n"
	       "\tlocal line state\n"
	       "\t_arguments -C");
	print_zsh_options(cli_global_options);
	printf(" \\\n\t\t\t'1:command:_kata_runtime_commands' '*::argument:->argument'\n"
	       "\tcase ${line[1]} in\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if ((*c)->hidden)
			continue;
		printf("\t%s)\n\t\t_arguments", (*c)->name);
		print_zsh_options((*c)->options);
		printf(" \\\n\t\t\t'*:argument:%s' ;;\n",
		       takes_sandbox(*c) ? "_kata_runtime_sandboxes" : "_files");
	}
	printf("\tesac\n"
	       "}\n"
	       "_kata_runtime \"$@\"\n");
}

static void print_fish_options(const struct cli_option *options, const char *condition)
{
	for (; options && options->name; options++) {
		if (options->hidden)
			continue;
		printf("complete -c " CLI_PROGRAM " -n '%s' -l %s", condition, options->name);
		if (options->letter)
			printf(" -s %c", options->letter);
		if (options->value)
			printf(" -r");
		if (options->choices) {
			printf(" -f -a '");
			for (const char *p = options->choices; *p; p++)
				putchar(*p == '|' ? ' ' : *p);
			putchar('\'');
		}
		printf(" -d '");
		for (const char *p = options->help; *p; p++)
			printf(*p == '\'' ? "\\'" : "%c", *p);
		printf("'\n");
	}
}

static void print_fish(void)
{
	printf("# fish completion for " CLI_PROGRAM "\n");
	print_fish_options(cli_global_options, "true");
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		_cleanup_(freep) char *condition = xasprintf("__fish_seen_subcommand_from %s",
							     (*c)->name);

		if ((*c)->hidden)
			continue;
		printf("complete -c " CLI_PROGRAM " -f -n __fish_use_subcommand -a %s -d '",
		       (*c)->name);
		for (const char *p = (*c)->summary; *p; p++)
			printf(*p == '\'' ? "\\'" : "%c", *p);
		printf("'\n");
		print_fish_options((*c)->options, condition);
		if (takes_sandbox(*c))
			printf("complete -c " CLI_PROGRAM " -f -n '%s' -a '(" CLI_PROGRAM
			       " list --quiet 2>/dev/null)'\n",
			       condition);
	}
}

int cli_print_completion(const char *shell)
{
	static const struct {
		const char *shell;
		void (*print)(void);
	} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (!streq(shells[i].shell, shell))
			continue;
		shells[i].print();
		return 0;
	}
	return -EINVAL;
}
