/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A place for tests that would otherwise change the machine. */

/*
 * own_run_enter: namespaces of the process's own (user, unless it is root, and mount), with a tmpfs
 * as /run, where a sandbox keeps its state, and no control groups, which would be the host's.
 * Returns 0, or -1 where that is not allowed.
 */
int own_run_enter(void);
