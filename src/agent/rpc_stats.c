/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/container.h"
#include "agent/rpc.h"
#include "base/fs.h"
#include "base/log.h"
#include "kernel/proc.h"

/*
 * StatsContainer: the counters of the group in the terms of version 1, as Kata's agent gives them.
 * All memory is the call's. Times are nanoseconds there.
 */

#define NETWORK_MAX 64U
#define STATS_MAX   128U

static void *new_message(struct ttrpc_call *call, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *m = ttrpc_call_alloc(call, descriptor->sizeof_message);

	protobuf_c_message_init(descriptor, m);
	return m;
}

static Grpc__CpuStats *cpu_stats(struct ttrpc_call *call, const struct cgroup_stats *s)
{
	Grpc__CpuStats *cpu = new_message(call, &grpc__cpu_stats__descriptor);

	cpu->cpu_usage = new_message(call, &grpc__cpu_usage__descriptor);
	cpu->cpu_usage->total_usage = s->cpu_usage_usec * 1000;
	cpu->cpu_usage->usage_in_usermode = s->cpu_user_usec * 1000;
	cpu->cpu_usage->usage_in_kernelmode = s->cpu_system_usec * 1000;
	cpu->throttling_data = new_message(call, &grpc__throttling_data__descriptor);
	cpu->throttling_data->periods = s->periods;
	cpu->throttling_data->throttled_periods = s->throttled_periods;
	cpu->throttling_data->throttled_time = s->throttled_usec * 1000;
	return cpu;
}

static Grpc__MemoryData *memory_data(struct ttrpc_call *call, uint64_t usage, uint64_t max,
				     uint64_t failures, uint64_t limit)
{
	Grpc__MemoryData *data = new_message(call, &grpc__memory_data__descriptor);

	data->usage = usage;
	data->max_usage = max;
	data->failcnt = failures;
	data->limit = limit;
	return data;
}

/* The lines of memory.stat, as the map that they are. */
static void memory_map(struct ttrpc_call *call, Grpc__MemoryStats *memory, const char *text)
{
	memory->stats = ttrpc_call_alloc(call, STATS_MAX * sizeof(*memory->stats));
	while (text && *text && memory->n_stats < STATS_MAX) {
		const char *blank = text + strcspn(text, " \n");
		uint64_t value;

		if (*blank == ' ' && proc_numbers(blank, &value, 1) == 1) {
			Grpc__MemoryStats__StatsEntry *e = new_message(
				call, &grpc__memory_stats__stats_entry__descriptor);

			e->key = ttrpc_call_printf(call, "%.*s", (int)(blank - text), text);
			e->value = value;
			memory->stats[memory->n_stats++] = e;
		}
		text = strchr(text, '\n');
		text += text != NULL;
	}
}

static Grpc__MemoryStats *memory_stats(struct ttrpc_call *call, const struct cgroup_stats *s)
{
	Grpc__MemoryStats *memory = new_message(call, &grpc__memory_stats__descriptor);

	memory->cache = cgroup_stat_field(s->memory_stat, "file");
	memory->usage = memory_data(call, s->memory, s->memory_max, s->memory_failures,
				    s->memory_limit);
	memory->swap_usage = memory_data(call, s->swap, 0, 0, s->swap_limit);
	memory->kernel_usage = memory_data(call, cgroup_stat_field(s->memory_stat, "kernel"), 0, 0,
					   0);
	memory->use_hierarchy = true;
	memory_map(call, memory, s->memory_stat);
	return memory;
}

static void add_io(struct ttrpc_call *call, Grpc__BlkioStatsEntry **list, size_t *n,
		   const struct cgroup_io_stats *io, char *op, uint64_t value)
{
	Grpc__BlkioStatsEntry *entry = new_message(call, &grpc__blkio_stats_entry__descriptor);

	entry->major = io->major;
	entry->minor = io->minor;
	entry->op = op;
	entry->value = value;
	list[(*n)++] = entry;
}

static Grpc__BlkioStats *io_stats(struct ttrpc_call *call, const struct cgroup_stats *s)
{
	static char read_op[] = "Read", write_op[] = "Write";
	Grpc__BlkioStats *stats = new_message(call, &grpc__blkio_stats__descriptor);
	Grpc__BlkioStatsEntry **bytes = ttrpc_call_alloc(call, (2 * s->n_io + 1) * sizeof(void *));
	Grpc__BlkioStatsEntry **count = ttrpc_call_alloc(call, (2 * s->n_io + 1) * sizeof(void *));

	stats->io_service_bytes_recursive = bytes;
	stats->io_serviced_recursive = count;
	for (size_t i = 0; i < s->n_io; i++) {
		const struct cgroup_io_stats *io = &s->io[i];

		add_io(call, bytes, &stats->n_io_service_bytes_recursive, io, read_op, io->rbytes);
		add_io(call, bytes, &stats->n_io_service_bytes_recursive, io, write_op, io->wbytes);
		add_io(call, count, &stats->n_io_serviced_recursive, io, read_op, io->rios);
		add_io(call, count, &stats->n_io_serviced_recursive, io, write_op, io->wios);
	}
	return stats;
}

static void huge_stats(struct ttrpc_call *call, Grpc__CgroupStats *stats,
		       const struct cgroup_stats *s)
{
	stats->hugetlb_stats = ttrpc_call_alloc(call,
						(s->n_huge + 1) * sizeof(*stats->hugetlb_stats));
	for (size_t i = 0; i < s->n_huge; i++) {
		Grpc__CgroupStats__HugetlbStatsEntry *e = new_message(
			call, &grpc__cgroup_stats__hugetlb_stats_entry__descriptor);

		e->key = ttrpc_call_strdup(call, s->huge[i].size);
		e->value = new_message(call, &grpc__hugetlb_stats__descriptor);
		e->value->usage = s->huge[i].usage;
		e->value->max_usage = s->huge[i].max;
		e->value->failcnt = s->huge[i].failures;
		stats->hugetlb_stats[stats->n_hugetlb_stats++] = e;
	}
}

/* The guest's interfaces: the network is the pod's. A line of /proc/net/dev:
 * "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …". */
static void network_stats(struct ttrpc_call *call, Grpc__StatsContainerResponse *response)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};

	if (fs_read("/proc/net/dev", CGROUP_STAT_MAX, &text, NULL) < 0)
		return;
	strv_split(&lines, text, "\n");
	response->network_stats = ttrpc_call_alloc(call,
						   NETWORK_MAX * sizeof(*response->network_stats));
	for (size_t i = 0; i < lines.n && response->n_network_stats < NETWORK_MAX; i++) {
		Grpc__NetworkStats *n = new_message(call, &grpc__network_stats__descriptor);
		const char *name = lines.v[i] + strspn(lines.v[i], " ");
		const char *colon = strchr(name, ':');
		uint64_t v[12];

		if (!colon || proc_numbers(colon + 1, v, 12) != 12)
			continue;
		n->name = ttrpc_call_printf(call, "%.*s", (int)(colon - name), name);
		n->rx_bytes = v[0];
		n->rx_packets = v[1];
		n->rx_errors = v[2];
		n->rx_dropped = v[3];
		n->tx_bytes = v[8];
		n->tx_packets = v[9];
		n->tx_errors = v[10];
		n->tx_dropped = v[11];
		response->network_stats[response->n_network_stats++] = n;
	}
}

RPC(stats_container)
{
	const Grpc__StatsContainerRequest *request = request_;
	Grpc__StatsContainerResponse *response = response_;
	struct container *c = container_find(rpc_agent(call), request->container_id, err);
	_cleanup_(cgroup_stats_fini) struct cgroup_stats s = {0};
	Grpc__CgroupStats *stats;

	if (!c)
		return -ENOENT;
	if (c->has_cgroup)
		cgroup_read_stats(&c->cgroup, &s);
	stats = new_message(call, &grpc__cgroup_stats__descriptor);
	stats->cpu_stats = cpu_stats(call, &s);
	stats->memory_stats = memory_stats(call, &s);
	stats->pids_stats = new_message(call, &grpc__pids_stats__descriptor);
	stats->pids_stats->current = s.pids;
	/* No limit is 0 there. */
	stats->pids_stats->limit = s.pids_limit == UINT64_MAX ? 0 : s.pids_limit;
	stats->blkio_stats = io_stats(call, &s);
	huge_stats(call, stats, &s);
	response->cgroup_stats = stats;
	network_stats(call, response);
	return 0;
}
