/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where spares wait for their pods: each configuration file has a folder, and there each spare a
 * place, which is its own as long as it holds the lock:
 *
 *	SPARE_ROOT/<digest of the file's name>/<place>.lock
 *	                                       <place>.sock   it listens here when it is ready
 *	                                       dismissed      when all were dismissed the last time
 *
 * Who connects first has it. A spare that ends, however it does, lets go of its lock; the socket
 * that a killed one leaves refuses connections until the place is another's.
 */

#include <stdbool.h>
#include <time.h>

#include "base/err.h"
#include "base/str.h"

#define SPARE_ROOT "/run/vc/spare"

/* What a spare is told that is not wanted any more, instead of an order (shim/handover.h). */
#define SPARE_DISMISSED "dismissed"

struct spare_place {
	int lock, listener; /* -1: none */
	char *folder, *socket;
	struct timespec dismissed; /* the last time when it was claimed */
};

/* spare_claim: the first free one of n places; -EEXIST: all are taken. spare_release: give it
 * back; one that was never claimed (lock -1) is fine. */
int spare_claim(const char *config_file, unsigned int n, struct spare_place *ret, struct err *err);
void spare_release(struct spare_place *place);
/* spare_offer: listen there: whoever looks for a spare finds it from now on. -ECANCELED: all were
 * dismissed meanwhile. */
int spare_offer(struct spare_place *place, struct err *err);
/* spare_missing: is one of n places free? */
bool spare_missing(const char *config_file, unsigned int n);
/* spare_connect: to one that is ready, at a place from *next on, which is then the place behind
 * it. Returns a blocking socket, the caller's, or -ENOENT. */
int spare_connect(const char *config_file, unsigned int *next);
/* spare_count: how many are ready. spare_dismiss: end those that are ready, whose number is
 * returned, and those that are being made as soon as they would be. */
unsigned int spare_count(const char *config_file);
unsigned int spare_dismiss(const char *config_file);
