/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time. All durations and instants in the tree are microseconds in a uint64_t unless named else. */

#include <stdint.h>

#define USEC_PER_MSEC 1000ULL
#define USEC_PER_SEC  1000000ULL
#define USEC_NEVER    UINT64_MAX

/* clock_now: CLOCK_MONOTONIC in µs. */
uint64_t clock_now(void);
/* clock_boottime, clock_realtime: the same of those clocks. */
uint64_t clock_boottime(void);
uint64_t clock_realtime(void);
/* clock_after: the monotonic instant `usec` from now, saturating at USEC_NEVER. */
uint64_t clock_after(uint64_t usec);
