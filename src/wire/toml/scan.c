/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/toml/scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

void toml_advance(struct toml_cursor *c, size_t n)
{
	for (; n; n--, c->p++) {
		if (*c->p == '\n') {
			c->line++;
			c->column = 1;
		} else if (((unsigned char)*c->p & 0xc0) != 0x80) {
			c->column++;
		}
	}
}

bool toml_accept(struct toml_cursor *c, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, text, n) != 0)
		return false;
	toml_advance(c, n);
	return true;
}

void toml_skip_blank(struct toml_cursor *c)
{
	while (toml_peek(c, 0) == ' ' || toml_peek(c, 0) == '\t')
		toml_advance(c, 1);
}

bool toml_accept_newline(struct toml_cursor *c)
{
	return toml_accept(c, "\n") || toml_accept(c, "\r\n");
}

/* Control characters but tab may stand nowhere in a document, newlines aside. */
static bool is_control(int ch)
{
	return (ch >= 0 && ch < 0x20 && ch != '\t') || ch == 0x7f;
}

int toml_skip_comment(struct toml_cursor *c)
{
	if (toml_peek(c, 0) != '#')
		return 0;
	while (c->p < c->end) {
		int ch = toml_peek(c, 0);

		if (ch == '\n' || (ch == '\r' && toml_peek(c, 1) == '\n'))
			return 0;
		if (is_control(ch))
			return toml_fail(c, -EINVAL, "control character 0x%02x in a comment", ch);
		toml_advance(c, 1);
	}
	return 0;
}

void toml_note(struct toml_cursor *c, const char *fmt, ...)
{
	va_list ap;

	c->error->line = c->line;
	c->error->column = c->column;
	va_start(ap, fmt);
	vsnprintf(c->error->text, sizeof(c->error->text), fmt, ap);
	va_end(ap);
}

int toml_check_utf8(struct toml_cursor *c)
{
	while (c->p < c->end) {
		size_t n = utf8_length(c->p, (size_t)(c->end - c->p));

		if (!n)
			return toml_fail(c, -EINVAL, "the file is not UTF-8: byte 0x%02x",
					 toml_peek(c, 0));
		toml_advance(c, n);
	}
	return 0;
}

static int hex_digit(int ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f')
		return (ch | 0x20) - 'a' + 10;
	return -1;
}

static void add_utf8(struct buf *b, uint32_t u)
{
	if (u < 0x80) {
		buf_addc(b, (char)u);
		return;
	}
	if (u < 0x800) {
		buf_addc(b, (char)(0xc0 | u >> 6));
	} else {
		if (u < 0x10000) {
			buf_addc(b, (char)(0xe0 | u >> 12));
		} else {
			buf_addc(b, (char)(0xf0 | u >> 18));
			buf_addc(b, (char)(0x80 | (u >> 12 & 0x3f)));
		}
		buf_addc(b, (char)(0x80 | (u >> 6 & 0x3f)));
	}
	buf_addc(b, (char)(0x80 | (u & 0x3f)));
}

/* \uXXXX or \UXXXXXXXX; the cursor stands at the u. */
static int scan_unicode(struct toml_cursor *c, size_t digits, struct buf *ret)
{
	uint32_t u = 0;

	for (size_t i = 1; i <= digits; i++) {
		int d = hex_digit(toml_peek(c, i));

		if (d < 0)
			return toml_fail(c, -EINVAL, "\\%c needs %zu hexadecimal digits", *c->p,
					 digits);
		u = u << 4 | (uint32_t)d;
	}
	if (u > 0x10ffff || (u >= 0xd800 && u <= 0xdfff))
		return toml_fail(c, -EINVAL, "\\%c%0*x is not a Unicode character", *c->p,
				 (int)digits, u);
	toml_advance(c, digits + 1);
	add_utf8(ret, u);
	return 0;
}

/* A backslash at the end of a line of a multi-line string: drop all white space that follows. */
static bool accept_continuation(struct toml_cursor *c)
{
	struct toml_cursor at = *c;

	toml_skip_blank(&at);
	if (!toml_accept_newline(&at))
		return false;
	do {
		toml_skip_blank(&at);
	} while (toml_accept_newline(&at));
	*c = at;
	return true;
}

/* What follows a backslash. */
static int scan_escape(struct toml_cursor *c, bool multi, struct buf *ret)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
	int ch = toml_peek(c, 0);
	const char *name = ch > 0 ? strchr(names, ch) : NULL;

	if (name) {
		buf_addc(ret, values[name - names]);
		toml_advance(c, 1);
		return 0;
	}
	if (ch == 'u')
		return scan_unicode(c, 4, ret);
	if (ch == 'U')
		return scan_unicode(c, 8, ret);
	if (multi && accept_continuation(c))
		return 0;
	if (ch > ' ' && ch < 0x7f)
		return toml_fail(c, -EINVAL, "unknown escape sequence \\%c (write \\\\ for \\)",
				 ch);
	return toml_fail(c, -EINVAL, "a backslash must start an escape sequence");
}

/* The closing quotes of a multi-line string, with the one or two quotes that may stand before. */
static bool accept_closing(struct toml_cursor *c, int quote, struct buf *ret)
{
	size_t n = 0;

	while (n < 5 && toml_peek(c, n) == quote)
		n++;
	if (n < 3)
		return false;
	for (size_t i = 3; i < n; i++)
		buf_addc(ret, (char)quote);
	toml_advance(c, n);
	return true;
}

static int scan_multi(struct toml_cursor *c, int quote, struct buf *ret)
{
	toml_advance(c, 3);
	toml_accept_newline(c);
	while (c->p < c->end) {
		int ch = toml_peek(c, 0), r;

		if (ch == quote && accept_closing(c, quote, ret))
			return 0;
		if (ch == '\\' && quote == '"') {
			toml_advance(c, 1);
			r = scan_escape(c, true, ret);
			if (r < 0)
				return r;
			continue;
		}
		if (toml_accept_newline(c)) {
			buf_addc(ret, '\n');
			continue;
		}
		if (is_control(ch))
			return toml_fail(c, -EINVAL, "control character 0x%02x in a string", ch);
		buf_addc(ret, (char)ch);
		toml_advance(c, 1);
	}
	return toml_fail(c, -EINVAL, "the string is not closed: %c%c%c is missing", quote, quote,
			 quote);
}

int toml_scan_string(struct toml_cursor *c, bool key, struct buf *ret)
{
	int quote = toml_peek(c, 0);

	if (toml_peek(c, 1) == quote && toml_peek(c, 2) == quote) {
		if (key)
			return toml_fail(c, -EINVAL, "a multi-line string cannot be a key");
		return scan_multi(c, quote, ret);
	}
	toml_advance(c, 1);
	while (c->p < c->end) {
		int ch = toml_peek(c, 0), r;

		if (ch == '\n' || ch == '\r')
			break;
		if (is_control(ch))
			return toml_fail(c, -EINVAL, "control character 0x%02x in a string", ch);
		toml_advance(c, 1);
		if (ch == quote)
			return 0;
		if (ch == '\\' && quote == '"') {
			r = scan_escape(c, false, ret);
			if (r < 0)
				return r;
			continue;
		}
		buf_addc(ret, (char)ch);
	}
	return toml_fail(c, -EINVAL, "the string is not closed: %c is missing", quote);
}
