/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/cmdline.h"

#include <errno.h>
#include <inttypes.h>

#include "base/path.h"

/*
 * How it works: the command line is Kata's in order and words where people and tools look at it
 * (-name, -uuid, -qmp, -m, the ids of the fixed devices), and otherwise what this host needs. QEMU
 * opens by path only what every user may read (kernel, initrd, image, /dev/urandom) and makes two
 * sockets in run_dir, which is writable to it until it has started (qemu.c). All else reaches it as
 * descriptors. The kernel cannot: QEMU 7.2 knows no /dev/fdset there, and /proc/self/fd/N is opened
 * anew, with the file's own permissions.
 *
 * Every device has a fixed place on the root bus, so that a saved VM can be restored into a machine
 * that was put together from the same configuration.
 */

#define BRIDGE_FIRST_SLOT 2U  /* Kata's place for pci-bridge-0 */
#define BRIDGE_SLOTS      31U /* 0 stays empty */
#define SANDBOX_FULL      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

static int layout_buses(struct vm *vm)
{
	char id[24];

	for (uint32_t i = 0; i < vm->config.bridges; i++) {
		int at;

		snprintf(id, sizeof(id), "pci-bridge-%u", i);
		at = slots_add_bridge(&vm->slots, id, BRIDGE_FIRST_SLOT + i, 1, BRIDGE_SLOTS + 1);
		if (at < 0)
			return at;
		vm->bridge_slots[i] = (unsigned)at;
	}
	for (uint32_t i = 0; i < vm->config.root_ports; i++) {
		int at;

		snprintf(id, sizeof(id), "rp%u", i);
		at = slots_add_bridge(&vm->slots, id, 0, 0, 1);
		if (at < 0)
			return at;
		vm->port_slots[i] = (unsigned)at;
	}
	return 0;
}

int cmdline_layout(struct vm *vm, struct err *err)
{
	struct slot *fixed[] = {&vm->serial_slot, &vm->scsi_slot, &vm->rng_slot, &vm->image_slot};
	int r;

	slots_init(&vm->slots);
	r = layout_buses(vm);
	for (size_t i = 0; i < ARRAY_SIZE(fixed) && r >= 0; i++)
		r = slots_take(&vm->slots, false, fixed[i]);
	return r < 0 ? err_setx(err, r, "too many PCI bridges and root ports") : 0;
}

static void add_device(struct strv *args, const char *driver, const char *id,
		       const struct slot *slot, const char *more)
{
	strv_add(args, "-device");
	strv_addf(args, "%s,id=%s,bus=%s,addr=%x%s", driver, id, slot->bus, slot->number, more);
}

/* Kata's pci-bridge: without the reserves a hot-plugged device finds no memory window. */
static void bus_args(const struct vm *vm, struct strv *args)
{
	for (uint32_t i = 0; i < vm->config.bridges; i++) {
		strv_add(args, "-device");
		strv_addf(args,
			  "pci-bridge,id=pci-bridge-%u,bus=pcie.0,chassis_nr=%u,shpc=off,addr=%x,"
			  "io-reserve=4k,mem-reserve=1m,pref64-reserve=1m",
			  i, i + 1, vm->bridge_slots[i]);
	}
	for (uint32_t i = 0; i < vm->config.root_ports; i++) {
		strv_add(args, "-device");
		strv_addf(args, "pcie-root-port,id=rp%u,bus=pcie.0,chassis=%u,slot=%u,addr=%x", i,
			  i + 1, i + 1, vm->port_slots[i]);
	}
}

static void console_args(const struct vm *vm, const struct cmdline_start *start, struct strv *args)
{
	add_device(args, "virtio-serial-pci", "serial0", &vm->serial_slot, ",disable-legacy=on");
	strv_add(args, "-add-fd");
	strv_addf(args, "fd=%d,set=0", start->console_fd);
	strv_add(args, "-chardev");
	strv_addf(args,
		  "socket,id=charconsole0,path=%s/console.sock,server=on,wait=off,"
		  "logfile=/dev/fdset/0,logappend=on",
		  start->run_dir);
	strv_add(args, "-device");
	strv_add(args, "virtconsole,chardev=charconsole0,id=console0");
	if (!vm->config.debug)
		return;
	/* The kernel's own messages from before the virtio console works (console=ttyS0). */
	strv_add(args, "-chardev");
	strv_add(args, "file,id=charserial0,path=/dev/fdset/0,append=on");
	strv_add(args, "-device");
	strv_add(args, "isa-serial,chardev=charserial0,id=legacy0");
}

/* A guest image: part of physical memory (nvdimm) or a read-only disk. */
static void image_args(const struct vm *vm, const struct cmdline_start *start, struct strv *args)
{
	const struct vm_config *c = &vm->config;
	struct part part = {0};

	if (!c->image)
		return;
	if (c->image_nvdimm) {
		strv_add(args, "-device");
		strv_add(args, "nvdimm,id=nv0,memdev=mem0,unarmed=on");
		part.kind = PART_OBJECT;
		props_add(&part.props, "qom-type", "memory-backend-file");
		props_add(&part.props, "id", "mem0");
		props_add(&part.props, "mem-path", c->image);
		props_add_number(&part.props, "size", start->image_size);
		props_add_bool(&part.props, "share", true);
		props_add_bool(&part.props, "readonly", true);
	} else {
		part.kind = PART_BLOCKDEV;
		props_add(&part.props, "driver", "raw");
		props_add(&part.props, "node-name", "image");
		props_add_bool(&part.props, "read-only", true);
		props_add(&part.props, "file.driver", "file");
		props_add(&part.props, "file.filename", c->image);
		props_add(&part.props, "file.locking", "off");
	}
	part_to_args(&part, args);
	part_fini(&part);
	if (!c->image_nvdimm)
		add_device(args, "virtio-blk-pci", "image0", &vm->image_slot,
			   ",disable-legacy=on,drive=image");
}

static void device_args(const struct vm *vm, struct strv *args)
{
	const struct device *d;

	list_for_each (d, &vm->devices, link) {
		for (size_t i = 0; i < d->n_fds; i++) {
			if (!d->fds[i].in_set)
				continue;
			strv_add(args, "-add-fd");
			strv_addf(args, "fd=%d,set=%u", d->fds[i].child, d->fds[i].set);
		}
		for (size_t i = 0; i < d->n_parts; i++)
			part_to_args(&d->parts[i], args);
	}
}

/*
 * Where the guest finds its root file system follows from how the image is attached. Kata's
 * data=ordered is what a journal has anyway, and a file system without one refuses the word.
 */
static void append_args(const struct vm_config *c, struct strv *args)
{
	_cleanup_(buf_fini) struct buf b = {0};
	const char *type = str_empty(c->rootfs_type) ? "ext4" : c->rootfs_type;
	bool ext4 = streq(type, "ext4");

	if (c->image) {
		buf_addf(&b, "root=%s", c->image_nvdimm ? "/dev/pmem0p1" : "/dev/vda1");
		if (c->image_nvdimm || ext4)
			buf_addf(&b, " rootflags=%s%s%s", c->image_nvdimm ? "dax" : "",
				 c->image_nvdimm && ext4 ? "," : "",
				 ext4 ? "errors=remount-ro" : "");
		buf_addf(&b, " ro rootfstype=%s", type);
	}
	if (!str_empty(c->kernel_params))
		buf_addf(&b, "%s%s", b.len ? " " : "", c->kernel_params);
	strv_add(args, "-append");
	strv_take(args, buf_take(&b));
}

static void boot_args(const struct vm_config *c, struct strv *args)
{
	if (!str_empty(c->firmware)) {
		strv_add(args, "-bios");
		strv_add(args, c->firmware);
	}
	strv_add(args, "-kernel");
	strv_add(args, c->kernel);
	if (c->initrd) {
		strv_add(args, "-initrd");
		strv_add(args, c->initrd);
	}
	append_args(c, args);
}

static void fixed_args(const struct vm *vm, struct strv *args)
{
	static const char *const fixed[] = {
		"-rtc",
		"base=utc,driftfix=slew,clock=host",
		"-global",
		"kvm-pit.lost_tick_policy=discard",
		"-vga",
		"none",
		"-display",
		"none",
		"-no-user-config",
		"-nodefaults",
		"-no-reboot",
	};
	size_t i = 0;

	for (; i < ARRAY_SIZE(fixed); i++)
		if (vm->accel == VM_ACCEL_KVM || (i != 2 && i != 3))
			strv_add(args, fixed[i]);
	strv_add(args, "-sandbox");
	strv_add(args,
		 str_empty(vm->config.seccomp_sandbox) ? SANDBOX_FULL : vm->config.seccomp_sandbox);
	if (vm->config.debug) {
		strv_add(args, "-d");
		strv_add(args, "guest_errors,unimp");
	}
}

void cmdline_build(const struct vm *vm, const struct cmdline_start *start, struct strv *args)
{
	const struct vm_config *c = &vm->config;

	strv_add(args, c->hypervisor_path);
	strv_add(args, "-name");
	strv_addf(args, "sandbox-%s,debug-threads=on", start->id);
	strv_add(args, "-uuid");
	strv_add(args, start->uuid);
	machine_args(vm, args);
	strv_add(args, "-qmp");
	strv_addf(args, "unix:%s/qmp.sock,server=on,wait=off", start->run_dir);
	strv_add(args, "-chardev");
	strv_addf(args, "socket,id=monitor,fd=%d", start->monitor_fd);
	strv_add(args, "-mon");
	strv_add(args, "chardev=monitor,mode=control");
	machine_memory_args(vm, start->memory_fd, args);
	machine_cpu_args(vm, args);
	bus_args(vm, args);
	console_args(vm, start, args);
	image_args(vm, start, args);
	add_device(args, "virtio-scsi-pci", "scsi0", &vm->scsi_slot, ",disable-legacy=on");
	strv_add(args, "-object");
	strv_addf(args, "rng-random,id=rng0,filename=%s",
		  str_empty(c->entropy_source) ? "/dev/urandom" : c->entropy_source);
	add_device(args, "virtio-rng-pci", "rng0dev", &vm->rng_slot, ",disable-legacy=on,rng=rng0");
	device_args(vm, args);
	fixed_args(vm, args);
	boot_args(c, args);
	if (vm->restored) {
		strv_add(args, "-incoming");
		strv_add(args, "defer");
	}
}
