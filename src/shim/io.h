/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The three streams of one process, between containerd's FIFOs and the sandbox. Nothing is buffered
 * here but one piece of each stream: a full FIFO stops the reading from the guest, and a guest that
 * does not read stops the reading from the FIFO.
 */

#include <stdbool.h>

#include "base/err.h"
#include "loop/loop.h"
#include "runtime/sandbox.h"

struct io;

struct io_request {
	const char *namespace, *id, *exec_id;
	const char *in, *out, *err; /* as in task.CreateTaskRequest; "": none */
	bool terminal;
};

/* io_open: open the ends of containerd. From a coroutine. On failure nothing is left open. */
int io_open(struct loop *loop, const struct io_request *request, struct io **ret, struct err *err);
/* io_start: the process has been started in `sandbox`: let the bytes flow. Once. */
void io_start(struct io *io, struct sandbox *sandbox);
/* io_has_stdin: whether the process gets a standard input. */
bool io_has_stdin(const struct io *io);
/* io_close_stdin: what is in the FIFO is the last of it (CloseIO): the process sees the end behind
 * it. At any time, also before io_start(), and more than once. */
void io_close_stdin(struct io *io);
/* io_drain: wait (in a coroutine) until all output has been passed on, at most until the monotonic
 * deadline, or until there was none for quiet_usec. Returns 0 or -ETIMEDOUT. */
int io_drain(struct io *io, uint64_t quiet_usec, uint64_t deadline);
/* io_free: close everything. What is under way in other coroutines ends by itself. */
void io_free(struct io *io);
DEFINE_CLEANUP(struct io *, io_free)
