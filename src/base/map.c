/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"

/*
 * Open addressing with linear probing at a load of at most 3/4; removal shifts the run back, so
 * there are no tombstones.
 */

static uint64_t hash_seed(void)
{
	static uint64_t seed;

	while (!seed)
		if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
			seed = (uintptr_t)&seed | 1;
	return seed;
}

static size_t slot_of(const struct map *m, const char *key)
{
	uint64_t h = hash_seed();

	for (; *key; key++) {
		h ^= (unsigned char)*key;
		h *= 0x100000001b3ULL;
		h ^= h >> 29;
	}
	return (size_t)h & (m->cap - 1);
}

static struct map_entry *find(const struct map *m, const char *key)
{
	size_t i = slot_of(m, key);

	while (m->slots[i].key && strcmp(m->slots[i].key, key) != 0)
		i = (i + 1) & (m->cap - 1);
	return &m->slots[i];
}

static void grow(struct map *m)
{
	struct map bigger = {.cap = m->cap ? m->cap * 2 : 8, .n = m->n};

	bigger.slots = xcalloc(bigger.cap, sizeof(*bigger.slots));
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key)
			*find(&bigger, m->slots[i].key) = m->slots[i];
	free(m->slots);
	*m = bigger;
}

void *map_get(const struct map *m, const char *key)
{
	return m->n ? find(m, key)->value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
	struct map_entry *e;
	void *old;

	if (4 * (m->n + 1) > 3 * m->cap)
		grow(m);
	e = find(m, key);
	old = e->value;
	if (!e->key) {
		e->key = xstrdup(key);
		m->n++;
	}
	e->value = value;
	return old;
}

void *map_remove(struct map *m, const char *key)
{
	struct map_entry *e;
	size_t hole, i;
	void *value;

	if (!m->n)
		return NULL;
	e = find(m, key);
	if (!e->key)
		return NULL;
	value = e->value;
	free(e->key);
	m->n--;
	hole = (size_t)(e - m->slots);
	*e = (struct map_entry){0};
	for (i = (hole + 1) & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1)) {
		size_t home = slot_of(m, m->slots[i].key);

		/* Entry i may fill the hole unless its home lies behind the hole. */
		if (((i - home) & (m->cap - 1)) < ((i - hole) & (m->cap - 1)))
			continue;
		m->slots[hole] = m->slots[i];
		m->slots[i] = (struct map_entry){0};
		hole = i;
	}
	return value;
}

void map_fini(struct map *m)
{
	for (size_t i = 0; i < m->cap; i++)
		free(m->slots[i].key);
	free(m->slots);
	*m = (struct map){0};
}
