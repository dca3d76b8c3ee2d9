/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The memory of a template that its clones share copy-on-write: one file in memory, sealed against
 * every change, that each of them maps privately (design decision 9). It has no place on disk and
 * no keeper: whoever was restored from it holds it and says so in its state, the next one takes it
 * from there, and it is gone with the last. It is told by the digest of the template's state, which
 * fits this memory alone.
 */

#include <stdint.h>

#include "base/err.h"

/*
 * shared_memory_find: that of a sandbox of this host that lives. Returns a descriptor, which is the
 * caller's, or -ENOENT. What cannot be read, or is not what it says, is passed over.
 */
int shared_memory_find(const char *digest, uint64_t size);
/* shared_memory_new: an empty one, to be filled and then sealed. Returns a descriptor, which is the
 * caller's, or -errno. */
int shared_memory_new(const char *digest, uint64_t size, struct err *err);
/* shared_memory_seal: from now on nobody changes it, whoever opens it again. */
int shared_memory_seal(int fd, struct err *err);
