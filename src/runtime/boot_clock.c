/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "runtime/boot.h"

#define CLOSE (3 * USEC_PER_MSEC) /* as far as the guest's clock may be behind */
#define TRIES 5

/* *ret_took: µs of the whole call; by less than that the guest's clock is behind ours. */
static int set_once(struct sandbox *s, uint64_t *ret_took, struct err *err)
{
	Grpc__SetGuestDateTimeRequest date = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	uint64_t began = clock_now(), now = clock_realtime();
	int r;

	date.sec = (int64_t)(now / USEC_PER_SEC);
	date.usec = (int64_t)(now % USEC_PER_SEC);
	r = agent_set_date_time(s->agent, &date, clock_after(s->patience), err);
	*ret_took = clock_now() - began;
	return r;
}

/* Where the first call took long, because it was the first or the host had others to serve, the
 * guest's clock is behind: the next one is quicker. */
int boot_set_clock(struct sandbox *s, struct err *err)
{
	uint64_t took = USEC_NEVER;
	int r = 0;

	for (int i = 0; r == 0 && took > CLOSE && i < TRIES; i++) {
		r = set_once(s, &took, err);
		log_debug("set the guest's clock: %" PRIu64 " us", took);
	}
	return r;
}

/* --- later --- */

static void follow(void *arg)
{
	struct sandbox *s = arg;
	_cleanup_err_ struct err err = {0};
	int r = 0;

	while (s->state == SANDBOX_BOOTING)
		co_cond_wait(&s->changed, USEC_NEVER);
	while (r == 0 && s->clock_jumped && sandbox_usable(s, NULL) == 0) {
		s->clock_jumped = false;
		log_info("the host's clock was set, or it has slept: the guest's is set, too");
		r = boot_set_clock(s, &err);
	}
	if (r < 0 && sandbox_usable(s, NULL) == 0)
		log_warn("the guest's clock is not the host's: %s", err_text(&err));
	s->following_clock = false;
	sandbox_unref(s);
}

static void on_jump(struct clock_watch *watch)
{
	struct sandbox *s = container_of(watch, struct sandbox, clock);

	s->clock_jumped = true;
	if (s->following_clock)
		return;
	s->following_clock = true;
	sandbox_ref(s);
	co_start(s->loop, follow, s);
}

int boot_follow_clock(void *context, struct err *err)
{
	struct sandbox *s = context;
	int r = clock_watch_start(&s->clock, s->loop, on_jump);

	return r < 0 ? err_set(err, r, "watch the host's clock") : 0;
}

void boot_leave_clock(void *context)
{
	struct sandbox *s = context;

	clock_watch_stop(&s->clock);
}
