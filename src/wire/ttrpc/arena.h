/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory of one call: taken in steps, given back at once. It also is an allocator for protobuf-c,
 * so that an unpacked message needs no walk to be freed and its size has a bound whatever its bytes
 * say (two bytes on the wire can mean a message of a hundred).
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk
		*chunks;  /* newest first; the oldest is the caller's own memory if given */
	char *next, *end; /* free room in the newest chunk */
	size_t used;      /* bytes of all chunks that were asked of malloc() */
	size_t limit;     /* arena_try() fails beyond this */
	bool full;        /* it has failed */
	ProtobufCAllocator allocator;
};

/* arena_init: `memory` (may be NULL) of n bytes serves first and stays the caller's. */
void arena_init(struct arena *arena, void *memory, size_t n, size_t limit);
void arena_fini(struct arena *arena);
/* arena_try: size bytes, aligned for anything, not zeroed; NULL beyond the limit or out of memory.
 */
void *arena_try(struct arena *arena, size_t size);
/* arena_alloc: zeroed, regardless of the limit; ends the program when there is no memory. */
void *arena_alloc(struct arena *arena, size_t size);

/*
 * A bounded allocator over malloc(), for messages whose owner will free them with
 * protobuf_c_message_free_unpacked(message, NULL).
 */
struct budget {
	size_t left;
	ProtobufCAllocator allocator;
};

void budget_init(struct budget *budget, size_t limit);
