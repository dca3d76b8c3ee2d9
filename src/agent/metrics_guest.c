/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "agent/metrics.h"
#include "base/fs.h"
#include "kernel/mount.h"
#include "kernel/proc.h"
#include "wire/netlink/link.h"
#include "wire/prom/text.h"

/*
 * How it works: each family is one file of /proc, and most are tables of numbers: a row of names in
 * the order of the file's columns and one loop for all of them.
 */

#define TICKS_PER_SEC 100.0
#define ITEM_MAX      64U
#define COLUMNS_MAX   20U

static char *read_proc(const char *path)
{
	char *text = NULL;

	return fs_read(path, PROC_FILE_MAX, &text, NULL) < 0 ? NULL : text;
}

/* --- load --- */

/* "0.20": hundredths, without strtod(3), which would cost the agent 80 KB of libc. */
static const char *hundredths(const char *at, double *ret)
{
	char *end;
	uint64_t value = strtoull(at, &end, 10) * 100;

	if (end[0] == '.' && isdigit((unsigned char)end[1]) && isdigit((unsigned char)end[2])) {
		value += (uint64_t)(end[1] - '0') * 10 + (uint64_t)(end[2] - '0');
		end += 3;
	}
	*ret = (double)value / 100;
	return end;
}

/* "0.20 0.18 0.12 1/80 11206" */
static void load(struct buf *b)
{
	static const char *const items[] = {"load1", "load5", "load15"};
	_cleanup_(freep) char *text = read_proc("/proc/loadavg");
	const char *at = text;
	uint64_t running, tasks;

	if (!text)
		return;
	prom_family(b, "kata_guest_load", "gauge", "Load averages of the guest.");
	for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
		double value;

		at = hundredths(at, &value);
		prom_sample(b, "kata_guest_load", value, "item", items[i], NULL);
	}
	if (proc_numbers(at, &running, 1) != 1 || !(at = strchr(at, '/')) ||
	    proc_numbers(at + 1, &tasks, 1) != 1)
		return;
	prom_family(b, "kata_guest_tasks", "gauge", "Tasks of the guest: runnable, and all.");
	prom_sample(b, "kata_guest_tasks", (double)running, "item", "cur", NULL);
	prom_sample(b, "kata_guest_tasks", (double)tasks, "item", "max", NULL);
}

/* --- tables of numbers --- */

static void add_row(struct buf *b, const char *family, const char *label, const char *name,
		    const char *const *items, size_t n_items, const uint64_t *values, size_t n,
		    double factor)
{
	for (size_t i = 0; i < MIN(n_items, n); i++)
		prom_sample(b, family, (double)values[i] * factor, label, name, "item", items[i],
			    NULL);
}

static void cpu_time(struct buf *b)
{
	static const char *const items[] = {"user", "nice",    "system", "idle",  "iowait",
					    "irq",  "softirq", "steal",  "guest", "guest_nice"};
	_cleanup_(freep) char *text = read_proc("/proc/stat");

	prom_family(b, "kata_guest_cpu_time", "gauge", "CPU time of the guest in seconds.");
	for (char *save, *line = strtok_r(text ? text : (char[1]){""}, "\n", &save);
	     line && str_has_prefix(line, "cpu"); line = strtok_r(NULL, "\n", &save)) {
		char *name = line + strlen("cpu"), *blank = strchr(line, ' ');
		uint64_t values[COLUMNS_MAX];

		if (!blank)
			return;
		*blank = '\0';
		add_row(b, "kata_guest_cpu_time", "cpu", *name ? name : "total", items,
			ARRAY_SIZE(items), values, proc_numbers(blank + 1, values, COLUMNS_MAX),
			1 / TICKS_PER_SEC);
	}
}

static void disks(struct buf *b)
{
	static const char *const items[] = {"reads",
					    "merged",
					    "sectors_read",
					    "time_reading",
					    "writes",
					    "writes_merged",
					    "sectors_written",
					    "time_writing",
					    "in_progress",
					    "time_in_progress",
					    "weighted_time_in_progress",
					    "discards",
					    "discards_merged",
					    "sectors_discarded",
					    "time_discarding",
					    "flushes",
					    "time_flushing"};
	_cleanup_(freep) char *text = read_proc("/proc/diskstats");

	prom_family(b, "kata_guest_diskstat", "gauge", "What /proc/diskstats says; times in ms.");
	for (char *save, *line = strtok_r(text ? text : (char[1]){""}, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t values[COLUMNS_MAX];
		char *name, *rest;

		/* "   8       0 sda 1 2 3 …" */
		if (proc_numbers(line, values, 2) != 2)
			continue;
		name = line + strspn(line, " 0123456789");
		rest = strchr(name, ' ');
		if (!rest)
			continue;
		*rest = '\0';
		add_row(b, "kata_guest_diskstat", "disk", name, items, ARRAY_SIZE(items), values,
			proc_numbers(rest + 1, values, COLUMNS_MAX), 1);
	}
}

/* --- pairs --- */

static void add_vm_stat(const char *key, uint64_t value, void *arg)
{
	prom_sample(arg, "kata_guest_vm_stat", (double)value, "item", key, NULL);
}

static void add_meminfo(const char *key, uint64_t value, void *arg)
{
	char item[ITEM_MAX];
	/* The counters of huge pages are the only ones that are not in kB. */
	double factor = str_has_prefix(key, "HugePages_") ? 1 : 1024;

	metrics_item(key, item, sizeof(item));
	prom_sample(arg, "kata_guest_meminfo", (double)value * factor, "item", item, NULL);
}

/* --- interfaces --- */

static void add_interface(struct buf *b, const struct link *link)
{
	const struct rtnl_link_stats64 *s = &link->stats;
	const struct {
		const char *item;
		uint64_t value;
	} rows[] = {
		{"recv_bytes", s->rx_bytes},
		{"recv_packets", s->rx_packets},
		{"recv_errs", s->rx_errors},
		{"recv_drop", s->rx_dropped + s->rx_missed_errors},
		{"recv_fifo", s->rx_fifo_errors},
		{"recv_frame",
		 s->rx_length_errors + s->rx_over_errors + s->rx_crc_errors + s->rx_frame_errors},
		{"recv_compressed", s->rx_compressed},
		{"recv_multicast", s->multicast},
		{"sent_bytes", s->tx_bytes},
		{"sent_packets", s->tx_packets},
		{"sent_errs", s->tx_errors},
		{"sent_drop", s->tx_dropped},
		{"sent_fifo", s->tx_fifo_errors},
		{"sent_colls", s->collisions},
		{"sent_carrier", s->tx_carrier_errors + s->tx_aborted_errors + s->tx_window_errors +
					 s->tx_heartbeat_errors},
		{"sent_compressed", s->tx_compressed},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		prom_sample(b, "kata_guest_netdev_stat", (double)rows[i].value, "interface",
			    link->name, "item", rows[i].item, NULL);
}

static void interfaces(struct buf *b)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(freep) struct link *links = NULL;
	size_t n;

	if (nl_open(&nl, NETLINK_ROUTE) < 0 || link_list(&nl, &links, &n) < 0)
		return;
	prom_family(b, "kata_guest_netdev_stat", "gauge", "Counters of network interfaces.");
	for (size_t i = 0; i < n; i++)
		add_interface(b, &links[i]);
}

void metrics_guest(struct buf *b)
{
	load(b);
	cpu_time(b);
	disks(b);
	prom_family(b, "kata_guest_vm_stat", "gauge", "What /proc/vmstat says.");
	proc_pairs("/proc/vmstat", add_vm_stat, b);
	prom_family(b, "kata_guest_meminfo", "gauge", "What /proc/meminfo says, in bytes.");
	proc_pairs("/proc/meminfo", add_meminfo, b);
	interfaces(b);
}

/* --- file systems --- */

static const char *const real_fstypes[] = {"ext4",    "xfs",   "btrfs", "erofs",
					   "overlay", "tmpfs", "vfat",  "f2fs"};

static bool is_real(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_SIZE(real_fstypes); i++)
		if (streq(real_fstypes[i], fstype))
			return true;
	return false;
}

static void add_usage(struct buf *b, const char *family, const struct mountinfo *m, double total,
		      double used, double available)
{
	prom_sample(b, family, total, "mount", m->point, "device", m->source, "item", "total",
		    NULL);
	prom_sample(b, family, used, "mount", m->point, "device", m->source, "item", "used", NULL);
	prom_sample(b, family, available, "mount", m->point, "device", m->source, "item",
		    "available", NULL);
}

static void filesystem(struct buf *bytes, struct buf *inodes, const struct mountinfo *m)
{
	struct statvfs st;
	double size;

	if (!is_real(m->fstype) || statvfs(m->point, &st) < 0 || (st.f_flag & ST_RDONLY) ||
	    st.f_blocks == 0)
		return;
	size = (double)st.f_frsize;
	add_usage(bytes, "kata_guest_filesystem_bytes", m, (double)st.f_blocks * size,
		  (double)(st.f_blocks - st.f_bfree) * size, (double)st.f_bavail * size);
	add_usage(inodes, "kata_guest_filesystem_inodes", m, (double)st.f_files,
		  (double)(st.f_files - st.f_ffree), (double)st.f_favail);
}

void metrics_filesystems(struct buf *b)
{
	_cleanup_(buf_fini) struct buf inodes = {0};
	struct mountinfo *mounts;
	size_t n;

	if (mountinfo_read(0, &mounts, &n) < 0)
		return;
	prom_family(b, "kata_guest_filesystem_bytes", "gauge", "Room in file systems.");
	prom_family(&inodes, "kata_guest_filesystem_inodes", "gauge", "Inodes of file systems.");
	for (size_t i = 0; i < n; i++)
		filesystem(b, &inodes, &mounts[i]);
	buf_add(b, inodes.data, inodes.len);
	mountinfo_free(mounts, n);
}
