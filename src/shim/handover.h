/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a spare becomes the shim of a sandbox. `start` connects to it, and three messages follow:
 *
 *	start → spare   the order: what `start` knows, its environment, and the descriptors of the
 *	                listening socket and of the mount namespace of its caller
 *	spare → start   it will
 *	start → spare   it shall: from here on the sandbox is the spare's
 *
 * When the connection ends before the last one, both are free: the spare waits for another, and
 * `start` forks a shim as ever.
 */

#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"
#include "shim/serve.h"

/* What was taken over: it owns what its `serve` borrows. */
struct handover {
	struct strv words; /* NUL-terminated each, in the order of handover.c */
	struct options options;
	struct caller caller;
	struct serve serve;
};

/*
 * handover_give: give the sandbox to a spare that connected as `sock` has it, in a process without
 * a loop. prepare() is told its process before the last message; when it fails nothing has been
 * given. Waits for a second at most for an answer.
 */
int handover_give(int sock, const struct serve *serve, int listener, int mounts,
		  int (*prepare)(const struct serve *serve, pid_t pid, struct err *err),
		  struct err *err);
/*
 * handover_take: the other side, from a coroutine; takes `sock`. 0: *ret is complete, and the
 * caller's; -ECANCELED: there was no order, or it was taken back; -ESHUTDOWN: the spare is not
 * wanted any more; -ESTALE: it comes from another version of this program; -EXDEV: its caller is in
 * another mount namespace than `mounts`, the one that the spare's own was copied from; -EBADMSG.
 */
int handover_take(int sock, int mounts, struct handover *ret);
/*
 * handover_parse: the order alone, n bytes, of a `start` that is the same build, `program`. *h is
 * empty, its descriptors apart; what is in it after a failure is the caller's as well. -EBADMSG;
 * -ESTALE: another build's.
 */
int handover_parse(const char *p, size_t n, const char *program, struct handover *h);
/* handover_enter: this process has the environment of that `start`, as if it had forked it. */
void handover_enter(const struct handover *h);
void handover_fini(struct handover *h);
