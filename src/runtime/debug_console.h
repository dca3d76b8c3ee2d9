/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The debug console: the guest's virtio-serial port, on which the agent runs a shell, as a UNIX
 * socket that `kata-runtime exec` connects to.
 */

#include "base/err.h"
#include "loop/loop.h"

#define DEBUG_CONSOLE_SOCKET "debug-console.sock" /* in /run/vc/sbs/<id> */

struct debug_console;

/* debug_console_new: listen at path (only for root) and pass on what comes from and goes to
 * port_fd, which is consumed, also when it fails. */
int debug_console_new(struct loop *loop, int port_fd, const char *path, struct debug_console **ret,
		      struct err *err);
/* debug_console_free: NULL is fine; the socket is removed. */
void debug_console_free(struct debug_console *console);
