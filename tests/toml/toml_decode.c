/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml-decode: TOML on standard input becomes the tagged JSON that the public toml-test suite
 * compares (https://github.com/toml-lang/toml-test); exit status 1 when it is not TOML.
 */
#include <math.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "wire/toml/toml.h"

static void write_value(const struct toml *value, struct buf *out);

static void write_string(const char *s, size_t n, struct buf *out)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)s[i];

		if (ch < 0x20 || ch == '"' || ch == '\\' || ch == 0x7f)
			buf_addf(out, "\\u%04x", ch);
		else
			buf_addc(out, (char)ch);
	}
	buf_addc(out, '"');
}

static void write_items(const struct toml *value, struct buf *out)
{
	bool table = value->type == TOML_TABLE;

	buf_addc(out, table ? '{' : '[');
	for (size_t i = 0; i < value->items.n; i++) {
		const struct toml *item = value->items.v[i];

		if (i)
			buf_addc(out, ',');
		if (table) {
			write_string(item->key, item->key_len, out);
			buf_addc(out, ':');
		}
		write_value(item, out);
	}
	buf_addc(out, table ? '}' : ']');
}

static const char *tag(enum toml_type type)
{
	static const char *const tags[_TOML_TYPE_MAX] = {
		[TOML_STRING] = "string",         [TOML_INTEGER] = "integer",
		[TOML_FLOAT] = "float",           [TOML_BOOL] = "bool",
		[TOML_DATETIME] = "datetime",     [TOML_DATETIME_LOCAL] = "datetime-local",
		[TOML_DATE_LOCAL] = "date-local", [TOML_TIME_LOCAL] = "time-local",
	};

	return tags[type];
}

static void write_value(const struct toml *value, struct buf *out)
{
	if (value->type == TOML_TABLE || value->type == TOML_ARRAY) {
		write_items(value, out);
		return;
	}
	buf_addf(out, "{\"type\":\"%s\",\"value\":", tag(value->type));
	if (value->type == TOML_INTEGER)
		buf_addf(out, "\"%lld\"", (long long)value->integer);
	else if (value->type == TOML_BOOL)
		buf_addf(out, "\"%s\"", value->boolean ? "true" : "false");
	else if (value->type == TOML_FLOAT && isnan(value->number))
		buf_adds(out, "\"nan\"");
	else if (value->type == TOML_FLOAT)
		buf_addf(out, "\"%.17g\"", value->number);
	else
		write_string(value->string.data, value->string.len, out);
	buf_addc(out, '}');
}

int main(void)
{
	_cleanup_(freep) char *text = xmalloc(TOML_SIZE_MAX + 1);
	_cleanup_(toml_freep) struct toml *root = NULL;
	_cleanup_(buf_fini) struct buf out = {0};
	struct toml_error error;
	ssize_t n;

	n = fd_read_full(0, text, TOML_SIZE_MAX + 1);
	if (n < 0)
		return 2;
	if (toml_parse(text, (size_t)n, &root, &error) < 0) {
		fprintf(stderr, "-:%u:%u: %s\n", error.line, error.column, error.text);
		return 1;
	}
	write_value(root, &out);
	puts(out.data);
	return 0;
}
