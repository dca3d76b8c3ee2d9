/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Answers to questions that take long to ask and stay the same until the next boot or until a file
 * changes ("does KVM work", "which virtiofsd is this"), kept in small files of /run. Losing one
 * costs asking again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where they are kept: /run/kata-containers; tests put another folder here, or NULL for nowhere. */
extern const char *probe_cache_dir;

/* probe_cache_key: what the answer depends on: this boot and the identity of the file `about`. The
 * caller frees; NULL when it cannot be told. */
char *probe_cache_key(const char *about);
/* probe_cache_read: true when the file `name` of that folder holds an answer for that key that has
 * not expired; key NULL: false. */
bool probe_cache_read(const char *name, const char *key, char *ret, size_t n);
/* probe_cache_write: for so many µs; USEC_NEVER: as long as the key stays the same. */
void probe_cache_write(const char *name, const char *key, const char *answer, uint64_t usec);
