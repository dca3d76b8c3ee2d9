/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * OCI hooks that run on the host (runtime-spec, config.md "POSIX-platform Hooks"): prestart and
 * createRuntime before the container is made, poststart, poststop. startContainer is the guest's.
 */

#include "runtime/model.h"

enum hooks_when { HOOKS_POSTSTART, HOOKS_POSTSTOP };

/* hooks_run_create: prestart, then createRuntime; the first that fails ends it with its output.
 * Once for a container: it keeps the annotations for those that run later. */
int hooks_run_create(struct container *c, const Grpc__Spec *spec, uint64_t deadline,
		     struct err *err);
/* hooks_run_later: those of c->hooks; a failure is logged, as the specification says. */
void hooks_run_later(struct container *c, enum hooks_when when);
/* hooks_keep: a copy of what is to run later, or NULL. */
Grpc__Hooks *hooks_keep(const Grpc__Spec *spec);
