/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Having a template made after a sandbox of `run` that has found none. */

#include "runtime/sandbox.h"

struct run_template_order {
	const struct sandbox *sandbox;  /* which has stopped: its control group is left behind */
	int mounts;                     /* the mount namespace that this program came from */
	const struct strv *log_options; /* where it logs to, besides the system's log */
	bool allow_emulation;
};

/*
 * run_template_order: start the program that makes it, unless nobody needs to. It has none of our
 * descriptors and a session of its own, and goes on when we end. A failure is logged.
 */
void run_template_order(const struct run_template_order *order);
