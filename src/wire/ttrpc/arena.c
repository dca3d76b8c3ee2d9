/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/ttrpc/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define CHUNK_MIN ((size_t)4096)
#define CHUNK_MAX ((size_t)1 << 20)
#define ALIGN     _Alignof(max_align_t)

struct arena_chunk {
	struct arena_chunk *older;
	_Alignas(max_align_t) char data[];
};

static void *pb_alloc(void *data, size_t size)
{
	return arena_try(data, size);
}

static void pb_free(_unused_ void *data, _unused_ void *p)
{
}

void arena_init(struct arena *arena, void *memory, size_t n, size_t limit)
{
	*arena = (struct arena){
		.next = memory,
		.end = memory ? (char *)memory + n : NULL,
		.limit = limit,
		.allocator = {.alloc = pb_alloc, .free = pb_free, .allocator_data = arena},
	};
}

void arena_fini(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->older;
		free(chunk);
	}
	arena->next = arena->end = NULL;
	arena->used = 0;
}

/* Chunks double up to CHUNK_MAX; a larger piece gets a chunk of its own size. */
static int grow(struct arena *arena, size_t size)
{
	size_t n = MIN(MAX(CHUNK_MIN, arena->used), CHUNK_MAX);
	struct arena_chunk *chunk;

	n = MAX(n, size);
	/* Near the limit take what is left rather than fail a small request for a large chunk. */
	if (arena->used < arena->limit)
		n = MAX(MIN(n, arena->limit - arena->used), size);
	chunk = malloc(sizeof(*chunk) + n);
	if (!chunk)
		return -1;
	chunk->older = arena->chunks;
	arena->chunks = chunk;
	arena->next = chunk->data;
	arena->end = chunk->data + n;
	arena->used += n;
	return 0;
}

static void *take(struct arena *arena, size_t size)
{
	void *p;

	if (size > (size_t)(arena->end - arena->next) && grow(arena, size) < 0)
		return NULL;
	p = arena->next;
	arena->next += size;
	return p;
}

static size_t round_up(size_t size)
{
	return size > SIZE_MAX - ALIGN ? SIZE_MAX : (size + ALIGN - 1) & ~(ALIGN - 1);
}

void *arena_try(struct arena *arena, size_t size)
{
	size = round_up(size);
	if (size > (size_t)(arena->end - arena->next) &&
	    (arena->used >= arena->limit || size > arena->limit - arena->used)) {
		arena->full = true;
		return NULL;
	}
	return take(arena, size);
}

void *arena_alloc(struct arena *arena, size_t size)
{
	void *p = size < SIZE_MAX / 2 ? take(arena, round_up(size)) : NULL;

	if (!p)
		abort();
	return memset(p, 0, size);
}

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;

	if (size > budget->left)
		return NULL;
	budget->left -= size;
	return malloc(size);
}

static void budget_free(_unused_ void *data, void *p)
{
	free(p);
}

void budget_init(struct budget *budget, size_t limit)
{
	budget->left = limit;
	budget->allocator = (ProtobufCAllocator){budget_alloc, budget_free, budget};
}
