/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A container in a sandbox of its own, with our standard streams, until it ends. */

#include "cli/run_spec.h"
#include "config/config.h"

#define RUN_FAILED        125 /* as other runtimes' `run`: ours, … */
#define RUN_NOT_PERMITTED 126 /* … the command cannot be executed, … */
#define RUN_NOT_FOUND     127 /* … or does not exist */

/*
 * run_container: bundle is an empty folder of ours. Returns the container's exit status (128 +
 * signal), or one of the above with the text in err.
 */
int run_container(struct config *config, const struct run_request *request, const char *bundle,
		  struct err *err);
