/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/parse.h"
#include "kernel/cgroup.h"
#include "kernel/proc.h"

/* Reading a group's counters. A file that is not there is a controller that is not there: 0. */

uint64_t cgroup_stat_field(const char *text, const char *key)
{
	size_t n = strlen(key);

	while (text && *text) {
		if (strncmp(text, key, n) == 0 && text[n] == ' ')
			return strtoull(text + n + 1, NULL, 10);
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return 0;
}

static char *read_text(const struct cgroup *cg, const char *file)
{
	char *text = NULL;

	(void)fs_read_at(cg->dir, file, CGROUP_STAT_MAX, &text, NULL);
	return text;
}

static uint64_t read_number(const struct cgroup *cg, const char *file)
{
	_cleanup_(freep) char *text = read_text(cg, file);
	uint64_t n;

	if (!text)
		return 0;
	if (streq(str_chomp(text), "max"))
		return UINT64_MAX;
	return parse_u64(text, &n) == 0 ? n : 0;
}

static void read_cpu(const struct cgroup *cg, struct cgroup_stats *s)
{
	_cleanup_(freep) char *text = read_text(cg, "cpu.stat");

	s->cpu_usage_usec = cgroup_stat_field(text, "usage_usec");
	s->cpu_user_usec = cgroup_stat_field(text, "user_usec");
	s->cpu_system_usec = cgroup_stat_field(text, "system_usec");
	s->periods = cgroup_stat_field(text, "nr_periods");
	s->throttled_periods = cgroup_stat_field(text, "nr_throttled");
	s->throttled_usec = cgroup_stat_field(text, "throttled_usec");
}

static void read_memory(const struct cgroup *cg, struct cgroup_stats *s)
{
	_cleanup_(freep) char *events = read_text(cg, "memory.events");

	s->memory = read_number(cg, "memory.current");
	s->memory_max = read_number(cg, "memory.peak");
	s->memory_limit = read_number(cg, "memory.max");
	s->memory_failures = cgroup_stat_field(events, "max");
	s->oom_kills = cgroup_stat_field(events, "oom_kill");
	s->swap = read_number(cg, "memory.swap.current");
	s->swap_limit = read_number(cg, "memory.swap.max");
	s->memory_stat = read_text(cg, "memory.stat");
}

static bool parse_device(const char *line, struct cgroup_io_stats *io)
{
	uint64_t major, minor;

	if (proc_numbers(line, &major, 1) != 1 || line[strspn(line, "0123456789")] != ':' ||
	    proc_numbers(strchr(line, ':') + 1, &minor, 1) != 1)
		return false;
	io->major = (unsigned int)major;
	io->minor = (unsigned int)minor;
	return true;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static void read_io(const struct cgroup *cg, struct cgroup_stats *s)
{
	_cleanup_(freep) char *text = read_text(cg, "io.stat");
	_cleanup_(strv_fini) struct strv lines = {0};

	if (text)
		strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n && s->n_io < CGROUP_IO_MAX; i++) {
		struct cgroup_io_stats *io = &s->io[s->n_io];
		_cleanup_(strv_fini) struct strv words = {0};

		*io = (struct cgroup_io_stats){0};
		if (!parse_device(lines.v[i], io))
			continue;
		s->n_io++;
		strv_split(&words, lines.v[i], " ");
		for (size_t w = 1; w < words.n; w++) {
			const char *value = strchr(words.v[w], '=');
			uint64_t n = value ? strtoull(value + 1, NULL, 10) : 0;

			if (str_has_prefix(words.v[w], "rbytes="))
				io->rbytes = n;
			else if (str_has_prefix(words.v[w], "wbytes="))
				io->wbytes = n;
			else if (str_has_prefix(words.v[w], "rios="))
				io->rios = n;
			else if (str_has_prefix(words.v[w], "wios="))
				io->wios = n;
		}
	}
}

/* The sizes are those of the files hugetlb.<size>.current. */
static void read_huge(const struct cgroup *cg, struct cgroup_stats *s)
{
	int copy = openat(cg->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) && s->n_huge < CGROUP_HUGE_SIZES) {
		struct cgroup_huge_stats *huge = &s->huge[s->n_huge];
		const char *size = str_skip_prefix(entry->d_name, "hugetlb.");
		const char *dot = size ? strchr(size, '.') : NULL;
		_cleanup_(freep) char *file = NULL, *events = NULL;

		if (!dot || !streq(dot, ".current") || dot - size >= (ssize_t)sizeof(huge->size))
			continue;
		snprintf(huge->size, sizeof(huge->size), "%.*s", (int)(dot - size), size);
		huge->usage = read_number(cg, entry->d_name);
		file = xasprintf("hugetlb.%s.events", huge->size);
		events = read_text(cg, file);
		huge->failures = cgroup_stat_field(events, "max");
		s->n_huge++;
	}
}

void cgroup_read_stats(const struct cgroup *cg, struct cgroup_stats *ret)
{
	*ret = (struct cgroup_stats){0};
	read_cpu(cg, ret);
	read_memory(cg, ret);
	ret->pids = read_number(cg, "pids.current");
	ret->pids_limit = read_number(cg, "pids.max");
	read_io(cg, ret);
	read_huge(cg, ret);
}

void cgroup_stats_fini(struct cgroup_stats *stats)
{
	free(stats->memory_stat);
	stats->memory_stat = NULL;
}

uint64_t cgroup_oom_kills(const struct cgroup *cg)
{
	_cleanup_(freep) char *events = read_text(cg, "memory.events");

	return cgroup_stat_field(events, "oom_kill");
}
