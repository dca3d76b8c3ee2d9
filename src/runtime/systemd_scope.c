/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/systemd_scope.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "wire/dbus/dbus.h"

/*
 * How it works: StartTransientUnit() of org.freedesktop.systemd1(5) answers as soon as the job is
 * queued. That it is done shows in the process's own list of groups, which needs no subscription to
 * signals. Without a bus (a host that has no dbus-daemon) root may ask systemd itself.
 */

#define RUNNING   "/run/systemd/system"
#define PRIVATE   "/run/systemd/private"
#define GROUP_MAX 65536
#define PAUSE     2000 /* µs */

bool systemd_is_running(void)
{
	return fs_exists(RUNNING);
}

/* An array of properties: (name, variant). */
static void put_property(struct buf *b, const char *name, const char *type)
{
	dbus_align(b, 8);
	dbus_put_string(b, name);
	dbus_put_signature(b, type);
}

static void put_text(struct buf *b, const char *name, const char *value)
{
	put_property(b, name, "s");
	dbus_put_string(b, value);
}

static void put_flag(struct buf *b, const char *name, bool value)
{
	put_property(b, name, "b");
	dbus_put_u32(b, value);
}

/* name, mode, properties, auxiliary units: "ssa(sv)a(sa(sv))". */
static void put_scope(struct buf *b, const char *unit, const char *slice, pid_t pid)
{
	size_t properties, array;

	dbus_put_string(b, unit);
	dbus_put_string(b, "fail");
	properties = dbus_begin_array(b, 8);
	put_text(b, "Description", "Kata sandbox");
	put_text(b, "Slice", slice);
	/* One that has failed is forgotten, too: its name is free for the next one. */
	put_text(b, "CollectMode", "inactive-or-failed");
	/* Containers are stopped by who started them, not at the beginning of a shutdown. */
	put_flag(b, "DefaultDependencies", false);
	put_flag(b, "Delegate", true);
	put_flag(b, "CPUAccounting", true);
	put_flag(b, "IOAccounting", true);
	put_flag(b, "MemoryAccounting", true);
	put_flag(b, "TasksAccounting", true);
	put_property(b, "PIDs", "au");
	array = dbus_begin_array(b, sizeof(uint32_t));
	dbus_put_u32(b, (uint32_t)pid);
	dbus_end_array(b, array, sizeof(uint32_t));
	dbus_end_array(b, properties, 8);
	array = dbus_begin_array(b, 8);
	dbus_end_array(b, array, 8);
}

static int connect_systemd(struct dbus *bus, uint64_t deadline)
{
	int r = dbus_open(bus, DBUS_SYSTEM_BUS, true, deadline);

	if (r < 0) {
		log_debug("%s: %s; asking systemd directly", DBUS_SYSTEM_BUS, strerror(-r));
		r = dbus_open(bus, PRIVATE, false, deadline);
	}
	return r;
}

/* Has the process come into the unit? */
static bool is_inside(pid_t pid, const char *unit)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/cgroup", (int)pid), *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};

	if (fs_read(path, GROUP_MAX, &text, NULL) < 0)
		return false;
	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n; i++)
		if (streq(path_name(lines.v[i]), unit))
			return true;
	return false;
}

int systemd_scope_start(const char *unit, const char *slice, pid_t pid, uint64_t deadline,
			char **ret_error)
{
	_cleanup_(buf_fini) struct buf body = {0};
	const struct dbus_call call = {
		.destination = "org.freedesktop.systemd1",
		.path = "/org/freedesktop/systemd1",
		.interface = "org.freedesktop.systemd1.Manager",
		.member = "StartTransientUnit",
		.signature = "ssa(sv)a(sa(sv))",
		.body = &body,
	};
	struct dbus bus;
	int r;

	*ret_error = NULL;
	put_scope(&body, unit, slice, pid);
	r = connect_systemd(&bus, deadline);
	if (r < 0)
		return r;
	r = dbus_ask(&bus, &call, deadline, ret_error);
	dbus_close(&bus);
	while (r == 0 && !is_inside(pid, unit)) {
		if (clock_now() >= deadline)
			return -ETIMEDOUT;
		usleep(PAUSE);
	}
	return r;
}
