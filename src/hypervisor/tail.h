/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last bytes of a text stream nobody may have read: the guest's console, QEMU's standard error.
 * Kept for error messages, bounded, and made safe to print.
 */

#include <stdint.h>

#include "base/str.h"
#include "loop/loop.h"

#define TAIL_KEPT 4096U /* bytes */

struct tail {
	struct loop_io io;
	int fd; /* read end of a pipe, -1: none */
	char ring[TAIL_KEPT];
	uint64_t total; /* bytes ever seen */
	struct buf text;
};

void tail_init(struct tail *c);
/* tail_open: follow the pipe `fd`, which becomes the tail's (also on failure). */
int tail_open(struct tail *c, struct loop *loop, int fd);
/* tail_drain: read what is there now, for the time after the writer's end. */
void tail_drain(struct tail *c);
/* tail_text: the last n lines that are not empty, joined by " | ", without control characters;
 * never NULL, valid until the next call. */
const char *tail_text(struct tail *c, unsigned n);
void tail_fini(struct tail *c);
