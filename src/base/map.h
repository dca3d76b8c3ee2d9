/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A hash map from owned strings to borrowed pointers (the owner of a value frees it). The hash is
 * seeded at random, since keys come from peers. Iteration order is unspecified.
 */

#include <stddef.h>

#include "base/cleanup.h"

struct map_entry {
	char *key; /* NULL: free slot */
	void *value;
};

struct map {
	struct map_entry *slots;
	size_t n, cap;
};

/* map_get: the value, or NULL. */
void *map_get(const struct map *m, const char *key);
/* map_put: add or replace; value may not be NULL. Returns the replaced value or NULL. */
void *map_put(struct map *m, const char *key, void *value);
/* map_remove: take the entry out; returns its value or NULL. */
void *map_remove(struct map *m, const char *key);
/* map_fini: free keys and table; values are the caller's. */
void map_fini(struct map *m);

/* Iterate over entries `e`; the map may not change meanwhile. */
#define map_for_each(e, m)                                                     \
	for (struct map_entry *e = (m)->slots; e < (m)->slots + (m)->cap; e++) \
		if (!e->key) {                                                 \
		} else
