/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Out of memory: the kernel has killed something in a container's group. Each container is reported
 * once until the host has asked for it (GetOOMEvent waits).
 */

struct container;

/* oom_watch: follow the container's memory.events; without a memory controller nothing happens. */
void oom_watch(struct container *container);
/* oom_check: look now, so that the report comes before that of the exit. */
void oom_check(struct container *container);
/* oom_forget: stop, at the container's end. */
void oom_forget(struct container *container);
