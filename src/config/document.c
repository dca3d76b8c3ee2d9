/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config-document, used by the build: the table of keys as the default configuration file, as part
 * of configuration.toml(5), and as docs/configuration.md, so that none of them can be wrong.
 *
 *   config-document toml|scdoc|markdown TEMPLATE
 *
 * copies TEMPLATE to standard output; a line "@KEYS@" in it becomes the served keys, "@REFUSED@"
 * those that are known and not served.
 */
#include <stdio.h>

#include "base/fs.h"
#include "config/keys.h"

#define TEMPLATE_MAX (1U << 20)
#define WIDTH        98

struct form {
	const char *name;
	void (*key)(const struct key *key);
	void (*section)(const char *section);
	void (*refused)(const struct key *key);
};

static const char *type_text(const struct key *key)
{
	switch (key->type) {
	case KEY_STRING:
		return "string";
	case KEY_PATH:
		return "path";
	case KEY_BOOL:
		return "boolean";
	case KEY_UINT:
	case KEY_UINT64:
		return "integer";
	case KEY_NUMBER:
		return "number";
	case KEY_LIST:
		return "list of strings";
	}
	return "";
}

/* Words, in lines of at most WIDTH characters with a prefix. */
static void print_wrapped(const char *prefix, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column && column + 1 + n > WIDTH) {
			putchar('\n');
			column = 0;
		}
		column += (size_t)printf("%s%.*s", column ? " " : prefix, (int)n, text);
		text += n;
		text += *text == ' ';
	}
	putchar('\n');
}

/* --- the configuration file --- */

static void toml_section(const char *section)
{
	printf("\n[%s]\n", section);
}

static void toml_key(const struct key *key)
{
	putchar('\n');
	print_wrapped("# ", key->doc);
	if (key->choices && strchr(key->choices, '|'))
		printf("# One of: %s\n", key->choices);
	printf("# %s = %s\n", key->name, key->fallback);
}

static void toml_refused(const struct key *key)
{
	printf("# [%s] %s\n", key->section, key->name);
}

/* --- scdoc --- */

/* scdoc takes _ and * for marks, and \ before them for the character itself. */
static void print_scdoc(const char *text)
{
	for (; *text; text++) {
		if (strchr("_*\\#.[", *text))
			putchar('\\');
		putchar(*text);
	}
}

static void scdoc_section(const char *section)
{
	printf("# SECTION [");
	print_scdoc(section);
	printf("]\n\n");
}

static void scdoc_key(const struct key *key)
{
	printf("*");
	print_scdoc(key->name);
	printf("* (%s, default ", type_text(key));
	print_scdoc(key->fallback);
	printf(")\n\t");
	print_scdoc(key->doc);
	if (key->choices && strchr(key->choices, '|')) {
		printf(" One of: ");
		print_scdoc(key->choices);
		putchar('.');
	}
	if (key->annotation) {
		printf(" Annotation: _");
		print_scdoc(KEY_ANNOTATION_PREFIX);
		print_scdoc(key->annotation);
		putchar('_');
		putchar('.');
	}
	printf("\n\n");
}

static void scdoc_refused(const struct key *key)
{
	printf("*");
	print_scdoc(key->name);
	printf("* in [");
	print_scdoc(key->section);
	if (key->status == KEY_INERT) {
		printf("], without effect: it belongs to ");
	} else {
		printf("], only as ");
		print_scdoc(key->fallback);
		printf(": ");
	}
	print_scdoc(key->why);
	printf("\n\n");
}

/* --- Markdown --- */

static void markdown_section(const char *section)
{
	printf("\n### [%s]\n\n| key | type | default | what |\n|---|---|---|---|\n", section);
}

static void markdown_key(const struct key *key)
{
	printf("| `%s` | %s | `%s` | %s", key->name, type_text(key), key->fallback, key->doc);
	if (key->choices && strchr(key->choices, '|')) {
		printf(" One of: ");
		for (const char *p = key->choices; *p; p++) {
			if (*p == '|')
				printf(", ");
			else
				putchar(*p);
		}
		putchar('.');
	}
	if (key->annotation)
		printf(" Annotation: `%s`.", key->annotation);
	printf(" |\n");
}

static void markdown_refused(const struct key *key)
{
	if (key->status == KEY_INERT)
		printf("| `%s` | %s | anything | no effect: belongs to %s |\n", key->section,
		       key->name, key->why);
	else
		printf("| `%s` | %s | `%s` | %s |\n", key->section, key->name, key->fallback,
		       key->why);
}

static const struct form forms[] = {
	{"toml", toml_key, toml_section, toml_refused},
	{"scdoc", scdoc_key, scdoc_section, scdoc_refused},
	{"markdown", markdown_key, markdown_section, markdown_refused},
};

static void print_keys(const struct form *form)
{
	const char *section = "";

	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		if (key->status != KEY_SERVED)
			continue;
		if (!streq(section, key->section))
			form->section(key->section);
		section = key->section;
		form->key(key);
	}
}

static void print_refused(const struct form *form)
{
	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (key->status != KEY_SERVED)
			form->refused(key);
}

static int print_template(const struct form *form, const char *path)
{
	_cleanup_(freep) char *text = NULL;
	int r = fs_read(path, TEMPLATE_MAX, &text, NULL);

	if (r < 0) {
		fprintf(stderr, "config-document: read %s: %s\n", path, strerror(-r));
		return 1;
	}
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (str_has_prefix(line, "@KEYS@\n"))
			print_keys(form);
		else if (str_has_prefix(line, "@REFUSED@\n"))
			print_refused(form);
		else
			printf("%.*s\n", (int)strcspn(line, "\n"), line);
	}
	return 0;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(forms); i++)
		if (streq(argv[1], forms[i].name))
			return print_template(&forms[i], argv[2]);
	fprintf(stderr, "usage: config-document toml|scdoc|markdown TEMPLATE\n");
	return 2;
}
