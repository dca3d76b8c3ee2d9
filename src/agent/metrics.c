/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/metrics.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "kernel/proc.h"
#include "wire/prom/text.h"

/* Names and items are Kata's, so that existing dashboards keep working. */

#define TICKS_PER_SEC 100.0 /* USER_HZ, the same on every machine that Linux runs on today */
#define ITEM_MAX      64U

struct pairs {
	struct buf *b;
	const char *family;
	double factor;
};

/* --- the agent --- */

static void add_lower(const char *key, uint64_t value, void *arg)
{
	const struct pairs *p = arg;
	char item[ITEM_MAX];

	snprintf(item, sizeof(item), "%s", key);
	for (char *c = item; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	prom_sample(p->b, p->family, (double)value * p->factor, "item", item, NULL);
}

static void add_status(const char *key, uint64_t value, void *arg)
{
	static const char *const wanted[] = {"Vm", "Rss", "HugetlbPages", "voluntary", "nonvolun"};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (str_has_prefix(key, wanted[i]))
			add_lower(key, value, arg);
}

static void take_rss(const char *key, uint64_t value, void *arg)
{
	if (streq(key, "Rss"))
		*(double *)arg = (double)value * 1024;
}

/* The kernel's running count is off by up to 63 pages a kind, which is all that the agent has. */
static double resident(const struct proc_stat *stat)
{
	double rss = (double)stat->rss * (double)sysconf(_SC_PAGESIZE);

	proc_pairs("/proc/self/smaps_rollup", take_rss, &rss);
	return rss;
}

static void agent_process(struct buf *b, const struct proc_stat *stat)
{
	double cpu = (double)(stat->utime + stat->stime) / TICKS_PER_SEC;
	double rss = resident(stat);
	double boot = (double)(clock_realtime() - clock_boottime()) / (double)USEC_PER_SEC;
	struct rlimit files = {0};

	getrlimit(RLIMIT_NOFILE, &files);
	prom_single(b, "kata_agent_process_cpu_seconds_total", "counter",
		    "User and system CPU time in seconds.", cpu);
	prom_single(b, "kata_agent_process_max_fds", "gauge", "Limit of open descriptors.",
		    (double)files.rlim_cur);
	prom_single(b, "kata_agent_process_open_fds", "gauge", "Open descriptors.",
		    (double)MAX(proc_fds(0), 0));
	prom_single(b, "kata_agent_process_resident_memory_bytes", "gauge",
		    "Resident memory in bytes.", rss);
	prom_single(b, "kata_agent_process_start_time_seconds", "gauge",
		    "Start of the process in seconds since 1970.",
		    boot + (double)stat->starttime / TICKS_PER_SEC);
	prom_single(b, "kata_agent_process_virtual_memory_bytes", "gauge",
		    "Virtual memory in bytes.", (double)stat->vsize);
	prom_single(b, "kata_agent_threads", "gauge", "Threads of the agent.",
		    (double)stat->threads);
	prom_single(b, "kata_agent_total_rss", "gauge", "Resident memory in bytes.", rss);
	prom_single(b, "kata_agent_total_time", "gauge", "CPU time in seconds.", cpu);
	prom_single(b, "kata_agent_total_vm", "gauge", "Virtual memory in bytes.",
		    (double)stat->vsize);
	prom_family(b, "kata_agent_proc_stat", "gauge", "CPU time in clock ticks.");
	prom_sample(b, "kata_agent_proc_stat", (double)stat->utime, "item", "utime", NULL);
	prom_sample(b, "kata_agent_proc_stat", (double)stat->stime, "item", "stime", NULL);
	prom_sample(b, "kata_agent_proc_stat", (double)stat->cutime, "item", "cutime", NULL);
	prom_sample(b, "kata_agent_proc_stat", (double)stat->cstime, "item", "cstime", NULL);
}

static void boot_times(struct buf *b, const struct agent *agent)
{
	static const char *const items[_MARK_MAX] = {"start", "root", "modules", "settings",
						     "channel"};

	prom_family(b, "kata_agent_boot_seconds", "gauge", "When a step of the boot was done.");
	for (size_t i = 0; i < _MARK_MAX; i++)
		if (agent->marks[i])
			prom_sample(b, "kata_agent_boot_seconds",
				    (double)agent->marks[i] / (double)USEC_PER_SEC, "item",
				    items[i], NULL);
}

void metrics_agent(struct buf *b, const struct agent *agent)
{
	struct pairs status = {b, "kata_agent_proc_status", 1}, io = {b, "kata_agent_io_stat", 1};
	struct proc_stat stat;

	if (proc_stat_read(0, &stat) == 0)
		agent_process(b, &stat);
	prom_family(b, status.family, "gauge", "What /proc/self/status says; memory in kB.");
	proc_pairs("/proc/self/status", add_status, &status);
	prom_family(b, io.family, "gauge", "What /proc/self/io says.");
	proc_pairs("/proc/self/io", add_lower, &io);
	boot_times(b, agent);
	prom_single(b, "kata_agent_scrape_count", "counter", "Answers with metrics so far.",
		    (double)agent->scrapes);
	prom_single(b, "kata_agent_rpc_errors_total", "counter", "Calls that failed so far.",
		    (double)agent->rpc_errors);
	prom_single(b, "kata_agent_containers", "gauge", "Containers in this guest.",
		    (double)agent->containers.n);
}

/* --- names --- */

static bool starts_word(const char *key, const char *c)
{
	char before = c == key ? '\0' : c[-1];

	if (!before || before == '_' || before == '(')
		return false;
	if (isdigit((unsigned char)*c))
		return islower((unsigned char)before);
	if (!isupper((unsigned char)*c))
		return false;
	return islower((unsigned char)before) ||
	       (isupper((unsigned char)before) && islower((unsigned char)c[1]));
}

void metrics_item(const char *key, char *out, size_t size)
{
	size_t n = 0;

	for (const char *c = key; *c && n + 2 < size; c++) {
		bool after_digit = c > key && isdigit((unsigned char)c[-1]);

		if (*c == ')')
			continue;
		if (*c == '(' || *c == '_') {
			out[n++] = '_';
			continue;
		}
		/* "HugePages" counts as one word, "1G" keeps its letter. */
		if (starts_word(key, c) &&
		    !(c - key >= 4 && strncasecmp(c - 4, "HugePages", 9) == 0))
			out[n++] = '_';
		out[n++] = after_digit ? *c : (char)tolower((unsigned char)*c);
	}
	out[n] = '\0';
}
