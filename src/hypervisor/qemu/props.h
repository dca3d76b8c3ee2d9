/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The description of one QEMU object, written once and rendered twice: as a command line argument
 * for a VM that is about to start and as QMP arguments for one that runs.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define PROPS_MAX 24

enum prop_type { PROP_STRING, PROP_NUMBER, PROP_BOOL };

struct prop {
	const char *key; /* static; dots nest in JSON: "file.driver" */
	enum prop_type type;
	char *text; /* owned, PROP_STRING */
	uint64_t number;
};

struct props {
	struct prop v[PROPS_MAX];
	size_t n;
};

/* props_add_…: append; a NULL or empty string is left out. Adding more than PROPS_MAX aborts. */
void props_add(struct props *p, const char *key, const char *value);
void props_addf(struct props *p, const char *key, const char *fmt, ...) _printf_(3, 4);
void props_add_empty(struct props *p, const char *key); /* "key=" */
void props_add_number(struct props *p, const char *key, uint64_t value);
void props_add_bool(struct props *p, const char *key, bool value);
/* props_get: the text of a string property, or NULL. */
const char *props_get(const struct props *p, const char *key);
/* props_to_arg: "value-of-first,key=value,…": the first property is given by its value alone, as
 * QEMU's options allow; commas are doubled. The caller frees. */
char *props_to_arg(const struct props *p);
/* props_to_json: an object; the caller's. */
json_t *props_to_json(const struct props *p);
void props_fini(struct props *p);
