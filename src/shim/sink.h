/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where a process's output goes, as containerd names it (docs/runtime-v2.md, "Logging"): the path
 * of a FIFO, file:///path, or binary:///program?key=value, a program that is started and gets both
 * streams on its descriptors 3 and 4.
 */

#include <stdbool.h>

#include "base/err.h"

struct sink {
	int out, err; /* non-blocking where that means something; -1: nobody wants this stream */
};

struct sink_request {
	const char *out, *err; /* "": not wanted */
	bool terminal;         /* there is no second stream */
	const char *namespace, *id;
};

/* sink_open: from a coroutine (a logger program is waited for). On failure nothing is left. */
int sink_open(const struct sink_request *request, struct sink *ret, struct err *err);
void sink_close(struct sink *sink);
