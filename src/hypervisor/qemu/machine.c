/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/parse.h"
#include "hypervisor/qemu/cmdline.h"

/*
 * How it works: q35 without what a container guest never uses (USB, SATA, SMBus, VMware's port,
 * HPET): fewer devices for a guest to attack and to find at boot. The host does not look for pages
 * of other VMs that are the same (KSM), since a guest could find out what those hold. With KVM the
 * guest sees the host's processor; emulated, it sees all that QEMU can emulate, since distributions
 * build for x86-64-v2 and later, which the default model is not. 5-level page tables are left out
 * there: they only cost time.
 */

/* The emulated processor has 40 address bits, and devices want their share of the space. */
#define TCG_MEMORY_MIB ((uint64_t)512 << 10)

/*
 * TCG's cache of translated code, MiB. QEMU fills it over the life of a guest and never gives it
 * back. Booting Debian's cloud kernel with 2 GiB (QEMU 7.2, medians of 5, busy machine), MiB of PSS
 * and seconds of CPU until the guest answers:
 *
 *	tb-size   16    32    64    128   256
 *	PSS      262   280   291    292   292   (of which 173 are the guest's)
 *	CPU     4.33  4.08  3.99   4.04  4.17
 *	flushes    3     1     0      0     0
 *
 * The boot translates 43 MiB, most of it never used again; 32 drops that once.
 */
#define TCG_CACHE_MIB 32

int machine_check(const struct vm_config *config, struct err *err)
{
	if (!streq(config->machine_type, "q35"))
		return err_setx(err, -ENOSYS, "machine_type \"%s\" is not supported, use \"q35\"",
				config->machine_type ? config->machine_type : "");
	if (!config->vcpus || config->vcpus > QEMU_VCPUS_MAX)
		return err_setx(err, -EINVAL, "a VM has 1 to %u vCPUs, not %u", QEMU_VCPUS_MAX,
				config->vcpus);
	if (config->memory_mib < 32)
		return err_setx(err, -EINVAL, "default_memory of %" PRIu64 " MiB is too little",
				config->memory_mib);
	if (config->bridges > QEMU_BRIDGES_MAX || config->root_ports > QEMU_ROOT_PORTS_MAX)
		return err_setx(
			err, -EINVAL, "at most %u PCI bridges and %u root ports, not %u and %u",
			QEMU_BRIDGES_MAX, QEMU_ROOT_PORTS_MAX, config->bridges, config->root_ports);
	return 0;
}

/* The configuration's limits are those of the host, which may be larger than any VM's. */
void machine_clamp(struct vm_config *config, enum vm_accel accel)
{
	config->max_vcpus = MIN(MAX(config->max_vcpus, config->vcpus), QEMU_VCPUS_MAX);
	config->max_memory_mib = MAX(config->max_memory_mib, config->memory_mib);
	if (accel == VM_ACCEL_TCG)
		config->max_memory_mib = MAX(config->memory_mib,
					     MIN(config->max_memory_mib, TCG_MEMORY_MIB));
}

void machine_args(const struct vm *vm, struct strv *args)
{
	const struct vm_config *c = &vm->config;
	_cleanup_(buf_fini) struct buf b = {0};

	buf_addf(&b, "%s", c->machine_type);
	/* -accel has more to say under emulation, and QEMU does not take both. */
	if (vm->accel == VM_ACCEL_KVM)
		buf_adds(&b, ",accel=kvm");
	if (c->image && c->image_nvdimm)
		buf_adds(&b, ",nvdimm=on");
	buf_adds(&b, ",usb=off,vmport=off,smbus=off,sata=off,hpet=off,mem-merge=off,"
		     "memory-backend=dimm1");
	if (!str_empty(c->machine_accelerators))
		buf_addf(&b, ",%s", c->machine_accelerators);
	strv_add(args, "-machine");
	strv_take(args, buf_take(&b));
	if (vm->accel == VM_ACCEL_TCG) {
		strv_add(args, "-accel");
		strv_addf(args, "tcg,thread=multi,tb-size=%d", TCG_CACHE_MIB);
	}
}

void machine_cpu_args(const struct vm *vm, struct strv *args)
{
	const struct vm_config *c = &vm->config;
	uint32_t max = c->max_vcpus;
	_cleanup_(buf_fini) struct buf b = {0};

	buf_adds(&b, vm->accel == VM_ACCEL_KVM ? "host" : "max,la57=off");
	if (!str_empty(c->cpu_features))
		buf_addf(&b, ",%s", c->cpu_features);
	strv_add(args, "-cpu");
	strv_take(args, buf_take(&b));
	strv_add(args, "-smp");
	strv_addf(args, "%u,cores=1,threads=1,sockets=%u,maxcpus=%u", c->vcpus, max, max);
}
