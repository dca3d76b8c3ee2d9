/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "hypervisor/qemu/cmdline.h"

/*
 * Guest memory is a memfd: it can be shared with vhost-user devices, and it is gone with the
 * process, whatever ends it (design decision 11). QEMU makes it, unless the memory is to be saved
 * or was: then it is ours, and QEMU, which knows files by name only, opens it through /proc. Where
 * there are no such devices it is anonymous: of a memfd that is mapped privately each page that is
 * written is there twice, since the kernel first fills the hole in the file.
 */

void memory_backend(const struct vm *vm, const char *id, uint64_t mib, struct part *ret)
{
	const struct vm_config *c = &vm->config;
	bool is_file = c->shared_memory || c->hugepages;

	ret->kind = PART_OBJECT;
	props_add(&ret->props, "qom-type", is_file ? "memory-backend-memfd" : "memory-backend-ram");
	props_add(&ret->props, "id", id);
	props_add_number(&ret->props, "size", mib << 20);
	if (is_file)
		props_add_bool(&ret->props, "share", c->shared_memory);
	if (c->hugepages)
		props_add_bool(&ret->props, "hugetlb", true);
	if (c->memory_prealloc)
		props_add_bool(&ret->props, "prealloc", true);
}

static void memory_of_file(const struct vm *vm, const char *id, int fd, struct part *ret)
{
	ret->kind = PART_OBJECT;
	props_add(&ret->props, "qom-type", "memory-backend-file");
	props_add(&ret->props, "id", id);
	props_add_number(&ret->props, "size", vm->config.memory_mib << 20);
	props_addf(&ret->props, "mem-path", "/proc/self/fd/%d", fd);
	props_add_bool(&ret->props, "share", !vm->copy_on_write);
}

void machine_memory_args(const struct vm *vm, int memory_fd, struct strv *args)
{
	const struct vm_config *c = &vm->config;
	struct part part = {0};

	strv_add(args, "-m");
	if (c->memory_slots && c->max_memory_mib > c->memory_mib)
		strv_addf(args, "%" PRIu64 "M,slots=%u,maxmem=%" PRIu64 "M", c->memory_mib,
			  c->memory_slots, c->max_memory_mib);
	else
		strv_addf(args, "%" PRIu64 "M", c->memory_mib);
	if (vm->memory_fd >= 0)
		memory_of_file(vm, "dimm1", memory_fd, &part);
	else
		memory_backend(vm, "dimm1", c->memory_mib, &part);
	part_to_args(&part, args);
	part_fini(&part);
}
