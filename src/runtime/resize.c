/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/resize.h"

#include <errno.h>

#include "base/log.h"

#define ONLINE_TIMEOUT (30 * USEC_PER_SEC)

/* More processors than any VM has, and few enough to be added up. */
#define VCPUS_MAX 10000U

static void note(struct container *c, const Grpc__LinuxResources *resources)
{
	const Grpc__LinuxMemory *memory = resources ? resources->memory : NULL;
	const Grpc__LinuxCPU *cpu = resources ? resources->cpu : NULL;

	if (memory && memory->limit)
		c->memory_limit = (uint64_t)MAX(memory->limit, 0);
	if (cpu && cpu->quota > 0 && cpu->period > 0) {
		uint64_t quota = (uint64_t)cpu->quota, whole = quota / cpu->period;

		c->cpu_quota_millis = whole < VCPUS_MAX ? whole * 1000 + quota % cpu->period *
										 1000 / cpu->period
							: VCPUS_MAX * 1000;
	} else if (cpu && cpu->quota < 0) {
		c->cpu_quota_millis = 0;
	}
}

/* What the limits of all containers add up to; the VM may not be able to grow that far. */
static void wanted(const struct sandbox *s, uint32_t *vcpus, uint64_t *memory_mib)
{
	const struct config_hypervisor *h = &s->config->hypervisor;
	uint64_t millis = 0;

	*memory_mib = h->default_memory;
	map_for_each (e, &s->containers) {
		const struct container *c = e->value;

		*memory_mib += c->memory_limit >> 20;
		millis += c->cpu_quota_millis;
	}
	*vcpus = (uint32_t)((uint64_t)(h->default_vcpus + 0.999) + (millis + 999) / 1000);
}

static int online(struct sandbox *s, uint32_t vcpus, struct err *err)
{
	Grpc__OnlineCPUMemRequest request = GRPC__ONLINE_CPUMEM_REQUEST__INIT;

	request.wait = false;
	request.nb_cpus = vcpus;
	return agent_online_cpu_mem(s->agent, &request, clock_after(ONLINE_TIMEOUT), err);
}

int resize_for(struct container *c, const Grpc__LinuxResources *resources, struct err *err)
{
	struct sandbox *s = c->sandbox;
	uint32_t vcpus, have_vcpus;
	uint64_t memory_mib, have_memory_mib;
	int r;

	note(c, resources);
	r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	wanted(s, &vcpus, &memory_mib);
	if (s->config->runtime.static_sandbox_resource_mgmt ||
	    (vcpus <= s->vcpus && memory_mib <= s->memory_mib))
		return 0;
	r = vm_resize(s->vm, vcpus, memory_mib, &have_vcpus, &have_memory_mib, err);
	if (r < 0)
		return err_wrap(err, r, "resize the virtual machine to %u CPUs and %llu MiB", vcpus,
				(unsigned long long)memory_mib);
	/* The limits themselves are kept by the guest's control groups. */
	if (have_vcpus < vcpus || have_memory_mib < memory_mib)
		log_info("container %s: the sandbox's limits add up to %u CPUs and %llu MiB, but "
			 "the virtual machine stays at %u and %llu MiB (default_maxvcpus, "
			 "default_maxmemory, memory_slots)",
			 c->id, vcpus, (unsigned long long)memory_mib, have_vcpus,
			 (unsigned long long)have_memory_mib);
	if (have_vcpus == s->vcpus && have_memory_mib == s->memory_mib)
		return 0;
	r = online(s, have_vcpus, err);
	if (r < 0)
		return r;
	/* Only now, so that the next one tries again; and another may have gone further. */
	s->vcpus = MAX(s->vcpus, have_vcpus);
	s->memory_mib = MAX(s->memory_mib, have_memory_mib);
	return 0;
}
