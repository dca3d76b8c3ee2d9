/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where a shim listens. */

#include <stdbool.h>

#include "base/err.h"

/*
 * address_path: the socket of a sandbox: a name of fixed length below `dir` ("": containerd's
 * /run/containerd/s), the digest of containerd's address, the namespace and the sandbox's id, so
 * that several containerds and namespaces do not meet. The caller frees.
 */
char *address_path(const char *dir, const char *containerd, const char *namespace, const char *id);
/*
 * address_listen: listen at `path`, for root only. A socket that nobody serves any more is
 * replaced. Returns the descriptor, -EADDRINUSE when somebody answers there, or another -errno.
 */
int address_listen(const char *path, struct err *err);
/* address_is_served: whether somebody accepts connections at `path`. */
bool address_is_served(const char *path);
/* address_remove_stale: the socket at `path` that its shim could not remove. The path may come from
 * a file: what is not a socket, or is one that somebody still serves, stays. Returns whether there
 * is no socket any more. */
bool address_remove_stale(const char *path);
/* address_sweep: the same for every socket below `dir` that was made by address_listen(): a shim
 * may be killed before anything on disk says that it was there. It blocks: not for the loop. */
void address_sweep(const char *dir);
