/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uevents.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/modules.h"
#include "base/log.h"
#include "wire/netlink/uevent.h"

#define POLL_INTERVAL (100 * USEC_PER_MSEC)
/* Of a driver that hangs; one that only gets little of a processor is through long before. */
#define MODULE_LOAD_TIME (600 * USEC_PER_SEC)

#define NICENESS 19

struct uevent_watch {
	struct agent *agent;
	struct loop_io io;
	int fd;
	struct co_cond cond;
};

/* --- drivers --- */

struct module_load {
	struct agent *agent;
	char *wanted;
};

static int load_in_child(void *arg, _unused_ void *reply)
{
	int r = modules_load(arg);

	return r < 0 ? r : 0;
}

/* Who waits for a device waits for this, too. */
static int run_loader(struct agent *agent, int (*load)(void *arg, void *reply), void *arg)
{
	int r;

	agent->n_loading++;
	r = co_run_child(load, arg, NULL, 0, clock_after(MODULE_LOAD_TIME));
	agent->n_loading--;
	/* A driver that binds makes devices, whose events may have come before this. */
	if (agent->uevents)
		co_cond_wake_all(&agent->uevents->cond);
	return r;
}

static void load_module(void *arg)
{
	struct module_load *load = arg;
	int r;

	r = run_loader(load->agent, load_in_child, load->wanted);
	if (r < 0)
		log_warn("driver for %s: %s", load->wanted, strerror(-r));
	free(load->wanted);
	free(load);
}

void uevents_want_driver(struct agent *agent, const char *wanted)
{
	struct module_load *load;

	/* Only PID 1 owns the kernel it runs on. */
	if (!agent->is_init || !modules_has(wanted))
		return;
	load = xnew(struct module_load);
	load->agent = agent;
	load->wanted = xstrdup(wanted);
	co_start(agent->loop, load_module, load);
}

static int load_all_in_child(_unused_ void *arg, _unused_ void *reply)
{
	/* The pod that is being started comes first. When it waits for this, the processor is idle:
	 * its network comes before its containers. */
	(void)setpriority(PRIO_PROCESS, 0, NICENESS);
	return modules_load_present();
}

void uevents_load_present(struct agent *agent)
{
	int r = run_loader(agent, load_all_in_child, NULL);

	if (r < 0)
		log_warn("drivers for what is there: %s", strerror(-r));
}

/* --- events --- */

static void on_readable(struct loop_io *io, _unused_ uint32_t events)
{
	struct uevent_watch *watch = container_of(io, struct uevent_watch, io);
	char buf[UEVENT_MAX];
	struct uevent event;

	for (int i = 0; i < 64; i++) {
		int r = uevent_receive(watch->fd, buf, &event);

		if (r == -EAGAIN)
			break;
		if (r == 0 && event.modalias && streq(event.action, "add"))
			uevents_want_driver(watch->agent, event.modalias);
	}
	co_cond_wake_all(&watch->cond);
}

void uevents_open(struct agent *agent)
{
	struct uevent_watch *watch = xnew(struct uevent_watch);
	int r = 0;

	watch->agent = agent;
	co_cond_init(&watch->cond);
	watch->fd = uevent_open();
	if (watch->fd >= 0)
		r = loop_io_add(agent->loop, &watch->io, watch->fd, EPOLLIN, on_readable);
	if (watch->fd < 0 || r < 0)
		log_debug("no uevents, looking for devices every %llu ms",
			  POLL_INTERVAL / USEC_PER_MSEC);
	agent->uevents = watch;
}

void uevents_close(struct agent *agent)
{
	struct uevent_watch *watch = TAKE_PTR(agent->uevents);

	if (!watch)
		return;
	co_cond_wake_all(&watch->cond);
	loop_io_remove(&watch->io);
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}

int uevents_wait(struct agent *agent, uint64_t deadline)
{
	uint64_t now = clock_now();

	if (now >= deadline) {
		if (!agent->n_loading)
			return -ETIMEDOUT;
		deadline = now + POLL_INTERVAL;
	}
	if (agent->uevents)
		co_cond_wait(&agent->uevents->cond, MIN(deadline, now + POLL_INTERVAL));
	else
		co_sleep(MIN(deadline - now, POLL_INTERVAL));
	return 0;
}
