/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/prom/copy.h"

#include <stdlib.h>

#include "base/utf8.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
#define DIGITS  "0123456789"

/* Each of these returns what is behind it, or NULL. `end` is the end of the line. */

static const char *skip_name(const char *p, const char *letters, const char *more)
{
	return strspn(p, letters) ? p + strspn(p, more) : NULL;
}

/* Text up to `stop` (or the end of the line), with the escapes that are allowed in it. */
static const char *skip_text(const char *p, const char *end, char stop, const char *escapes)
{
	while (p < end && *p != stop) {
		size_t n = utf8_length(p, (size_t)(end - p));

		if (*p == '\\')
			n = end - p > 1 && strchr(escapes, p[1]) ? 2 : 0;
		if (n == 0 || (unsigned char)*p < ' ' || *p == 0x7f)
			return NULL;
		p += n;
	}
	return p;
}

/* {a="b",c="d"} */
static const char *skip_labels(const char *p, const char *end)
{
	if (*p != '{')
		return p;
	do {
		p = skip_name(p + 1, LETTERS, LETTERS DIGITS);
		if (!p || p[0] != '=' || p[1] != '"')
			return NULL;
		p = skip_text(p + 2, end, '"', "\\n\"");
		if (!p || *p++ != '"')
			return NULL;
	} while (*p == ',');
	return *p == '}' ? p + 1 : NULL;
}

static bool is_value(const char *p, const char *end)
{
	static const char *const words[] = {"NaN", "+Inf", "-Inf"};
	char *behind;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if ((size_t)(end - p) == strlen(words[i]) &&
		    strncmp(p, words[i], strlen(words[i])) == 0)
			return true;
	if (p == end || strspn(p, DIGITS "+-.eE") != (size_t)(end - p))
		return false;
	strtod(p, &behind);
	return behind == end;
}

static bool is_type(const char *p, const char *end)
{
	static const char *const types[] = {"counter", "gauge", "histogram", "summary", "untyped"};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((size_t)(end - p) == strlen(types[i]) &&
		    strncmp(p, types[i], strlen(types[i])) == 0)
			return true;
	return false;
}

static bool has_prefix(const char *p, const char *const *prefixes)
{
	for (; *prefixes; prefixes++)
		if (str_has_prefix(p, *prefixes))
			return true;
	return false;
}

static bool wanted(const char *line, const char *end, const char *const *prefixes)
{
	bool is_help = str_has_prefix(line, "# HELP ");
	bool is_comment = is_help || str_has_prefix(line, "# TYPE ");
	const char *name = is_comment ? line + strlen("# HELP ") : line;
	const char *p = skip_name(name, LETTERS ":", LETTERS ":" DIGITS);

	if (!p || !has_prefix(name, prefixes))
		return false;
	if (!is_comment)
		p = skip_labels(p, end);
	if (!p || *p++ != ' ')
		return false;
	if (is_help)
		return skip_text(p, end, '\0', "\\n") == end;
	return is_comment ? is_type(p, end) : is_value(p, end);
}

void prom_copy(struct buf *out, const char *text, const char *const *prefixes)
{
	for (const char *line = text, *end; *line; line = end + (*end == '\n')) {
		end = strchrnul(line, '\n');
		if (!wanted(line, end, prefixes))
			continue;
		buf_add(out, line, (size_t)(end - line));
		buf_addc(out, '\n');
	}
}
