/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_boottime(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

uint64_t clock_realtime(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint64_t clock_after(uint64_t usec)
{
	uint64_t now = clock_now();

	return usec > USEC_NEVER - now ? USEC_NEVER : now + usec;
}
