/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the program can be asked to do. Each prints its result on standard output and returns 0, or
 * fills err. */

#include "base/err.h"
#include "shim/options.h"

/*
 * cmd_start: print the address of the shim that serves this container, in the form its caller
 * understands, after starting it as a daemon if it is not there. Returns in the calling process
 * only; the daemon ends by _exit().
 */
int cmd_start(const struct options *options, struct err *err);
/* cmd_delete: undo everything a dead shim has left and print a task.DeleteResponse. */
int cmd_delete(const struct options *options, struct err *err);
/* cmd_template: make the template that is called -id, of that configuration, when standard input
 * ends: whoever has started it has put it in its place by then. Logs what comes of it. */
int cmd_template(const struct options *options, struct err *err);
/* cmd_spare: make a sandbox of that configuration ready for a pod that is not known yet, when
 * standard input ends, and wait; then serve it, as the shim that `start` would have forked. Returns
 * when that, or the wait, is over. */
int cmd_spare(const struct options *options, struct err *err);
/* cmd_info: print a types.RuntimeInfo; the runtime's options come on standard input. */
int cmd_info(struct err *err);
