/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "base/clock.h"
#include "base/fs.h"
#include "cli/env.h"
#include "cli/sandboxes.h"

#define CMDLINE_MAX (1U << 20)

static json_t *strings(const struct strv *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(array, json_string(list->v[i]));
	return array;
}

/* The words of a process's command line. */
static json_t *command_line(pid_t pid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/cmdline", pid), *text = NULL;
	json_t *array = json_array();
	size_t n;

	if (fs_read(path, CMDLINE_MAX, &text, &n) < 0)
		return array;
	for (size_t i = 0; i < n; i += strlen(text + i) + 1)
		json_array_append_new(array, json_string(text + i));
	return array;
}

json_t *env_sandbox(const struct cli *cli, const struct sandbox_view *view)
{
	json_t *tree = json_object(), *s = json_object(), *h = json_object();
	_cleanup_(freep) char *monitor = sandbox_vm_path(cli, view->id, "qmp.sock");

	json_object_set_new(tree, "Sandbox", s);
	json_object_set_new(s, "ID", json_string(view->id));
	json_object_set_new(s, "State", json_string(sandbox_view_state(view)));
	json_object_set_new(s, "AgeSeconds",
			    json_real((double)view->age_usec / (double)USEC_PER_SEC));
	json_object_set_new(s, "Containers", strings(&view->state.containers));
	if (view->has_state) {
		json_object_set_new(s, "Reason", json_string(view->state.reason));
		json_object_set_new(s, "NetworkNamespace", json_string(view->state.netns));
		json_object_set_new(s, "ConfigFile", json_string(view->state.config_file));
		json_object_set_new(s, "Cgroups", strings(&view->state.cgroups));
		json_object_set_new(s, "NetworkDevices", strings(&view->state.endpoints));
	}
	json_object_set_new(tree, "Hypervisor", h);
	json_object_set_new(h, "PID", json_integer(view->pid));
	json_object_set_new(h, "Emulated", json_boolean(view->state.emulated));
	json_object_set_new(h, "MemoryMiB", json_integer((json_int_t)view->memory_mib));
	json_object_set_new(h, "ResidentBytes", json_integer((json_int_t)view->resident_bytes));
	json_object_set_new(h, "Monitor", json_string(monitor));
	json_object_set_new(h, "CommandLine", command_line(view->pid));
	if (view->pid)
		env_add_devices(h, monitor);
	if (view->state.n_processes) {
		json_t *p = json_object();

		json_object_set_new(tree, "Processes", p);
		for (size_t i = 0; i < view->state.n_processes; i++)
			if (persist_alive(&view->state.processes[i]))
				json_object_set_new(p, view->state.processes[i].name,
						    json_integer(view->state.processes[i].pid));
	}
	return tree;
}
