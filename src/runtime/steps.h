/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A long sequence as a table: what to do, how to undo it, how long it may take (design decision 2).
 * Undo functions are idempotent and accept a step that was done by half, or not at all.
 */

#include <stdint.h>

#include "base/err.h"

struct step {
	const char *name;                             /* completes "… failed": "start the VM" */
	int (*enter)(void *context, struct err *err); /* may wait, until *deadline */
	void (*undo)(void *context);                  /* NULL: nothing to undo */
	uint64_t timeout; /* µs; 0: the step watches its own progress */
};

/*
 * steps_run: one after the other. Before each, *deadline becomes the monotonic instant by which it
 * has to be done. The first failure undoes that step and all before it, in reverse, and returns its
 * error as "<name>: <cause>"; `explain` (may be NULL) may add to the error before anything is
 * undone.
 */
int steps_run(const struct step *steps, size_t n, void *context, uint64_t *deadline,
	      void (*explain)(void *context, struct err *err), struct err *err);
/* steps_undo: undo the first n steps, last one first. */
void steps_undo(const struct step *steps, size_t n, void *context);
