/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: a value comes as TOML, from a file, from the default in the table, or from an
 * annotation's text, which is made TOML first. So there is one place where a value is checked and
 * stored. Nothing is stored of a value that fails a check.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>

#include "base/parse.h"
#include "config/keys.h"
#include "wire/toml/toml.h"

#define STRING_MAX 4096 /* bytes of a string value */
#define LIST_MAX   256  /* strings of a list */

static const char *type_name(enum key_type type)
{
	switch (type) {
	case KEY_STRING:
		return "a string";
	case KEY_PATH:
		return "a string (a path)";
	case KEY_BOOL:
		return "true or false";
	case KEY_UINT:
	case KEY_UINT64:
		return "an integer";
	case KEY_NUMBER:
		return "a number";
	case KEY_LIST:
		return "an array of strings";
	}
	return "";
}

static bool type_matches(enum key_type type, const struct toml *value)
{
	switch (type) {
	case KEY_STRING:
	case KEY_PATH:
		return value->type == TOML_STRING;
	case KEY_BOOL:
		return value->type == TOML_BOOL;
	case KEY_UINT:
	case KEY_UINT64:
		return value->type == TOML_INTEGER;
	case KEY_NUMBER:
		return value->type == TOML_INTEGER || value->type == TOML_FLOAT;
	case KEY_LIST:
		if (value->type != TOML_ARRAY)
			return false;
		for (size_t i = 0; i < value->items.n; i++)
			if (value->items.v[i]->type != TOML_STRING)
				return false;
		return true;
	}
	return false;
}

/* Is `word` one of "a|b|c"? */
static bool choice_contains(const char *choices, const char *word)
{
	size_t n = strlen(word);

	for (;;) {
		size_t len = strcspn(choices, "|");

		if (len == n && memcmp(choices, word, n) == 0)
			return true;
		if (!choices[len])
			return false;
		choices += len + 1;
	}
}

/* A string ends up in command lines and on the kernel's: no control characters. */
static int check_text(const struct key *key, const struct toml *value, struct err *err)
{
	if (value->string.len > STRING_MAX)
		return err_setx(err, -EINVAL, "%s is longer than %d bytes", key->name, STRING_MAX);
	for (size_t i = 0; i < value->string.len; i++) {
		unsigned char ch = (unsigned char)value->string.data[i];

		if (ch < ' ' || ch == 0x7f)
			return err_setx(err, -EINVAL, "%s contains a control character", key->name);
	}
	return 0;
}

static int check_string(const struct key *key, const struct toml *value, struct err *err)
{
	const char *text = value->string.data;
	int r = check_text(key, value, err);

	if (r < 0)
		return r;
	if (key->type == KEY_PATH && *text && *text != '/')
		return err_setx(err, -EINVAL, "%s must be an absolute path, not \"%s\"", key->name,
				text);
	if (key->choices && !choice_contains(key->choices, text)) {
		_cleanup_(strv_fini) struct strv words = {0};
		_cleanup_(freep) char *list = NULL;

		strv_split(&words, key->choices, "|");
		list = strv_join(&words, ", ");
		return err_setx(err, -EINVAL, "%s%s %s, not \"%s\"", key->name,
				words.n > 1 ? " must be one of" : " must be", list, text);
	}
	return 0;
}

static int check_number(const struct key *key, const struct toml *value, struct err *err)
{
	double v = value->type == TOML_FLOAT ? value->number : (double)value->integer;
	double max = key->max;

	if (!isfinite(v))
		return err_setx(err, -EINVAL, "%s must be a finite number", key->name);
	if (max == 0)
		max = key->type == KEY_UINT ? UINT32_MAX : (double)INT64_MAX;
	if (v < key->min || v > max)
		return err_setx(err, -EINVAL, "%s must be between %.0f and %.0f", key->name,
				key->min, max);
	return 0;
}

static int check_regex(const struct key *key, const char *text, struct err *err)
{
	char problem[100];
	regex_t regex;
	int r = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);

	if (r != 0) {
		regerror(r, &regex, problem, sizeof(problem));
		return err_setx(err, -EINVAL, "%s: \"%s\" is not a regular expression: %s",
				key->name, text, problem);
	}
	regfree(&regex);
	return 0;
}

static int check_list(const struct key *key, const struct toml *value, struct err *err)
{
	int r;

	if (value->items.n > LIST_MAX)
		return err_setx(err, -EINVAL, "%s has more than %d elements", key->name, LIST_MAX);
	for (size_t i = 0; i < value->items.n; i++) {
		r = check_text(key, value->items.v[i], err);
		if (r == 0 && key->regex)
			r = check_regex(key, value->items.v[i]->string.data, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_value(const struct key *key, const struct toml *value, struct err *err)
{
	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
		return check_string(key, value, err);
	case KEY_UINT:
	case KEY_UINT64:
	case KEY_NUMBER:
		return check_number(key, value, err);
	case KEY_LIST:
		return check_list(key, value, err);
	case KEY_BOOL:
		return 0;
	}
	return 0;
}

static void store(struct config *config, const struct key *key, const struct toml *value)
{
	void *field = key_field(config, key);

	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
		free(*(char **)field);
		*(char **)field = xstrdup(value->string.data);
		break;
	case KEY_BOOL:
		*(bool *)field = value->boolean;
		break;
	case KEY_UINT:
		*(uint32_t *)field = (uint32_t)value->integer;
		break;
	case KEY_UINT64:
		*(uint64_t *)field = (uint64_t)value->integer;
		break;
	case KEY_NUMBER:
		*(double *)field = value->type == TOML_FLOAT ? value->number
							     : (double)value->integer;
		break;
	case KEY_LIST:
		strv_fini(field);
		for (size_t i = 0; i < value->items.n; i++)
			strv_add(field, value->items.v[i]->string.data);
		break;
	}
}

/* --- what is not served --- */

static double number_of(const struct toml *value)
{
	return value->type == TOML_FLOAT ? value->number : (double)value->integer;
}

static bool is_number(const struct toml *value)
{
	return value->type == TOML_INTEGER || value->type == TOML_FLOAT;
}

static bool value_equal(const struct toml *a, const struct toml *b)
{
	if (is_number(a) && is_number(b))
		return number_of(a) == number_of(b);
	if (a->type != b->type)
		return false;
	if (a->type == TOML_BOOL)
		return a->boolean == b->boolean;
	if (a->type == TOML_STRING)
		return a->string.len == b->string.len &&
		       memcmp(a->string.data, b->string.data, a->string.len) == 0;
	if (a->type != TOML_ARRAY || a->items.n != b->items.n)
		return false;
	for (size_t i = 0; i < a->items.n; i++)
		if (!value_equal(a->items.v[i], b->items.v[i]))
			return false;
	return true;
}

/* The value of the TOML text `v = <text>`: for the table's own texts, and for annotations. */
static int parse_text(const char *text, struct toml **ret_root, const struct toml **ret)
{
	_cleanup_(freep) char *line = xasprintf("v = %s", text);
	struct toml_error error;
	int r = toml_parse(line, strlen(line), ret_root, &error);

	if (r < 0)
		return r;
	if ((*ret_root)->items.n != 1)
		return -EINVAL;
	*ret = (*ret_root)->items.v[0];
	return 0;
}

static bool equals_text(const struct toml *value, const char *text)
{
	_cleanup_(toml_freep) struct toml *root = NULL;
	const struct toml *other;

	return parse_text(text, &root, &other) == 0 && value_equal(value, other);
}

static bool is_off(const struct key *key, const struct toml *value)
{
	_cleanup_(toml_freep) struct toml *root = NULL;
	const struct toml *list;

	if (equals_text(value, key->fallback))
		return true;
	if (!key->off || parse_text(key->off, &root, &list) < 0)
		return false;
	for (size_t i = 0; i < list->items.n; i++)
		if (value_equal(value, list->items.v[i]))
			return true;
	return false;
}

int key_set(struct config *config, const struct key *key, const struct toml *value, struct err *err)
{
	int r;

	if (key->status == KEY_REFUSED && is_off(key, value))
		return 0;
	if (!type_matches(key->type, value))
		return err_setx(err, -EINVAL, "%s must be %s, this is %s %s", key->name,
				type_name(key->type),
				strchr("aio", toml_type_name(value->type)[0]) ? "an" : "a",
				toml_type_name(value->type));
	r = check_value(key, value, err);
	if (r < 0)
		return r;
	if (key->status == KEY_REFUSED)
		return err_setx(err, -ENOSYS,
				"%s: %s; remove the key or write %s, the only value accepted",
				key->name, key->why, key->fallback);
	if (key->status == KEY_SERVED)
		store(config, key, value);
	return 0;
}

int key_set_default(struct config *config, const struct key *key)
{
	_cleanup_(toml_freep) struct toml *root = NULL;
	const struct toml *value;
	int r = parse_text(key->fallback, &root, &value);

	return r < 0 ? r : key_set(config, key, value, NULL);
}

/* --- annotations: text without TOML's quotes --- */

static void add_quoted(struct buf *b, const char *text, size_t n)
{
	buf_addc(b, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)text[i];

		if (ch < ' ' || ch == 0x7f)
			buf_addf(b, "\\u%04X", ch);
		else if (ch == '"' || ch == '\\')
			buf_addf(b, "\\%c", ch);
		else
			buf_addc(b, (char)ch);
	}
	buf_addc(b, '"');
}

/* "a x=1; b" → ["a x=1", "b"] */
static void add_separated(struct buf *b, const char *text, char separator)
{
	const char sep[] = {separator, '\0'};
	_cleanup_(strv_fini) struct strv parts = {0};

	strv_split(&parts, text, sep);
	buf_addc(b, '[');
	for (size_t i = 0; i < parts.n; i++) {
		const char *part = parts.v[i] + strspn(parts.v[i], " ");

		if (i)
			buf_addc(b, ',');
		add_quoted(b, part, strlen(part));
	}
	buf_addc(b, ']');
}

/* The annotation's text as TOML. */
static char *text_to_toml(const struct config *config, const struct key *key, const char *text)
{
	struct buf b = {0};
	bool v;

	if (key->type == KEY_STRING || key->type == KEY_PATH) {
		const char *old = "";
		_cleanup_(freep) char *joined = NULL;

		if (key->append && key->status == KEY_SERVED)
			old = *(char **)key_field(config, key);
		joined = xasprintf("%s%s%s", old, *old ? " " : "", text);
		add_quoted(&b, joined, strlen(joined));
	} else if (key->type == KEY_LIST && key->list_separator) {
		add_separated(&b, text, key->list_separator);
	} else if (key->type == KEY_BOOL && parse_bool(text, &v) == 0) {
		buf_adds(&b, v ? "true" : "false");
	} else {
		buf_adds(&b, text);
	}
	return buf_take(&b);
}

int key_set_text(struct config *config, const struct key *key, const char *text, struct err *err)
{
	_cleanup_(toml_freep) struct toml *root = NULL;
	_cleanup_(freep) char *line = NULL;
	const struct toml *value;

	if (strlen(text) > STRING_MAX)
		return err_setx(err, -EINVAL, "the value is longer than %d bytes", STRING_MAX);
	line = text_to_toml(config, key, text);
	if (parse_text(line, &root, &value) < 0)
		return err_setx(err, -EINVAL, "the value must be %s, not \"%s\"",
				type_name(key->type), text);
	return key_set(config, key, value, err);
}

/* --- back to text --- */

static void format_number(struct buf *b, double v)
{
	char text[40];

	snprintf(text, sizeof(text), "%.15g", v);
	buf_adds(b, text);
}

char *key_format(const struct config *config, const struct key *key)
{
	const void *field = key_field(config, key);
	struct buf b = {0};

	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
		add_quoted(&b, *(char *const *)field, strlen(*(char *const *)field));
		break;
	case KEY_BOOL:
		buf_adds(&b, *(const bool *)field ? "true" : "false");
		break;
	case KEY_UINT:
		buf_addf(&b, "%" PRIu32, *(const uint32_t *)field);
		break;
	case KEY_UINT64:
		buf_addf(&b, "%" PRIu64, *(const uint64_t *)field);
		break;
	case KEY_NUMBER:
		format_number(&b, *(const double *)field);
		break;
	case KEY_LIST: {
		const struct strv *list = field;

		buf_addc(&b, '[');
		for (size_t i = 0; i < list->n; i++) {
			if (i)
				buf_adds(&b, ", ");
			add_quoted(&b, list->v[i], strlen(list->v[i]));
		}
		buf_addc(&b, ']');
		break;
	}
	}
	return buf_take(&b);
}
