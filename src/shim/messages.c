/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/messages.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "kernel/proc.h"
#include "metrics_v2.pb-c.h"

/*
 * How it works: the agent reports what a container uses in the terms of Kata's protocol, which are
 * those of control groups of version 1 (nanoseconds, Read and Write entries); the fields of
 * memory.stat travel by name, and are looked up by name in the descriptor of the message.
 *
 * What the guest leaves out is zero, never missing: CRI-O uses processor, memory and pids without
 * looking whether they are there, and a guest shall not be able to end it.
 */

typedef Io__Containerd__Cgroups__V2__Metrics Metrics;
typedef Io__Containerd__Cgroups__V2__IOEntry IOEntry;

/* Devices that a guest can make us list. */
#define DEVICES_MAX    256
#define INTERFACES_MAX 256
/* The shim, what it starts, and what virtiofsd forks. */
#define TREE_DEPTH    3
#define PROCESSES_MAX 64

Google__Protobuf__Timestamp *message_time(struct ttrpc_call *call, uint64_t realtime_usec)
{
	Google__Protobuf__Timestamp *t;

	if (realtime_usec == 0)
		return NULL;
	t = ttrpc_call_alloc(call, sizeof(*t));
	google__protobuf__timestamp__init(t);
	t->seconds = (int64_t)(realtime_usec / USEC_PER_SEC);
	t->nanos = (int32_t)(realtime_usec % USEC_PER_SEC * 1000);
	return t;
}

Google__Protobuf__Any *message_any(struct ttrpc_call *call, const ProtobufCMessage *message)
{
	Google__Protobuf__Any *any = ttrpc_call_alloc(call, sizeof(*any));

	google__protobuf__any__init(any);
	any->type_url = (char *)message->descriptor->name;
	any->value.len = protobuf_c_message_get_packed_size(message);
	any->value.data = ttrpc_call_alloc(call, any->value.len + 1);
	protobuf_c_message_pack(message, any->value.data);
	return any;
}

static void *message_new(struct ttrpc_call *call, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = ttrpc_call_alloc(call, descriptor->sizeof_message);

	descriptor->message_init(message);
	return message;
}

static void add_cpu(struct ttrpc_call *call, Metrics *m, const Grpc__CpuStats *cpu)
{
	m->cpu = message_new(call, &io__containerd__cgroups__v2__cpustat__descriptor);
	if (!cpu)
		return;
	if (cpu->cpu_usage) {
		m->cpu->usage_usec = cpu->cpu_usage->total_usage / 1000;
		m->cpu->user_usec = cpu->cpu_usage->usage_in_usermode / 1000;
		m->cpu->system_usec = cpu->cpu_usage->usage_in_kernelmode / 1000;
	}
	if (cpu->throttling_data) {
		m->cpu->nr_periods = cpu->throttling_data->periods;
		m->cpu->nr_throttled = cpu->throttling_data->throttled_periods;
		m->cpu->throttled_usec = cpu->throttling_data->throttled_time / 1000;
	}
}

static void set_by_name(ProtobufCMessage *message, const char *name, uint64_t value)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
		message->descriptor, name);

	if (field && field->type == PROTOBUF_C_TYPE_UINT64 &&
	    field->label != PROTOBUF_C_LABEL_REPEATED)
		memcpy((char *)message + field->offset, &value, sizeof(value));
}

static void add_memory(struct ttrpc_call *call, Metrics *m, const Grpc__MemoryStats *memory)
{
	m->memory = message_new(call, &io__containerd__cgroups__v2__memory_stat__descriptor);
	if (!memory)
		return;
	for (size_t i = 0; i < memory->n_stats; i++)
		set_by_name(&m->memory->base, memory->stats[i]->key, memory->stats[i]->value);
	if (memory->usage) {
		m->memory->usage = memory->usage->usage;
		m->memory->usage_limit = memory->usage->limit;
		m->memory->max_usage = memory->usage->max_usage;
	}
	if (memory->swap_usage) {
		m->memory->swap_usage = memory->swap_usage->usage;
		m->memory->swap_limit = memory->swap_usage->limit;
		m->memory->swap_max_usage = memory->swap_usage->max_usage;
	}
}

static void add_pids(struct ttrpc_call *call, Metrics *m, const Grpc__PidsStats *pids)
{
	m->pids = message_new(call, &io__containerd__cgroups__v2__pids_stat__descriptor);
	if (!pids)
		return;
	m->pids->current = pids->current;
	m->pids->limit = pids->limit;
}

static IOEntry *io_entry(struct ttrpc_call *call, Io__Containerd__Cgroups__V2__IOStat *io,
			 const Grpc__BlkioStatsEntry *of)
{
	for (size_t i = 0; i < io->n_usage; i++)
		if (io->usage[i]->major == of->major && io->usage[i]->minor == of->minor)
			return io->usage[i];
	if (io->n_usage >= DEVICES_MAX)
		return NULL;
	io->usage[io->n_usage] = message_new(call,
					     &io__containerd__cgroups__v2__ioentry__descriptor);
	io->usage[io->n_usage]->major = of->major;
	io->usage[io->n_usage]->minor = of->minor;
	return io->usage[io->n_usage++];
}

static void add_io(struct ttrpc_call *call, Metrics *m, const Grpc__BlkioStats *blkio)
{
	if (!blkio || blkio->n_io_service_bytes_recursive + blkio->n_io_serviced_recursive == 0)
		return;
	m->io = message_new(call, &io__containerd__cgroups__v2__iostat__descriptor);
	m->io->usage = ttrpc_call_alloc(call, DEVICES_MAX * sizeof(IOEntry *));
	for (size_t i = 0; i < blkio->n_io_service_bytes_recursive; i++) {
		const Grpc__BlkioStatsEntry *e = blkio->io_service_bytes_recursive[i];
		IOEntry *entry = io_entry(call, m->io, e);

		if (entry && strcasecmp(e->op, "read") == 0)
			entry->rbytes = e->value;
		else if (entry && strcasecmp(e->op, "write") == 0)
			entry->wbytes = e->value;
	}
	for (size_t i = 0; i < blkio->n_io_serviced_recursive; i++) {
		const Grpc__BlkioStatsEntry *e = blkio->io_serviced_recursive[i];
		IOEntry *entry = io_entry(call, m->io, e);

		if (entry && strcasecmp(e->op, "read") == 0)
			entry->rios = e->value;
		else if (entry && strcasecmp(e->op, "write") == 0)
			entry->wios = e->value;
	}
}

static void add_network(struct ttrpc_call *call, Metrics *m,
			const Grpc__StatsContainerResponse *stats)
{
	size_t n = MIN(stats->n_network_stats, INTERFACES_MAX);

	m->network = ttrpc_call_alloc(call, (n + 1) * sizeof(*m->network));
	for (size_t i = 0; i < n; i++) {
		const Grpc__NetworkStats *from = stats->network_stats[i];
		Io__Containerd__Cgroups__V2__NetworkStat *to = message_new(
			call, &io__containerd__cgroups__v2__network_stat__descriptor);

		to->name = ttrpc_call_strdup(call, from->name);
		to->rx_bytes = from->rx_bytes;
		to->rx_packets = from->rx_packets;
		to->rx_errors = from->rx_errors;
		to->rx_dropped = from->rx_dropped;
		to->tx_bytes = from->tx_bytes;
		to->tx_packets = from->tx_packets;
		to->tx_errors = from->tx_errors;
		to->tx_dropped = from->tx_dropped;
		m->network[m->n_network++] = to;
	}
}

Google__Protobuf__Any *message_metrics(struct ttrpc_call *call,
				       const Grpc__StatsContainerResponse *stats)
{
	Metrics m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	const Grpc__CgroupStats *cgroup = stats->cgroup_stats;

	add_cpu(call, &m, cgroup ? cgroup->cpu_stats : NULL);
	add_memory(call, &m, cgroup ? cgroup->memory_stats : NULL);
	add_pids(call, &m, cgroup ? cgroup->pids_stats : NULL);
	add_io(call, &m, cgroup ? cgroup->blkio_stats : NULL);
	add_network(call, &m, stats);
	return message_any(call, &m.base);
}

/* --- what the host counts --- */

struct usage {
	uint64_t cpu_ticks;
	uint64_t own_kb;    /* memory of the processes' own, and files */
	uint64_t shared_kb; /* shared memory: the guest's, which virtiofsd maps too */
	uint64_t shmem_kb;  /* … of the process at hand */
};

static void add_rss(const char *key, uint64_t kb, void *arg)
{
	struct usage *usage = arg;

	if (streq(key, "RssAnon") || streq(key, "RssFile"))
		usage->own_kb += kb;
	else if (streq(key, "RssShmem"))
		usage->shmem_kb = kb;
}

/* A process with those that it has started. What has ended is in its parent's sum. */
static int add_tree(pid_t pid, unsigned int depth, struct usage *usage)
{
	_cleanup_(freep) char *status = xasprintf("/proc/%d/status", pid);
	_cleanup_(freep) char *path = xasprintf("/proc/%d/task/%d/children", pid, pid);
	_cleanup_(freep) char *text = NULL;
	uint64_t children[PROCESSES_MAX];
	struct proc_stat stat;
	size_t n;
	int r = proc_stat_read(pid, &stat);

	if (r < 0)
		return r;
	usage->cpu_ticks += stat.utime + stat.stime + stat.cutime + stat.cstime;
	usage->shmem_kb = 0;
	r = proc_pairs(status, add_rss, usage);
	if (r < 0)
		return r;
	usage->shared_kb = MAX(usage->shared_kb, usage->shmem_kb);
	if (depth == 0 || fs_read(path, PROC_FILE_MAX, &text, NULL) < 0)
		return 0;
	n = proc_numbers(text, children, ARRAY_SIZE(children));
	/* One that has just ended is no reason to fail. */
	for (size_t i = 0; i < n; i++)
		(void)add_tree((pid_t)children[i], depth - 1, usage);
	return 0;
}

int message_host_metrics(struct ttrpc_call *call, pid_t root, Google__Protobuf__Any **ret)
{
	Metrics m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	Io__Containerd__Cgroups__V2__CPUStat cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
	Io__Containerd__Cgroups__V2__MemoryStat memory =
		IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	struct usage usage = {0};
	int r = add_tree(root, TREE_DEPTH, &usage);

	if (r < 0)
		return r;
	cpu.usage_usec = usage.cpu_ticks * (USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	memory.usage = (usage.own_kb + usage.shared_kb) * 1024;
	m.cpu = &cpu;
	m.memory = &memory;
	*ret = message_any(call, &m.base);
	return 0;
}
