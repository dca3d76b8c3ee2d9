/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of keys: the one place that knows what a configuration file may say. Loading,
 * annotations, `kata-runtime env`, the default file, configuration.toml(5) and
 * docs/configuration.md all come from it. Internal to config/, its tools and cli/.
 */

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

#define KEY_HYPERVISOR         "hypervisor.qemu"
#define KEY_HYPERVISOR_FACTORY "hypervisor.qemu.factory"
#define KEY_FACTORY            "factory"
#define KEY_AGENT              "agent.kata"
#define KEY_MEM_AGENT          "agent.kata.mem_agent"
#define KEY_RUNTIME            "runtime"

#define KEY_ANNOTATION_PREFIX "io.katacontainers."

enum key_type {
	KEY_STRING,
	KEY_PATH, /* a string: absolute path or "" */
	KEY_BOOL,
	KEY_UINT,   /* uint32_t */
	KEY_UINT64, /* uint64_t */
	KEY_NUMBER, /* double; the file may give an integer */
	KEY_LIST,   /* struct strv: array of strings */
};

enum key_status {
	KEY_SERVED,
	KEY_INERT,   /* accepted, whatever it says: belongs to something that is off */
	KEY_REFUSED, /* accepted only with a value that says "off"; `why` says what is missing */
};

/* Which list of the configuration a path in an annotation must match. */
enum key_guard { KEY_GUARD_NONE, KEY_GUARD_HYPERVISOR, KEY_GUARD_VIRTIOFSD, KEY_GUARD_ENTROPY };

struct key {
	const char *section, *name;
	enum key_type type;
	enum key_status status;
	const char *fallback;   /* the default, as TOML */
	size_t offset;          /* of the field in struct config; served keys only */
	double min, max;        /* of numbers, when max is not 0 */
	const char *choices;    /* of strings: "a|b|c" */
	bool regex;             /* a list of regular expressions */
	const char *annotation; /* behind KEY_ANNOTATION_PREFIX; NULL: none */
	enum key_guard guard;
	bool append;         /* the annotation adds to the value, with a space */
	char list_separator; /* of the annotation of a list; 0: a JSON array */
	const char *off; /* refused: further values that say "off", as a TOML array; may be NULL */
	const char *why; /* refused: what is not served; inert: what it belongs to */
	const char *doc; /* served: what it is for, in sentences */
};

/* key_next: iterate over all keys, sections together: NULL gives the first; NULL after the last. */
const struct key *key_next(const struct key *key);
/* key_find: by section and name, or NULL. */
const struct key *key_find(const char *section, const char *name);
/* key_find_elsewhere: a key of this name in another section, or NULL. */
const struct key *key_find_elsewhere(const char *section, const char *name);
/* key_find_annotation: by the name behind KEY_ANNOTATION_PREFIX, or NULL. */
const struct key *key_find_annotation(const char *name);
/* key_nearest: the key of the section whose name is the most like `name`, or NULL when none is. */
const struct key *key_nearest(const char *section, const char *name);
/* key_nearest_annotation: the same for names behind KEY_ANNOTATION_PREFIX. */
const struct key *key_nearest_annotation(const char *name);
/* key_section_known: [section], or a parent of one, may stand in a file. */
bool key_section_known(const char *section);
/* str_distance: how many characters must be inserted, deleted, replaced or swapped with their
 * neighbour to make b from a; SIZE_MAX when one is longer than 64. */
size_t str_distance(const char *a, const char *b);

struct toml;

/*
 * key_set: check `value` and store it in the key's field. On failure -EINVAL or -ENOSYS and a text
 * without place ("must be …"). Refused and inert keys are checked and not stored.
 */
int key_set(struct config *config, const struct key *key, const struct toml *value,
	    struct err *err);
/* key_set_text: the same from the text of an annotation. */
int key_set_text(struct config *config, const struct key *key, const char *text, struct err *err);
/* key_set_default: store the table's default of a served key. */
int key_set_default(struct config *config, const struct key *key);
/* key_format: the value in the configuration as TOML; the caller frees. Served keys only. */
char *key_format(const struct config *config, const struct key *key);
/* key_field: the field of a served key. */
static inline void *key_field(const struct config *config, const struct key *key)
{
	return (char *)config + key->offset;
}
