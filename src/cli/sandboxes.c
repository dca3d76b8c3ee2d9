/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: a sandbox has a folder in <root>/sbs and, while its VM exists, one in <root>/vm;
 * either may be missing after a crash, so the ids of both are taken. The pid file may be old: the
 * process counts only when its command line names the sandbox.
 */
#include "cli/sandboxes.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "kernel/proc.h"

#define ROOT_DEFAULT "/run/vc"
#define CMDLINE_MAX  (1U << 20)

static char *folder(const struct cli *cli, const char *kind, const char *id)
{
	return xasprintf("%s/%s/%s", cli_value(cli, "root", ROOT_DEFAULT), kind, id);
}

char *sandbox_vm_path(const struct cli *cli, const char *id, const char *name)
{
	_cleanup_(freep) char *dir = folder(cli, "vm", id);

	return path_join(dir, name);
}

/* The argument behind `option` in a NUL-separated command line. */
static const char *option_value(const char *cmdline, size_t len, const char *option)
{
	for (size_t i = 0; i < len; i += strlen(cmdline + i) + 1) {
		size_t next = i + strlen(cmdline + i) + 1;

		if (streq(cmdline + i, option) && next < len)
			return cmdline + next;
	}
	return NULL;
}

/* "2048M,slots=…" in MiB */
static uint64_t parse_memory(const char *text)
{
	_cleanup_(freep) char *first = text ? xstrndup(text, strcspn(text, ",")) : NULL;
	const char *size = first ? str_skip_prefix(first, "size=") : NULL;
	uint64_t bytes;

	if (!first || parse_size(size ? size : first, &bytes) < 0)
		return 0;
	return bytes >> 20;
}

static void look_at_process(struct sandbox_view *view, pid_t pid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/cmdline", pid);
	/* One that was a spare keeps the name that it was started with. */
	const char *started_as = str_empty(view->state.vm_name) ? view->id : view->state.vm_name;
	_cleanup_(freep) char *name = xasprintf("sandbox-%s", started_as);
	_cleanup_(freep) char *cmdline = NULL;
	struct proc_stat stat;
	const char *value;
	size_t len;

	if (fs_read(path, CMDLINE_MAX, &cmdline, &len) < 0)
		return;
	value = option_value(cmdline, len, "-name");
	if (!value || strncmp(value, name, strlen(name)) != 0 ||
	    (value[strlen(name)] && value[strlen(name)] != ','))
		return;
	view->pid = pid;
	view->memory_mib = parse_memory(option_value(cmdline, len, "-m"));
	if (proc_stat_read(pid, &stat) < 0)
		return;
	view->resident_bytes = stat.rss * (uint64_t)sysconf(_SC_PAGESIZE);
	if (!view->age_usec) {
		uint64_t start = stat.starttime * USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
		uint64_t now = clock_boottime();

		view->age_usec = now > start ? now - start : 0;
	}
}

static void look_at_state(const struct cli *cli, struct sandbox_view *view)
{
	_cleanup_(freep) char *dir = folder(cli, "sbs", view->id);
	_cleanup_(freep) char *path = path_join(dir, "state.json");
	_cleanup_(freep) char *text = NULL;
	uint64_t now = clock_realtime();
	size_t n;

	if (fs_read(path, PERSIST_SIZE_MAX, &text, &n) < 0 ||
	    persist_parse(text, n, &view->state, NULL) < 0)
		return;
	view->has_state = true;
	if (view->state.created_at && now > view->state.created_at)
		view->age_usec = now - view->state.created_at;
}

static void view_init(const struct cli *cli, const char *id, struct sandbox_view *ret)
{
	_cleanup_(freep) char *path = sandbox_vm_path(cli, id, "pid"), *text = NULL;
	uint32_t pid;

	*ret = (struct sandbox_view){.id = xstrdup(id)};
	look_at_state(cli, ret);
	if (fs_read(path, 32, &text, NULL) == 0 && parse_u32(str_chomp(text), &pid) == 0 &&
	    pid > 1 && pid <= INT32_MAX)
		look_at_process(ret, (pid_t)pid);
}

void sandbox_view_fini(struct sandbox_view *view)
{
	if (view->has_state)
		persist_fini(&view->state);
	free(view->id);
	*view = (struct sandbox_view){0};
}

const char *sandbox_view_state(const struct sandbox_view *view)
{
	if (view->pid)
		return view->has_state ? view->state.state : "running";
	/* Its shim may be about to start QEMU. */
	for (size_t i = 0; i < view->state.n_processes; i++)
		if (streq(view->state.processes[i].name, "shim") &&
		    persist_alive(&view->state.processes[i]))
			return view->state.state;
	return "stopped";
}

static int collect(const struct cli *cli, const char *kind, struct strv *ids, struct err *err)
{
	_cleanup_(freep) char *path = xasprintf("%s/%s", cli_value(cli, "root", ROOT_DEFAULT),
						kind);
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, -errno, "open %s", path);
	while ((entry = readdir(dir)))
		if (path_is_id(entry->d_name) && !strv_contains(ids, entry->d_name))
			strv_add(ids, entry->d_name);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int collect_ids(const struct cli *cli, struct strv *ids, struct err *err)
{
	int r = collect(cli, "sbs", ids, err);

	if (r == 0)
		r = collect(cli, "vm", ids, err);
	if (r == 0 && ids->n)
		qsort(ids->v, ids->n, sizeof(*ids->v), compare);
	return r;
}

int sandbox_views_load(const struct cli *cli, struct sandbox_views *ret, struct err *err)
{
	_cleanup_(strv_fini) struct strv ids = {0};
	int r = collect_ids(cli, &ids, err);

	if (r < 0)
		return r;
	ret->v = xcalloc(ids.n + 1, sizeof(*ret->v));
	ret->n = ids.n;
	for (size_t i = 0; i < ids.n; i++)
		view_init(cli, ids.v[i], &ret->v[i]);
	return 0;
}

void sandbox_views_fini(struct sandbox_views *views)
{
	for (size_t i = 0; i < views->n; i++)
		sandbox_view_fini(&views->v[i]);
	free(views->v);
	*views = (struct sandbox_views){0};
}

/* The one id that is `id` or begins with it. */
static int find_id(const struct cli *cli, const char *id, char **ret, struct err *err)
{
	_cleanup_(strv_fini) struct strv ids = {0};
	const char *found = NULL;
	int r = collect_ids(cli, &ids, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ids.n; i++) {
		if (streq(ids.v[i], id)) {
			found = id;
			break;
		}
		if (!str_has_prefix(ids.v[i], id) || !*id)
			continue;
		if (found)
			return err_setx(err, -EINVAL, "more than one sandbox begins with \"%s\"",
					id);
		found = ids.v[i];
	}
	if (!found)
		return err_setx(err, -ENOENT,
				"there is no sandbox \"%s\" (" CLI_PROGRAM " list shows them)", id);
	*ret = xstrdup(found);
	return 0;
}

int sandbox_view_load(const struct cli *cli, const char *id, struct sandbox_view *ret,
		      struct err *err)
{
	_cleanup_(freep) char *found = NULL;
	int r = find_id(cli, id, &found, err);

	if (r < 0)
		return r;
	view_init(cli, found, ret);
	return 0;
}

int sandbox_state_path(const struct cli *cli, const char *id, const char *name, char **ret,
		       struct err *err)
{
	_cleanup_(freep) char *dir = NULL;
	struct sandbox_view view;
	int r = sandbox_view_load(cli, id, &view, err);

	if (r < 0)
		return r;
	dir = folder(cli, "sbs", view.id);
	if (streq(sandbox_view_state(&view), "spare"))
		r = err_setx(err, -ENOTCONN, "sandbox %s is a spare: it waits for its pod",
			     view.id);
	else
		*ret = path_join(dir, name);
	sandbox_view_fini(&view);
	return r;
}
