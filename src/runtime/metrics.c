/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>

#include "base/fs.h"
#include "base/log.h"
#include "kernel/proc.h"
#include "runtime/model.h"
#include "wire/prom/copy.h"
#include "wire/prom/text.h"

/*
 * The sandbox's figures under Kata's names (its docs/design/kata-2-0-metrics.md), so that existing
 * dashboards keep working. The agent writes its own families in the same format; what it sends is
 * passed on only line by line and only under its own prefixes, so that a guest cannot speak for the
 * host's programs.
 */

#define AGENT_TIMEOUT     (2 * USEC_PER_SEC)
#define AGENT_METRICS_MAX (1U << 20)
#define ITEM_MAX          64U
#define NETDEV_MAX        65536U
#define TICKS_PER_SEC     100.0 /* USER_HZ */

/* --- one program --- */

struct pairs {
	struct buf *b;
	const char *family;
};

static void add_lower(const char *key, uint64_t value, void *arg)
{
	const struct pairs *p = arg;
	char item[ITEM_MAX];

	snprintf(item, sizeof(item), "%s", key);
	for (char *c = item; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	prom_sample(p->b, p->family, (double)value, "item", item, NULL);
}

/* Sizes are kB in /proc and bytes in Kata's families. */
static void add_status(const char *key, uint64_t value, void *arg)
{
	if (str_has_prefix(key, "Vm") || str_has_prefix(key, "Rss") || streq(key, "HugetlbPages"))
		add_lower(key, value * 1024, arg);
	else if (strstr(key, "voluntary"))
		add_lower(key, value, arg);
}

/* "read_bytes" is "readbytes" there. */
static void add_io(const char *key, uint64_t value, void *arg)
{
	char item[ITEM_MAX];
	size_t n = 0;

	for (; *key && n < sizeof(item) - 1; key++)
		if (*key != '_')
			item[n++] = *key;
	item[n] = '\0';
	add_lower(item, value, arg);
}

static void add_pairs(struct buf *out, const char *prefix, const char *suffix, const char *help,
		      pid_t pid, const char *file, proc_pair_fn fn)
{
	_cleanup_(freep) char *family = xasprintf("%s_%s", prefix, suffix);
	_cleanup_(freep) char *path = xasprintf("/proc/%d/%s", (int)pid, file);
	struct pairs pairs = {out, family};

	prom_family(out, family, "gauge", help);
	proc_pairs(path, fn, &pairs);
}

static void add_stat(struct buf *out, const char *prefix, const struct proc_stat *stat)
{
	_cleanup_(freep) char *family = xasprintf("%s_proc_stat", prefix);
	const struct {
		const char *item;
		uint64_t value;
	} rows[] = {
		{"utime", stat->utime},
		{"stime", stat->stime},
		{"cutime", stat->cutime},
		{"cstime", stat->cstime},
	};

	prom_family(out, family, "gauge", "Processor time in clock ticks.");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		prom_sample(out, family, (double)rows[i].value, "item", rows[i].item, NULL);
}

struct usage {
	double rss, cpu_seconds;
};

static void add_program(struct buf *out, const char *prefix, pid_t pid, struct usage *sum)
{
	_cleanup_(freep) char *threads = xasprintf("%s_threads", prefix);
	_cleanup_(freep) char *fds = xasprintf("%s_fds", prefix);
	struct proc_stat stat;

	if (pid <= 0 || proc_stat_read(pid, &stat) < 0)
		return;
	prom_single(out, threads, "gauge", "Threads of the process.", (double)stat.threads);
	prom_single(out, fds, "gauge", "Open descriptors of the process.",
		    (double)MAX(proc_fds(pid), 0));
	add_stat(out, prefix, &stat);
	add_pairs(out, prefix, "proc_status", "What /proc/PID/status says; sizes in bytes.", pid,
		  "status", add_status);
	add_pairs(out, prefix, "io_stat", "What /proc/PID/io says.", pid, "io", add_io);
	sum->rss += (double)stat.rss * (double)sysconf(_SC_PAGESIZE);
	sum->cpu_seconds += (double)(stat.utime + stat.stime) / TICKS_PER_SEC;
}

/* --- the network that the VM's process sees --- */

static void add_netdev_line(struct buf *out, char *line)
{
	static const char *const items[] = {
		"recv_bytes", "recv_packets", "recv_errs",       "recv_drop",
		"recv_fifo",  "recv_frame",   "recv_compressed", "recv_multicast",
		"sent_bytes", "sent_packets", "sent_errs",       "sent_drop",
		"sent_fifo",  "sent_colls",   "sent_carrier",    "sent_compressed",
	};
	char *name = line + strspn(line, " "), *p = strchr(name, ':');

	if (!p)
		return;
	*p++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		prom_sample(out, "kata_hypervisor_netdev", strtod(p, &p), "interface", name, "item",
			    items[i], NULL);
}

static void add_netdev(struct buf *out, pid_t pid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/net/dev", (int)pid), *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};

	if (pid <= 0 || fs_read(path, NETDEV_MAX, &text, NULL) < 0)
		return;
	strv_split(&lines, text, "\n");
	prom_family(out, "kata_hypervisor_netdev", "gauge", "What /proc/PID/net/dev says.");
	for (size_t i = 2; i < lines.n; i++)
		add_netdev_line(out, lines.v[i]);
}

/* --- the guest --- */

static void add_agent(struct sandbox *s, struct buf *out)
{
	Grpc__GetMetricsRequest request = GRPC__GET_METRICS_REQUEST__INIT;
	static const char *const prefixes[] = {"kata_agent_", "kata_guest_", NULL};
	_cleanup_err_ struct err err = {0};
	Grpc__Metrics *answer = NULL;

	if (sandbox_usable(s, NULL) < 0)
		return;
	if (agent_get_metrics(s->agent, &request, clock_after(AGENT_TIMEOUT), &answer, &err) < 0) {
		log_debug("the agent's metrics: %s", err_text(&err));
		return;
	}
	if (strlen(answer->metrics) <= AGENT_METRICS_MAX)
		prom_copy(out, answer->metrics, prefixes);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
}

/* What the containers themselves use, as far as the guest says. */
static struct usage guest_usage(struct sandbox *s)
{
	_cleanup_(strv_fini) struct strv ids = {0};
	struct usage sum = {0};

	map_for_each (e, &s->containers)
		strv_add(&ids, e->key);
	for (size_t i = 0; i < ids.n && sandbox_usable(s, NULL) >= 0; i++) {
		Grpc__StatsContainerRequest request = GRPC__STATS_CONTAINER_REQUEST__INIT;
		Grpc__StatsContainerResponse *answer = NULL;
		const Grpc__CgroupStats *c;

		request.container_id = ids.v[i];
		if (agent_stats_container(s->agent, &request, clock_after(AGENT_TIMEOUT), &answer,
					  NULL) < 0)
			break;
		c = answer->cgroup_stats;
		if (c && c->memory_stats && c->memory_stats->usage)
			sum.rss += (double)c->memory_stats->usage->usage;
		if (c && c->cpu_stats && c->cpu_stats->cpu_usage)
			sum.cpu_seconds += (double)c->cpu_stats->cpu_usage->total_usage / 1e9;
		protobuf_c_message_free_unpacked(&answer->base, NULL);
	}
	return sum;
}

/*
 * What the pod costs beyond its containers. The guest's figures and ours are not of the same
 * moment, nor of the same kind: a difference below zero is zero.
 */
static void add_overhead(struct sandbox *s, struct buf *out, const struct usage *host)
{
	struct usage guest = guest_usage(s);
	double memory = host->rss - guest.rss, cpu = host->cpu_seconds - guest.cpu_seconds;
	uint64_t now = clock_now();
	double seconds = (double)(now - s->overhead_at) / (double)USEC_PER_SEC;

	prom_single(out, "kata_shim_pod_overhead_memory_in_bytes", "gauge",
		    "Resident memory of shim, VM and virtiofsd beyond that of the containers.",
		    MAX(memory, 0));
	if (s->overhead_at && seconds > 0)
		prom_single(out, "kata_shim_pod_overhead_cpu", "gauge",
			    "The same of processor time, in percent of one CPU since the last "
			    "scrape.",
			    MAX((cpu - s->overhead_cpu) / seconds * 100, 0));
	s->overhead_at = now;
	s->overhead_cpu = cpu;
}

/* Kata knows one of them. */
static const char *const virtiofsd_families[] = {
	[SHARE_VOLUMES] = "kata_virtiofsd",
	[SHARE_ROOTS] = "kata_virtiofsd_rootfs",
};

int sandbox_metrics(struct sandbox *s, struct buf *out, struct err *err)
{
	struct vm_pids pids = {0};
	struct usage sum = {0};

	(void)err;
	sandbox_ref(s);
	if (s->vm)
		vm_get_pids(s->vm, &pids);
	add_program(out, "kata_shim", getpid(), &sum);
	add_program(out, "kata_hypervisor", pids.vmm, &sum);
	add_netdev(out, pids.vmm);
	for (size_t i = 0; i < _SHARE_MAX; i++)
		if (s->virtiofsd[i])
			add_program(out, virtiofsd_families[i], virtiofsd_pid(s->virtiofsd[i]),
				    &sum);
	add_agent(s, out);
	add_overhead(s, out, &sum);
	sandbox_unref(s);
	return 0;
}
