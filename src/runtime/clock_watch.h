/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Jumps of the host's clock: somebody has set it, or the host has slept (timerfd_create(2),
 * TFD_TIMER_CANCEL_ON_SET). A clock that is made to go faster or slower for a while does not jump.
 */

#include "loop/loop.h"

struct clock_watch {
	struct loop_io io;
	int fd;
	void (*jumped)(struct clock_watch *watch);
};

/* clock_watch_start: call jumped() from the loop after each jump. Returns 0 or -errno.
 * clock_watch_stop: one that was never started (zeros) is fine. */
int clock_watch_start(struct clock_watch *watch, struct loop *loop,
		      void (*jumped)(struct clock_watch *watch));
void clock_watch_stop(struct clock_watch *watch);
