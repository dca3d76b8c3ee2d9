/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/clock_watch.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define NEVER ((time_t)1 << 33) /* seconds: the year 2242 */

static int arm(int fd)
{
	const struct itimerspec never = {.it_value.tv_sec = NEVER};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
		       ? -errno
		       : 0;
}

static void on_timer(struct loop_io *io, _unused_ uint32_t events)
{
	struct clock_watch *watch = container_of(io, struct clock_watch, io);
	uint64_t expired;

	if (read(watch->fd, &expired, sizeof(expired)) < 0 && errno != ECANCELED)
		return;
	(void)arm(watch->fd);
	watch->jumped(watch);
}

int clock_watch_start(struct clock_watch *watch, struct loop *loop,
		      void (*jumped)(struct clock_watch *watch))
{
	_cleanup_(closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = arm(fd);
	if (r == 0)
		r = loop_io_add(loop, &watch->io, fd, EPOLLIN, on_timer);
	if (r < 0)
		return r;
	watch->jumped = jumped;
	watch->fd = TAKE_FD(fd);
	return 0;
}

void clock_watch_stop(struct clock_watch *watch)
{
	if (!watch->io.loop)
		return;
	loop_io_remove(&watch->io);
	watch->fd = fd_close(watch->fd);
}
