/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two other lines to the host: the log (one JSON record a line) and, only when the command line
 * has agent.debug_console, a shell. Each is the virtio port of its name if there is one, or the
 * vsock port that agent.log_vport and agent.debug_console_vport say.
 */

#include "agent/agent.h"

/* console_start: open both, in a coroutine; what is not there is left out. */
void console_start(struct agent *agent);
