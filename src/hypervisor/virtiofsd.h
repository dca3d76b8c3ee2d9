/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * virtiofsd, the program that serves a folder of the host to the guest (vhost-user-fs). There are
 * two of that name: QEMU's own in C (up to QEMU 7.2) and its successor in Rust; either will do.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "loop/loop.h"

struct virtiofsd;

/* Borrowed during virtiofsd_start(). */
struct virtiofsd_config {
	const char *path;     /* of the program */
	const char *source;   /* the folder to share; exists */
	const char *run_dir;  /* where the socket is made for a moment: /run/vc/vm/<id> */
	const char *cache;    /* "auto", "always", "never" (NULL: auto) */
	unsigned int timeout; /* seconds that names and attributes are kept; 0: as the cache has it.
				 The Rust daemon cannot be told. */
	const char *const *extra_args; /* from the configuration, in the Rust daemon's words */
	size_t n_extra_args;
	bool debug;
};

/* Called from the loop when the daemon has ended unasked: one line with the cause. */
struct virtiofsd_listener {
	void (*exited)(struct virtiofsd *fs, const char *reason, void *arg);
	void *arg;
};

/*
 * virtiofsd_start: run it. Returns as soon as the program runs; *ret_fd is a socket connected to
 * it, for struct vm_device.fs.fd (the daemon takes the connection when it is ready). Runs in a
 * coroutine (the first call asks the program which of the two it is). It dies with our process.
 */
int virtiofsd_start(struct loop *loop, const struct virtiofsd_config *config,
		    const struct virtiofsd_listener *listener, struct virtiofsd **ret, int *ret_fd,
		    struct err *err);
/* virtiofsd_stop: end it and wait for its end (in a coroutine). It ends by itself when QEMU has
 * closed the connection; SIGTERM, after a second SIGKILL. Idempotent; the listener is not called.
 */
int virtiofsd_stop(struct virtiofsd *fs, struct err *err);
/* virtiofsd_free: kills what still runs. NULL is fine. */
void virtiofsd_free(struct virtiofsd *fs);
DEFINE_CLEANUP(struct virtiofsd *, virtiofsd_free)
/* virtiofsd_pid: 0 when it has ended. */
pid_t virtiofsd_pid(const struct virtiofsd *fs);
