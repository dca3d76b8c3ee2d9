/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/title.h"

#include <stddef.h>
#include <string.h>

/* Names of containers and namespaces have 76 bytes at most in containerd, its socket has 107. */
#define ROOM_64   "                                                                "
#define ROOM_SIZE 512

const char title_room[] = ROOM_64 ROOM_64 ROOM_64 ROOM_64 ROOM_64 ROOM_64 ROOM_64 ROOM_64;
_Static_assert(sizeof(title_room) == ROOM_SIZE + 1, "eight times 64");

/* The kernel has put the arguments one behind the other. */
static char *first, *end;

void title_init(int argc, char *argv[])
{
	if (argc < 2)
		return;
	first = argv[1];
	end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
}

void title_set(const char *const *args)
{
	char *at = first;

	if (!first || end < first)
		return;
	memset(first, 0, (size_t)(end - first));
	for (; *args && strlen(*args) < (size_t)(end - at); at += strlen(*args++) + 1)
		memcpy(at, *args, strlen(*args));
}
