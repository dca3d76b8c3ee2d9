/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Waiting for devices: the kernel's uevents wake whoever waits, and load the driver of what has
 * appeared. Waiters look for their device themselves, again and again; an event only tells them
 * when that is worth while, so a lost one costs a fraction of a second and nothing else.
 */

#include "agent/agent.h"

/* uevents_open: before devices appear. Without the socket (an unprivileged process) waiters poll.
 */
void uevents_open(struct agent *agent);
void uevents_close(struct agent *agent);
/* uevents_load_present: in a coroutine: drivers that the boot did not need, for devices that are
 * there (see modules_load_present()), with the lowest priority. Those that appear later have their
 * events. */
void uevents_load_present(struct agent *agent);
/* uevents_want_driver: have what `wanted` stands for (see modules_load()) loaded; who waits for a
 * device waits for its end. */
void uevents_want_driver(struct agent *agent, const char *wanted);
/* uevents_wait: in a coroutine: until an event or a short while has passed. -ETIMEDOUT only when
 * the monotonic deadline has, and no driver is being loaded: on a loaded host a guest's clock goes
 * on while the guest does not. */
int uevents_wait(struct agent *agent, uint64_t deadline);
