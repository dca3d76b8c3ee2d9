/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kata-runtime's commands as data: parsing, --help, completion and the check against the man page
 * all read these tables. A command is one file cmd_<name>.c with one struct cli_command.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define CLI_PROGRAM     "kata-runtime"
#define CLI_OPTIONS_MAX 16

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
};

struct cli_option {
	const char *name;    /* "rootfs" for --rootfs; NULL ends a list */
	const char *alias;   /* a second long name, or NULL */
	char letter;         /* 'h' for -h; 0: none */
	const char *value;   /* "DIR": it takes a value of this kind; NULL: a switch */
	const char *choices; /* "text|json", or NULL */
	bool repeated;       /* may be given several times */
	bool hidden;         /* accepted for compatibility or for our own programs, not shown */
	const char *help;
};

/* What was given for an option: nothing, "" for a switch, or the values. */
struct cli_given {
	struct strv values;
	bool present;
};

struct cli;

struct cli_command {
	const char *name, *alias;
	const char *arguments;            /* "SANDBOX", "[SANDBOX]", "-- COMMAND [ARG...]", or "" */
	const char *summary;              /* one line */
	const char *details;              /* paragraphs for --help, or NULL */
	const struct cli_option *options; /* ended by a row without name; NULL: none */
	int min_args, max_args;           /* max -1: any number */
	bool rest;                        /* everything from the first argument on is left alone */
	bool hidden;
	/* Returns the exit status; an error in err is printed by the caller. */
	int (*run)(struct cli *cli, struct err *err);
};

struct cli {
	const struct cli_command *command;
	struct cli_given global[CLI_OPTIONS_MAX], given[CLI_OPTIONS_MAX];
	struct strv args; /* of the command */
};

extern const struct cli_command *const cli_commands[]; /* ends with NULL */
extern const struct cli_option cli_global_options[];

/* cli_parse: fill in `cli`. Returns 0, or -EINVAL and the text of what is wrong with the line. */
int cli_parse(struct cli *cli, int argc, char **argv, struct err *err);
void cli_fini(struct cli *cli);
/* cli_find_command: by name or alias, or NULL. */
const struct cli_command *cli_find_command(const char *name);
/* cli_given: of an option of the command, or else of a global one, which must exist in a table. */
const struct cli_given *cli_given(const struct cli *cli, const char *name);
bool cli_has(const struct cli *cli, const char *name);
/* cli_value: the last value given, or `fallback`. */
const char *cli_value(const struct cli *cli, const char *name, const char *fallback);

/* help.c */
void cli_print_help(const struct cli_command *command); /* NULL: of the program */
/* completion.c: "bash", "zsh" or "fish"; -EINVAL for others. */
int cli_print_completion(const char *shell);
