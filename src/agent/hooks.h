/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hooks: programs of the guest image that run at points of a container's life, with its state as
 * JSON on standard input (runtime specification, "POSIX-platform Hooks"). They come from the
 * folders prestart, poststart and poststop below the sandbox's guest_hook_path, in the order of
 * their names, and from the specification:
 *
 *	prestart, createRuntime	in the guest, when the first process waits to be started
 *	createContainer		in the container's namespaces, before its root is the root
 *	startContainer		in the container, right before its program
 *	poststart		in the guest, after the start
 *	poststop		in the guest, at the removal
 *
 * Programs are those of the guest image, for startContainer those of the container.
 */

#include <sys/types.h>

#include "base/err.h"
#include "base/list.h"
#include "oci.pb-c.h"

#define HOOKS_MAX         64U /* of one kind */
#define HOOKS_TIMEOUT_SEC 30U

struct container;

enum hook_kind { HOOK_PRESTART, HOOK_POSTSTART, HOOK_POSTSTOP, _HOOK_KIND_MAX };

/* hooks_load: check the hooks of all kinds (hooks may be NULL), and collect those that the agent
 * itself runs; init/inner_hooks.c has the others. */
int hooks_load(struct container *container, const Grpc__Hooks *hooks, struct err *err);
/* hooks_run: run those of a kind one after the other (coroutine). The first that fails ends it. */
int hooks_run(struct container *container, enum hook_kind kind, struct err *err);
/* hooks_state_pipe: the end of a pipe from which a hook reads the state, as JSON. -E2BIG: it is
 * longer than a pipe has room. */
int hooks_state_pipe(const char *id, const char *status, pid_t pid, const char *bundle);
/* hooks_fini: forget them. */
void hooks_fini(struct container *container);
