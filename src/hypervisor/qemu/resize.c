/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "hypervisor/qemu/cmdline.h"

/*
 * How it works: processors are plugged into the empty places that QEMU lists, memory comes as one
 * pc-dimm for all that is missing, rounded up to what the guest can add at once, but not beyond
 * what the VM was started for. The guest's agent has to bring both online. Less than there is
 * leaves things as they are: unplugging memory or processors needs a guest that agrees, and gains
 * nothing that the cgroup does not limit.
 */

/* The type and properties of one empty place, or NULL. */
static json_t *find_place(json_t *list)
{
	json_t *place;
	size_t i;

	/* QEMU lists the last one first. */
	for (i = json_array_size(list); i-- > 0;) {
		place = json_array_get(list, i);
		if (!json_object_get(place, "qom-path") &&
		    json_is_string(json_object_get(place, "type")) &&
		    json_is_object(json_object_get(place, "props")))
			return place;
	}
	return NULL;
}

static int plug_cpu(struct vm *vm, struct err *err)
{
	json_t *list = NULL, *place, *arguments;
	int r;

	r = vm_call(vm, "query-hotpluggable-cpus", NULL, &list, err);
	if (r < 0)
		return r;
	place = find_place(list);
	if (place) {
		char id[24];

		snprintf(id, sizeof(id), "cpu-%u", vm->n_vcpus);
		arguments = json_deep_copy(json_object_get(place, "props"));
		json_object_set(arguments, "driver", json_object_get(place, "type"));
		json_object_set_new(arguments, "id", json_string(id));
		r = vm_call(vm, "device_add", arguments, NULL, err);
	} else {
		r = err_setx(err, -ENOSPC, "the VM was started for %u vCPUs", vm->config.max_vcpus);
	}
	json_decref(list);
	return r < 0 ? r : vm_refresh_vcpus(vm, err);
}

static int plug_memory(struct vm *vm, uint64_t mib, struct err *err)
{
	char memory[24], dimm[24];
	struct part part = {0};
	json_t *arguments;
	const char *command;
	int r;

	snprintf(memory, sizeof(memory), "hotmem%u", vm->n_dimms);
	snprintf(dimm, sizeof(dimm), "hotdimm%u", vm->n_dimms);
	memory_backend(vm, memory, mib, &part);
	command = part_to_command(&part, &arguments);
	r = vm_call(vm, command, arguments, NULL, err);
	if (r == 0) {
		r = vm_call(vm, "device_add",
			    json_pack("{s:s, s:s, s:s}", "driver", "pc-dimm", "id", dimm, "memdev",
				      memory),
			    NULL, err);
		if (r < 0) {
			command = part_to_removal(&part, &arguments);
			(void)vm_call(vm, command, arguments, NULL, NULL);
		}
	}
	part_fini(&part);
	if (r < 0)
		return r;
	vm->n_dimms++;
	vm->hot_memory_mib += mib;
	return 0;
}

static uint64_t memory_of(const struct vm *vm)
{
	return vm->config.memory_mib + vm->hot_memory_mib;
}

/* The size of the next pc-dimm on the way to `wanted`; 0: none can be added. */
static uint64_t next_dimm(const struct vm *vm, uint64_t wanted)
{
	uint64_t have = memory_of(vm), max = vm->config.max_memory_mib, steps;

	if (wanted <= have || max <= have || vm->n_dimms >= vm->config.memory_slots)
		return 0;
	/* Up for what is wanted, down at the limit. */
	steps = (MIN(wanted, max) - have + QEMU_MEMORY_STEP - 1) / QEMU_MEMORY_STEP;
	return MIN(steps, (max - have) / QEMU_MEMORY_STEP) * QEMU_MEMORY_STEP;
}

int vm_resize(struct vm *vm, uint32_t vcpus, uint64_t memory_mib, uint32_t *ret_vcpus,
	      uint64_t *ret_memory_mib, struct err *err)
{
	uint64_t missing;
	int r = 0;

	vm_enter(vm);
	co_lock(&vm->resize_lock);
	while (r == 0 && vm->n_vcpus < MIN(vcpus, vm->config.max_vcpus))
		r = plug_cpu(vm, err);
	missing = next_dimm(vm, memory_mib);
	if (r == 0 && missing)
		r = plug_memory(vm, missing, err);
	if (ret_vcpus)
		*ret_vcpus = vm->n_vcpus;
	if (ret_memory_mib)
		*ret_memory_mib = memory_of(vm);
	co_unlock(&vm->resize_lock);
	vm_leave(vm);
	return r < 0 ? err_wrap(err, r, "resize the VM") : 0;
}
