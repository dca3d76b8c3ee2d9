/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: a number or date is first cut out as a token (everything up to white space or
 * punctuation; a date may be followed by one space and a time), then recognised by its shape.
 * Tokens are ASCII and at most TOKEN_MAX bytes, so that a stack buffer is enough.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "wire/toml/scan.h"

#define TOKEN_MAX 128

struct token {
	char text[TOKEN_MAX + 1];
	size_t len;
};

static bool is_token_byte(int ch)
{
	return isalnum(ch) || ch == '+' || ch == '-' || ch == '.' || ch == '_' || ch == ':';
}

static bool all_digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return true;
}

static bool looks_like_date(const char *s, size_t n)
{
	return n >= 5 && all_digits(s, 4) && s[4] == '-';
}

static bool looks_like_time(const char *s, size_t n)
{
	return n >= 3 && all_digits(s, 2) && s[2] == ':';
}

/* The token at the cursor, which does not move. */
static int cut_token(struct toml_cursor *c, struct token *t)
{
	t->len = 0;
	for (;;) {
		int ch = toml_peek(c, t->len);

		if (ch == ' ' && t->len == 10 && looks_like_date(t->text, t->len) &&
		    isdigit(toml_peek(c, t->len + 1)))
			ch = 'T';
		else if (ch < 0 || !is_token_byte(ch))
			break;
		if (t->len == TOKEN_MAX)
			return toml_fail(c, -EINVAL, "the number has more than %d characters",
					 TOKEN_MAX);
		t->text[t->len++] = (char)ch;
	}
	t->text[t->len] = '\0';
	if (!t->len)
		return toml_fail(c, -EINVAL, "a value is missing here");
	return 0;
}

/* --- dates and times: RFC 3339 --- */

/* Two digits between min and max at s; -1 otherwise. */
static int two_digits(const char *s, int min, int max)
{
	int v;

	if (!isdigit((unsigned char)s[0]) || !isdigit((unsigned char)s[1]))
		return -1;
	v = (s[0] - '0') * 10 + s[1] - '0';
	return v < min || v > max ? -1 : v;
}

/* YYYY-MM-DD; returns what follows, or NULL. */
static const char *match_date(const char *s)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year, month, last;

	if (strlen(s) < 10 || !all_digits(s, 4) || s[4] != '-' || s[7] != '-')
		return NULL;
	year = atoi(s);
	month = two_digits(s + 5, 1, 12);
	if (month < 1)
		return NULL;
	last = days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		last = 29;
	return two_digits(s + 8, 1, last) < 0 ? NULL : s + 10;
}

/* HH:MM:SS with an optional fraction; returns what follows, or NULL. */
static const char *match_time(const char *s)
{
	if (strlen(s) < 8 || two_digits(s, 0, 23) < 0 || s[2] != ':' ||
	    two_digits(s + 3, 0, 59) < 0 || s[5] != ':' || two_digits(s + 6, 0, 60) < 0)
		return NULL;
	s += 8;
	if (*s != '.')
		return s;
	s++;
	if (!isdigit((unsigned char)*s))
		return NULL;
	while (isdigit((unsigned char)*s))
		s++;
	return s;
}

/* Z or +HH:MM, at the end; sets the type. */
static bool match_offset(const char *s, enum toml_type *ret)
{
	*ret = *s ? TOML_DATETIME : TOML_DATETIME_LOCAL;
	if (!*s || streq(s, "Z"))
		return true;
	return strlen(s) == 6 && (*s == '+' || *s == '-') && two_digits(s + 1, 0, 23) >= 0 &&
	       s[3] == ':' && two_digits(s + 4, 0, 59) >= 0;
}

static bool match_datetime(struct token *t, enum toml_type *ret)
{
	const char *s;

	if (looks_like_time(t->text, t->len)) {
		s = match_time(t->text);
		*ret = TOML_TIME_LOCAL;
		return s && !*s;
	}
	s = match_date(t->text);
	if (!s)
		return false;
	if (!*s) {
		*ret = TOML_DATE_LOCAL;
		return true;
	}
	if (*s != 'T' && *s != 't')
		return false;
	t->text[10] = 'T';
	if (t->text[t->len - 1] == 'z')
		t->text[t->len - 1] = 'Z';
	s = match_time(s + 1);
	return s && match_offset(s, ret);
}

/* --- numbers --- */

/* Digits of a base with single underscores between them; copied without, up to the first other
 * byte, which is returned; NULL when that is not what is there. */
static const char *match_digits(const char *s, int base, char **out)
{
	bool digit = false;

	for (;; s++) {
		int ch = (unsigned char)*s;
		int d = isdigit(ch) ? ch - '0' : isalpha(ch) ? tolower(ch) - 'a' + 10 : 99;

		if (d < base) {
			*(*out)++ = (char)ch;
			digit = true;
		} else if (ch == '_' && digit) {
			digit = false;
		} else {
			break;
		}
	}
	**out = '\0';
	return digit ? s : NULL;
}

static bool store_integer(struct toml *value, const char *digits, int base, bool *ret_range)
{
	char *end;

	errno = 0;
	value->type = TOML_INTEGER;
	value->integer = strtoll(digits, &end, base);
	*ret_range = errno == ERANGE;
	return !*end;
}

static bool match_prefixed(const char *s, struct toml *value, bool *ret_range)
{
	static const struct {
		const char *prefix;
		int base;
	} bases[] = {{"0x", 16}, {"0o", 8}, {"0b", 2}};
	char digits[TOKEN_MAX + 1], *out = digits;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		const char *rest = str_skip_prefix(s, bases[i].prefix);

		if (!rest)
			continue;
		rest = match_digits(rest, bases[i].base, &out);
		return rest && !*rest && store_integer(value, digits, bases[i].base, ret_range);
	}
	return false;
}

/* A decimal integer or a float; the sign is part of the copied digits. */
static bool match_decimal(const char *s, struct toml *value, bool *ret_range)
{
	char digits[TOKEN_MAX + 1], *out = digits, *end;

	if (*s == '+' || *s == '-')
		*out++ = *s++;
	if (s[0] == '0' && (isdigit((unsigned char)s[1]) || s[1] == '_'))
		return false;
	s = match_digits(s, 10, &out);
	if (!s)
		return false;
	if (!*s)
		return store_integer(value, digits, 10, ret_range);
	if (*s == '.') {
		*out++ = *s++;
		s = match_digits(s, 10, &out);
		if (!s)
			return false;
	}
	if (*s == 'e' || *s == 'E') {
		*out++ = *s++;
		if (*s == '+' || *s == '-')
			*out++ = *s++;
		s = match_digits(s, 10, &out);
		if (!s)
			return false;
	}
	value->type = TOML_FLOAT;
	value->number = strtod(digits, &end);
	return !*s && !*end;
}

static bool match_special(const char *s, struct toml *value)
{
	bool negative = *s == '-';

	value->type = TOML_FLOAT;
	if (*s == '+' || *s == '-')
		s++;
	if (streq(s, "inf"))
		value->number = negative ? -INFINITY : INFINITY;
	else if (streq(s, "nan"))
		value->number = negative ? -NAN : NAN;
	else
		return false;
	return true;
}

int toml_scan_scalar(struct toml_cursor *c, struct toml *value)
{
	bool range = false;
	struct token t = {0};
	int r;

	r = cut_token(c, &t);
	if (r < 0)
		return r;
	if (looks_like_date(t.text, t.len) || looks_like_time(t.text, t.len)) {
		enum toml_type type;

		if (!match_datetime(&t, &type))
			return toml_fail(c, -EINVAL, "\"%s\" is not a date or time", t.text);
		value->type = type;
		value->string.data = xstrdup(t.text);
		value->string.len = t.len;
	} else if (!match_special(t.text, value) && !match_prefixed(t.text, value, &range) &&
		   !match_decimal(t.text, value, &range)) {
		return toml_fail(c, -EINVAL, "\"%s\" is not a value (a string needs quotes)",
				 t.text);
	}
	if (range)
		return toml_fail(c, -EINVAL, "%s does not fit into 64 bits", t.text);
	toml_advance(c, t.len);
	return 0;
}
