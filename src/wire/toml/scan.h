/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of the TOML parser below values: the cursor, strings, numbers and dates. */

#include "base/str.h"
#include "wire/toml/toml.h"

struct toml_cursor {
	const char *p, *end;
	uint32_t line, column;
	struct toml_error *error;
	size_t nodes;
	unsigned int depth;
};

/* toml_peek: the byte `ahead` of the cursor, or -1 at the end. */
static inline int toml_peek(const struct toml_cursor *c, size_t ahead)
{
	return (size_t)(c->end - c->p) > ahead ? (unsigned char)c->p[ahead] : -1;
}

/* toml_advance: over n bytes, which are there. */
void toml_advance(struct toml_cursor *c, size_t n);
/* toml_accept: advance over `text` if it comes next. */
bool toml_accept(struct toml_cursor *c, const char *text);
/* toml_skip_blank: over spaces and tabs. */
void toml_skip_blank(struct toml_cursor *c);
/* toml_accept_newline: advance over LF or CR LF if one comes next. */
bool toml_accept_newline(struct toml_cursor *c);
/* toml_skip_comment: over a comment, up to its newline, if there is one. Returns 0 or -EINVAL. */
int toml_skip_comment(struct toml_cursor *c);
/* toml_note: keep the message, and the cursor's place, as the error. toml_fail: and be r. */
void toml_note(struct toml_cursor *c, const char *fmt, ...) _printf_(2, 3);
#define toml_fail(c, r, ...) (toml_note((c), __VA_ARGS__), (r))
/* toml_check_utf8: the whole rest of the text; on failure the cursor stands at the bad byte. */
int toml_check_utf8(struct toml_cursor *c);

/* toml_scan_string: a string of any of the four kinds, or with `key` of the two a key may have. The
 * cursor stands at the quote. */
int toml_scan_string(struct toml_cursor *c, bool key, struct buf *ret);
/* toml_scan_scalar: a number, date or time: sets type and value of `value`. */
int toml_scan_scalar(struct toml_cursor *c, struct toml *value);
