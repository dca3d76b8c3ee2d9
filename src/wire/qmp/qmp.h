/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * QMP, the machine protocol of QEMU (docs/interop/qmp-spec.txt in its source): one JSON object a
 * line. QEMU runs a hostile guest, so it is a peer that may say anything: a line is at most
 * QMP_LINE_MAX long, at most QMP_PENDING_MAX commands are under way, and whoever breaks the
 * protocol loses the connection.
 */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

#define QMP_LINE_MAX    (1U << 20)
#define QMP_PENDING_MAX 64U
#define QMP_FDS_MAX     16U

struct qmp;

/* Called from the loop, outside of any coroutine. Either may be NULL. */
struct qmp_listener {
	/* An event: its name and its data (an object, NULL when there is none), borrowed. */
	void (*event)(void *arg, const char *name, json_t *data);
	/* The peer has gone or broken the protocol; called at most once, never from qmp_free(). */
	void (*closed)(void *arg, const char *reason);
	void *arg;
};

/*
 * qmp_open: speak over a connected UNIX stream socket, which becomes the client's also on failure.
 * Waits (in a coroutine) for the greeting and leaves the negotiation mode. Returns 0; -ETIMEDOUT
 * when the peer does not answer by the monotonic deadline; -EPROTO or -EPIPE.
 */
int qmp_open(struct loop *loop, int fd, const struct qmp_listener *listener, uint64_t deadline,
	     struct qmp **ret, struct err *err);

/* qmp_free: close the connection; commands under way end with -EPIPE. NULL is fine. */
void qmp_free(struct qmp *qmp);
DEFINE_CLEANUP(struct qmp *, qmp_free)

/*
 * qmp_execute: run a command (from a coroutine) and wait for its answer, which may overtake others.
 * arguments: an object, consumed, NULL for none. fds: descriptors to pass with it (getfd, add-fd),
 * borrowed. *ret: what QEMU returned, the caller's (NULL: not wanted).
 *
 * Returns 0; -EREMOTEIO when QEMU refused, with its words in err (-ENOENT for its class
 * DeviceNotFound); -ETIMEDOUT after the deadline (a late answer is dropped); -EPIPE when the
 * connection has ended; -EBUSY with QMP_PENDING_MAX commands under way.
 */
int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, const int *fds,
		size_t n_fds, uint64_t deadline, json_t **ret, struct err *err);

/* qmp_alive: the connection still stands. */
bool qmp_alive(const struct qmp *qmp);
