/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Work for those that come after us, in a process of its own: this program is started once more, in
 * the mount namespace that we came from and without any of our descriptors, out of the control
 * group of our sandbox, with the lowest priority. It goes on when we end.
 */

#include "base/err.h"
#include "loop/loop.h"
#include "runtime/sandbox.h"
#include "shim/options.h"

struct background_order {
	const struct sandbox *sandbox; /* ours */
	int mounts;                    /* the mount namespace of whoever has started us */
	int log;                       /* where the log goes; -1: nowhere */
	bool debug;
};

/* background_template: have the template made that our sandbox has not found. background_spare:
 * have a spare made, if one is missing. Both do nothing when nobody needs to, and log failures.
 * Until its end or ours the process is looked after in *child. */
void background_template(struct loop *loop, struct loop_child *child,
			 const struct background_order *order);
void background_spare(struct loop *loop, struct loop_child *child,
		      const struct background_order *order);
/* background_begin: in that process: wait until it is where it belongs, which is when standard
 * input ends, and begin to log. */
void background_begin(const struct options *options);
/* background_step_back: to the lowest priority, again. */
void background_step_back(void);
