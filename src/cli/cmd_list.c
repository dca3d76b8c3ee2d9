/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/sandboxes.h"

/* "3s", "5m12s", "2h5m", "4d3h" */
static char *format_age(uint64_t usec)
{
	uint64_t s = usec / USEC_PER_SEC;

	if (!usec)
		return xstrdup("-");
	if (s < 60)
		return xasprintf("%" PRIu64 "s", s);
	if (s < 3600)
		return xasprintf("%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
	if (s < 86400)
		return xasprintf("%" PRIu64 "h%" PRIu64 "m", s / 3600, s / 60 % 60);
	return xasprintf("%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
}

static void print_table(const struct sandbox_views *views)
{
	int width = (int)strlen("SANDBOX");

	for (size_t i = 0; i < views->n; i++)
		width = MAX(width, (int)strlen(views->v[i].id));
	printf("%-*s  %-8s  %7s  %7s  %11s  %s\n", width, "SANDBOX", "STATE", "PID", "AGE",
	       "MEMORY", "CONTAINERS");
	for (size_t i = 0; i < views->n; i++) {
		const struct sandbox_view *view = &views->v[i];
		_cleanup_(freep) char *age = format_age(view->age_usec);
		_cleanup_(freep) char *memory = view->pid ? xasprintf("%" PRIu64 "/%" PRIu64 "M",
								      view->resident_bytes >> 20,
								      view->memory_mib)
							  : xstrdup("-");
		_cleanup_(freep) char *pid = view->pid ? xasprintf("%d", view->pid) : xstrdup("-");

		printf("%-*s  %-8s  %7s  %7s  %11s  %zu\n", width, view->id,
		       sandbox_view_state(view), pid, age, memory, view->state.containers.n);
	}
}

static json_t *strings(const struct strv *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(array, json_string(list->v[i]));
	return array;
}

static void print_json(const struct sandbox_views *views)
{
	json_t *array = json_array();

	for (size_t i = 0; i < views->n; i++) {
		const struct sandbox_view *view = &views->v[i];
		json_t *o = json_object();

		json_object_set_new(o, "id", json_string(view->id));
		json_object_set_new(o, "state", json_string(sandbox_view_state(view)));
		json_object_set_new(o, "pid", json_integer(view->pid));
		json_object_set_new(o, "age_seconds",
				    json_real((double)view->age_usec / (double)USEC_PER_SEC));
		json_object_set_new(o, "memory_mib", json_integer((json_int_t)view->memory_mib));
		json_object_set_new(o, "resident_bytes",
				    json_integer((json_int_t)view->resident_bytes));
		json_object_set_new(o, "emulated", json_boolean(view->state.emulated));
		json_object_set_new(o, "reason",
				    json_string(view->state.reason ? view->state.reason : ""));
		json_object_set_new(o, "containers", strings(&view->state.containers));
		json_array_append_new(array, o);
	}
	json_dumpf(array, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(array);
}

static int run_list(struct cli *cli, struct err *err)
{
	_cleanup_(sandbox_views_fini) struct sandbox_views views = {0};

	if (sandbox_views_load(cli, &views, err) < 0)
		return CLI_FAILED;
	if (cli_has(cli, "quiet"))
		for (size_t i = 0; i < views.n; i++)
			puts(views.v[i].id);
	else if (streq(cli_value(cli, "format", "table"), "json"))
		print_json(&views);
	else
		print_table(&views);
	return CLI_OK;
}

static const struct cli_option options[] = {
	{.name = "format",
	 .value = "FORMAT",
	 .choices = "table|json",
	 .help = "table (default) or json"},
	{.name = "quiet", .letter = 'q', .help = "print ids only"},
	{.name = NULL},
};

const struct cli_command cmd_list = {
	.name = "list",
	.arguments = "",
	.summary = "List the sandboxes of this host",
	.details = "MEMORY is what QEMU takes of the host's memory, and the size of the guest's.",
	.options = options,
	.run = run_list,
};
