/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/resources.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/log.h"

#define RESOURCES_ITEMS_MAX 256U /* of any one list */

static void *keep(struct resources *r, size_t n, size_t size)
{
	return r->arrays[r->n_arrays++] = xcalloc(n + 1, size);
}

static int parse_memory(struct cgroup_resources *l, const Grpc__LinuxMemory *m, struct err *err)
{
	if (m->disableoomkiller)
		return err_setx(err, -EOPNOTSUPP,
				"memory.disableOOMKiller is not supported by cgroup v2");
	/* Kernel memory is part of the limit in version 2; swappiness is not a limit. */
	if (m->swappiness)
		log_debug("memory.swappiness is not a setting of cgroup v2");
	l->memory_limit = m->limit;
	l->memory_reservation = m->reservation;
	l->memory_swap = m->swap;
	l->memory_check = m->opt_check_before_update_case ==
				  GRPC__LINUX_MEMORY__OPT_CHECK_BEFORE_UPDATE_CHECK_BEFORE_UPDATE &&
			  m->checkbeforeupdate;
	return 0;
}

static int parse_cpu(struct cgroup_resources *l, const Grpc__LinuxCPU *c, struct err *err)
{
	if (c->realtimeruntime > 0 || c->realtimeperiod)
		return err_setx(err, -EOPNOTSUPP, "realtime limits are not supported by cgroup v2");
	l->cpu_shares = c->shares;
	l->cpu_quota = c->quota;
	l->cpu_period = c->period;
	l->cpus = c->cpus;
	l->mems = c->mems;
	l->has_cpu_burst = c->opt_burst_case == GRPC__LINUX_CPU__OPT_BURST_BURST;
	l->cpu_burst = l->has_cpu_burst ? c->burst : 0;
	l->has_cpu_idle = c->opt_idle_case == GRPC__LINUX_CPU__OPT_IDLE_IDLE;
	l->cpu_idle = l->has_cpu_idle ? c->idle : 0;
	return 0;
}

static const struct cgroup_io_limit *
parse_throttle(struct resources *r, Grpc__LinuxThrottleDevice *const *devices, size_t n)
{
	struct cgroup_io_limit *limits = keep(r, n, sizeof(*limits));

	for (size_t i = 0; i < n; i++)
		limits[i] = (struct cgroup_io_limit){devices[i]->major, devices[i]->minor,
						     devices[i]->rate};
	return limits;
}

static int parse_io(struct resources *r, const Grpc__LinuxBlockIO *io, struct err *err)
{
	struct cgroup_resources *l = &r->limits;
	struct cgroup_io_limit *weights;

	if (io->leafweight)
		return err_setx(err, -EOPNOTSUPP,
				"blockIO.leafWeight is not supported by cgroup v2");
	if (io->n_weightdevice > RESOURCES_ITEMS_MAX ||
	    io->n_throttlereadbpsdevice > RESOURCES_ITEMS_MAX ||
	    io->n_throttlewritebpsdevice > RESOURCES_ITEMS_MAX ||
	    io->n_throttlereadiopsdevice > RESOURCES_ITEMS_MAX ||
	    io->n_throttlewriteiopsdevice > RESOURCES_ITEMS_MAX)
		return err_setx(err, -E2BIG, "blockIO has more than %u devices",
				RESOURCES_ITEMS_MAX);
	l->io_weight = io->weight;
	weights = keep(r, io->n_weightdevice, sizeof(*weights));
	for (size_t i = 0; i < io->n_weightdevice; i++)
		weights[i] = (struct cgroup_io_limit){io->weightdevice[i]->major,
						      io->weightdevice[i]->minor,
						      io->weightdevice[i]->weight};
	l->io_weights = weights;
	l->n_io_weights = io->n_weightdevice;
	l->io_rbps = parse_throttle(r, io->throttlereadbpsdevice, io->n_throttlereadbpsdevice);
	l->n_io_rbps = io->n_throttlereadbpsdevice;
	l->io_wbps = parse_throttle(r, io->throttlewritebpsdevice, io->n_throttlewritebpsdevice);
	l->n_io_wbps = io->n_throttlewritebpsdevice;
	l->io_riops = parse_throttle(r, io->throttlereadiopsdevice, io->n_throttlereadiopsdevice);
	l->n_io_riops = io->n_throttlereadiopsdevice;
	l->io_wiops = parse_throttle(r, io->throttlewriteiopsdevice, io->n_throttlewriteiopsdevice);
	l->n_io_wiops = io->n_throttlewriteiopsdevice;
	return 0;
}

static int parse_lists(struct resources *r, const Grpc__LinuxResources *m, struct err *err)
{
	struct cgroup_huge_limit *huge;
	struct cgroup_unified *unified;

	if (m->n_hugepagelimits > RESOURCES_ITEMS_MAX || m->n_unified > RESOURCES_ITEMS_MAX)
		return err_setx(err, -E2BIG, "resources have more than %u entries",
				RESOURCES_ITEMS_MAX);
	huge = keep(r, m->n_hugepagelimits, sizeof(*huge));
	for (size_t i = 0; i < m->n_hugepagelimits; i++)
		huge[i] = (struct cgroup_huge_limit){m->hugepagelimits[i]->pagesize,
						     m->hugepagelimits[i]->limit};
	r->limits.huge = huge;
	r->limits.n_huge = m->n_hugepagelimits;
	unified = keep(r, m->n_unified, sizeof(*unified));
	for (size_t i = 0; i < m->n_unified; i++)
		unified[i] = (struct cgroup_unified){m->unified[i]->key, m->unified[i]->value};
	r->limits.unified = unified;
	r->limits.n_unified = m->n_unified;
	return 0;
}

int resources_parse(struct resources *ret, const Grpc__LinuxResources *m, struct err *err)
{
	int r = 0;

	*ret = (struct resources){0};
	if (!m)
		return 0;
	if (m->n_rdma)
		return err_setx(err, -EOPNOTSUPP, "rdma limits are not supported");
	if (m->network && (m->network->classid || m->network->n_priorities))
		return err_setx(err, -EOPNOTSUPP,
				"network class and priorities are not supported by cgroup v2");
	if (m->memory)
		r = parse_memory(&ret->limits, m->memory, err);
	if (r == 0 && m->cpu)
		r = parse_cpu(&ret->limits, m->cpu, err);
	if (r == 0 && m->blockio)
		r = parse_io(ret, m->blockio, err);
	if (r == 0)
		r = parse_lists(ret, m, err);
	if (m->pids)
		ret->limits.pids_limit = m->pids->limit;
	if (r < 0)
		resources_fini(ret);
	return r;
}

/* What every container may use (config-linux.md, "Default Devices"), and nodes of its own making,
 * which open nothing. */
static const struct cgroup_device_rule defaults[] = {
	{true, 'c', -1, -1, CGROUP_ACCESS_MKNOD},
	{true, 'b', -1, -1, CGROUP_ACCESS_MKNOD},
	{true, 'c', 1, 3, 7},    /* null */
	{true, 'c', 1, 5, 7},    /* zero */
	{true, 'c', 1, 7, 7},    /* full */
	{true, 'c', 1, 8, 7},    /* random */
	{true, 'c', 1, 9, 7},    /* urandom */
	{true, 'c', 5, 0, 7},    /* tty */
	{true, 'c', 5, 1, 7},    /* console */
	{true, 'c', 5, 2, 7},    /* ptmx */
	{true, 'c', 136, -1, 7}, /* pts */
};

static int parse_rule(const Grpc__LinuxDeviceCgroup *d, struct cgroup_device_rule *ret,
		      struct err *err)
{
	int access = cgroup_parse_access(d->access);
	char type = str_empty(d->type) ? 'a' : d->type[0];

	if (access < 0 || !strchr("abcu", type) || (!str_empty(d->type) && d->type[1]))
		return err_setx(err, -EINVAL, "device rule \"%s\" \"%s\" is not valid", d->type,
				d->access);
	*ret = (struct cgroup_device_rule){
		.allow = d->allow,
		.type = type == 'u' ? 'c' : type,
		.major = d->major,
		.minor = d->minor,
		.access = (unsigned int)access,
	};
	/* Without a type the numbers are not looked at, as in version 1; and a message cannot tell
	 * a missing number from 0. */
	if (type == 'a')
		ret->major = ret->minor = -1;
	return 0;
}

int resources_add_devices(struct resources *res, const Grpc__LinuxResources *m,
			  Grpc__LinuxDevice *const *devices, size_t n, struct err *err)
{
	size_t n_given = m ? m->n_devices : 0, at = 0;
	struct cgroup_device_rule *rules;

	if (n_given + n + ARRAY_SIZE(defaults) + 1 > CGROUP_RULES_MAX)
		return err_setx(err, -E2BIG, "%zu device rules and devices are too many",
				n_given + n);
	rules = xcalloc(n_given + n + ARRAY_SIZE(defaults) + 1, sizeof(*rules));
	free(res->rules);
	res->rules = rules;
	rules[at++] = (struct cgroup_device_rule){false, 'a', -1, -1, 0};
	for (size_t i = 0; i < n_given; i++) {
		int r = parse_rule(m->devices[i], &rules[at++], err);

		if (r < 0)
			return r;
	}
	/* Rules that are given say more about a device than its presence does. */
	for (size_t i = 0; i < n && !n_given; i++) {
		if (streq(devices[i]->type, "p"))
			continue;
		rules[at++] = (struct cgroup_device_rule){
			.allow = true,
			.type = streq(devices[i]->type, "b") ? 'b' : 'c',
			.major = devices[i]->major,
			.minor = devices[i]->minor,
			.access = CGROUP_ACCESS_READ | CGROUP_ACCESS_WRITE | CGROUP_ACCESS_MKNOD,
		};
	}
	memcpy(rules + at, defaults, sizeof(defaults));
	res->n_rules = at + ARRAY_SIZE(defaults);
	return 0;
}

void resources_fini(struct resources *r)
{
	for (size_t i = 0; i < r->n_arrays; i++)
		free(r->arrays[i]);
	free(r->rules);
	*r = (struct resources){0};
}
