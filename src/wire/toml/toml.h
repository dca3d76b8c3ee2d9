/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * TOML 1.0.0 (https://toml.io/en/v1.0.0): a text becomes a tree of values, each with the place it
 * was read from, so that whoever checks the values can say where the wrong one is.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define TOML_SIZE_MAX  (1U << 20) /* bytes of a document */
#define TOML_DEPTH_MAX 64         /* nested arrays and inline tables; parts of a dotted key */
#define TOML_NODES_MAX 16384      /* values of a document, tables included */

enum toml_type {
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_DATETIME,       /* with offset */
	TOML_DATETIME_LOCAL, /* without */
	TOML_DATE_LOCAL,
	TOML_TIME_LOCAL,
	TOML_ARRAY,
	TOML_TABLE,
	_TOML_TYPE_MAX,
};

/* How a table or array came to be: decides what may still be added to it. Of use to the parser. */
enum toml_origin {
	TOML_ORIGIN_VALUE,    /* a scalar, `[1, 2]` or `{a = 1}`: closed */
	TOML_ORIGIN_IMPLICIT, /* the `a` of a header [a.b] */
	TOML_ORIGIN_HEADER,   /* [a], or one of [[a]] */
	TOML_ORIGIN_DOTTED,   /* the `a` of a key a.b = 1 */
};

struct toml {
	enum toml_type type;
	enum toml_origin origin;
	uint32_t line, column; /* from 1, in characters: of the key, or of the value in an array */
	char *key;             /* NULL for the root and in arrays; NUL-terminated behind key_len */
	size_t key_len;        /* a quoted key may contain NUL */
	union {
		struct {
			char *data; /* UTF-8, NUL-terminated behind len; may contain NUL */
			size_t len; /* date-times: RFC 3339 text with "T" and "Z" */
		} string;
		int64_t integer;
		double number;
		bool boolean;
		struct {
			struct toml **v; /* in the order of the text */
			size_t n;
		} items;
	};
};

struct toml_error {
	uint32_t line, column; /* from 1, in characters */
	char text[200];
};

/*
 * toml_parse: the tree of the n bytes at `text`. *ret is a TOML_TABLE; free with toml_free. Returns
 * 0, -EINVAL (not TOML) or -E2BIG (a limit above), and *error says where and why.
 */
int toml_parse(const char *text, size_t n, struct toml **ret, struct toml_error *error);
/* toml_free: the value and everything below it; NULL is fine. */
void toml_free(struct toml *value);
DEFINE_CLEANUP(struct toml *, toml_free)
/* toml_get: the value of a key of a table, or NULL. */
struct toml *toml_get(const struct toml *table, const char *key);
/* toml_type_name: "string", "integer", … for messages. */
const char *toml_type_name(enum toml_type type);
