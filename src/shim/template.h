/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Having a template made in the background, when our sandbox has found none. */

#include "loop/loop.h"
#include "runtime/sandbox.h"

struct template_order {
	const struct sandbox *sandbox;
	int mounts; /* the mount namespace of whoever has started us */
	int log;    /* where the log goes; -1: nowhere */
	bool debug;
};

/*
 * template_order: start the program that makes it, unless nobody needs to. It goes on when we end;
 * until then its end is looked after in *child. Failures are logged: the sandbox runs without.
 */
void template_order(struct loop *loop, struct loop_child *child,
		    const struct template_order *order);
