/* SPDX-License-Identifier: Apache-2.0 */
#include "config/keys.h"

#include <stdint.h>

#include "config/keys_table.h"

#define DISTANCE_MAX_LEN 64

static const struct {
	const struct key *keys;
	const size_t *n;
} parts[] = {
	{keys_hypervisor, &n_keys_hypervisor}, {keys_agent, &n_keys_agent},
	{keys_runtime, &n_keys_runtime},       {keys_factory, &n_keys_factory},
	{keys_refused, &n_keys_refused},
};

const struct key *key_next(const struct key *key)
{
	if (!key)
		return parts[0].keys;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (key < parts[i].keys || key >= parts[i].keys + *parts[i].n)
			continue;
		if (key + 1 < parts[i].keys + *parts[i].n)
			return key + 1;
		return i + 1 < ARRAY_SIZE(parts) ? parts[i + 1].keys : NULL;
	}
	return NULL;
}

const struct key *key_find(const char *section, const char *name)
{
	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (streq(key->name, name) && streq(key->section, section))
			return key;
	return NULL;
}

const struct key *key_find_elsewhere(const char *section, const char *name)
{
	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (streq(key->name, name) && !streq(key->section, section))
			return key;
	return NULL;
}

const struct key *key_find_annotation(const char *name)
{
	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (key->annotation && streq(key->annotation, name))
			return key;
	return NULL;
}

/* Optimal string alignment: three rows of the table are enough. */
size_t str_distance(const char *a, const char *b)
{
	size_t rows[3][DISTANCE_MAX_LEN + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2], *free_row;
	size_t n = strlen(a), m = strlen(b);

	if (n > DISTANCE_MAX_LEN || m > DISTANCE_MAX_LEN)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= n; i++) {
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t changed = last[j - 1] + (a[i - 1] != b[j - 1]);

			row[j] = MIN(changed, MIN(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], before[j - 2] + 1);
		}
		free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[m];
}

/* The best so far of a search; a third of the characters may differ. */
struct nearest {
	const struct key *key;
	size_t distance;
};

static void nearest_try(struct nearest *best, const struct key *key, const char *candidate,
			const char *name)
{
	size_t distance = str_distance(candidate, name);

	if (distance <= 1 + strlen(name) / 3 && distance < best->distance) {
		best->key = key;
		best->distance = distance;
	}
}

const struct key *key_nearest(const char *section, const char *name)
{
	struct nearest best = {.distance = SIZE_MAX};

	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (streq(key->section, section) && key->status != KEY_INERT)
			nearest_try(&best, key, key->name, name);
	return best.key;
}

const struct key *key_nearest_annotation(const char *name)
{
	struct nearest best = {.distance = SIZE_MAX};

	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (key->annotation && key->status == KEY_SERVED)
			nearest_try(&best, key, key->annotation, name);
	return best.key;
}

bool key_section_known(const char *section)
{
	size_t n = strlen(section);

	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (strncmp(key->section, section, n) == 0 &&
		    (key->section[n] == '\0' || key->section[n] == '.'))
			return true;
	return false;
}
