/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A scope is systemd's unit for processes that somebody else has started. Where systemd manages the
 * control groups of the host, nobody else may make groups in its slices; it is asked for a scope.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* systemd_is_running: is it process 1 (sd_booted(3))? */
bool systemd_is_running(void);
/*
 * systemd_scope_start: put a process into a new scope `unit` ("x.scope") of `slice`, of which
 * systemd leaves the inside to us (Delegate=). It is gone when its last process has ended. Blocks:
 * for a child. On an error *ret_error says more, or is NULL; the caller frees.
 */
int systemd_scope_start(const char *unit, const char *slice, pid_t pid, uint64_t deadline,
			char **ret_error);
