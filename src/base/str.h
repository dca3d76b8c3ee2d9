/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Strings, growable byte buffers and string vectors. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"

static inline bool streq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* str_skip_prefix: the rest of s after prefix, or NULL when s does not start with it. */
static inline const char *str_skip_prefix(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

static inline bool str_has_prefix(const char *s, const char *prefix)
{
	return str_skip_prefix(s, prefix) != NULL;
}

bool str_has_suffix(const char *s, const char *suffix);

/* str_empty: NULL and "" are both "not given" (protobuf strings are never NULL). */
static inline bool str_empty(const char *s)
{
	return !s || !*s;
}

/* str_chomp: cut trailing white space in place; returns s. */
char *str_chomp(char *s);

/* A growable byte buffer. data is NUL-terminated behind len whenever it is not NULL. */
struct buf {
	char *data;
	size_t len;
	size_t cap;
};

/* buf_reserve: room for n more bytes and a NUL behind len. */
void buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
/* buf_consume: drop the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* buf_take: hand over the text (never NULL, the caller frees) and leave the buffer empty. */
char *buf_take(struct buf *b);
void buf_fini(struct buf *b);

/* A NULL-terminated vector of owned strings; v is NULL while empty. */
struct strv {
	char **v;
	size_t n;
};

void strv_add(struct strv *s, const char *str);
void strv_addf(struct strv *s, const char *fmt, ...) _printf_(2, 3);
/* strv_take: append str itself, which becomes owned. */
void strv_take(struct strv *s, char *str);
/* strv_split: append the parts of str between any of the bytes in sep; empty parts are dropped. */
void strv_split(struct strv *s, const char *str, const char *sep);
/* strv_join: all strings with sep between them; the caller frees. */
char *strv_join(const struct strv *s, const char *sep);
bool strv_contains(const struct strv *s, const char *str);
void strv_fini(struct strv *s);
