/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The daemon: one loop that serves one sandbox until it is gone. */

#include "base/err.h"
#include "runtime/sandbox.h"
#include "shim/caller.h"
#include "shim/options.h"

/* Everything is borrowed while the daemon runs. */
struct serve {
	const struct options *options;
	const struct caller *caller;
	const char *id;        /* of the sandbox */
	const char *bundle;    /* of its first container, absolute */
	const char *socket;    /* path of the listening socket, removed at the end */
	int listener;          /* becomes the daemon's */
	int mounts;            /* the mount namespace of our caller */
	struct loop *loop;     /* of a spare; becomes the daemon's; NULL: it makes one */
	struct sandbox *spare; /* for the sandbox, if it fits; becomes the daemon's; NULL: none */
};

/* serve_run: the daemon's life. Returns 0 when it ended as asked, else it has logged why. */
int serve_run(const struct serve *serve);
