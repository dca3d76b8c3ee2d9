/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: QEMU is asked on the monitor socket that every sandbox has for people. Devices with
 * an id that the command line does not mention were added to the running machine.
 */
#include <errno.h>

#include "base/fd.h"
#include "cli/env.h"
#include "cli/sandboxes.h"
#include "loop/co.h"
#include "wire/qmp/qmp.h"

#define MONITOR_USEC (2 * USEC_PER_SEC)

struct query {
	struct loop *loop;
	const char *socket;
	json_t *devices; /* what qom-list returned; NULL: nothing */
};

static void ask(void *arg)
{
	struct query *query = arg;
	_cleanup_(qmp_freep) struct qmp *qmp = NULL;
	uint64_t deadline = clock_after(MONITOR_USEC);
	int fd = fd_unix_connect(query->socket);

	if (fd >= 0 && fd_set_nonblock(fd, true) == 0 &&
	    qmp_open(query->loop, fd, &(struct qmp_listener){0}, deadline, &qmp, NULL) == 0)
		qmp_execute(qmp, "qom-list", json_pack("{s:s}", "path", "/machine/peripheral"),
			    NULL, 0, deadline, &query->devices, NULL);
	loop_quit(query->loop, 0);
}

/* "child<virtio-net-pci>" without its shell; the caller frees. NULL: not a device. */
static char *device_type(const char *type)
{
	const char *name = type ? str_skip_prefix(type, "child<") : NULL;

	return name ? xstrndup(name, strcspn(name, ">")) : NULL;
}

static bool on_command_line(const json_t *command_line, const char *id)
{
	_cleanup_(freep) char *option = xasprintf("id=%s", id);
	size_t i, n = strlen(option);
	json_t *word;

	json_array_foreach(command_line, i, word)
	{
		const char *found = strstr(json_string_value(word), option);

		if (found && (found[n] == '\0' || found[n] == ','))
			return true;
	}
	return false;
}

void env_add_devices(json_t *hypervisor, const char *socket)
{
	struct query query = {.socket = socket};
	const json_t *command_line = json_object_get(hypervisor, "CommandLine");
	json_t *device, *all, *plugged;
	size_t i;

	if (loop_new(&query.loop) < 0)
		return;
	co_start(query.loop, ask, &query);
	loop_run(query.loop);
	loop_free(query.loop);
	if (!json_is_array(query.devices)) {
		json_decref(query.devices);
		return;
	}
	all = json_object();
	plugged = json_array();
	json_array_foreach(query.devices, i, device)
	{
		const char *id = json_string_value(json_object_get(device, "name"));
		_cleanup_(freep) char *type = device_type(
			json_string_value(json_object_get(device, "type")));

		if (!id || !type)
			continue;
		json_object_set_new(all, id, json_string(type));
		if (!on_command_line(command_line, id))
			json_array_append_new(plugged, json_string(id));
	}
	json_object_set_new(hypervisor, "HotPlugged", plugged);
	json_object_set_new(hypervisor, "Devices", all);
	json_decref(query.devices);
}
