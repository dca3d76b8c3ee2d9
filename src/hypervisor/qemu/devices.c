/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"

/*
 * How it works: a device is described in two steps, since QEMU must know a descriptor before the
 * object that uses it. device_new() lists the descriptors; whoever adds the device (cmdline.c or
 * hotplug.c) gives each a reference; device_describe() then writes the parts. Each row of the table
 * below is one kind of device.
 */

#define FS_QUEUE_DEFAULT 1024U
#define SCSI_LUNS        256U

/* Modern virtio only: no I/O ports, and nothing of the legacy interface to attack. */
static void begin_pci(struct device *d, const char *driver, struct part **ret)
{
	struct part *part = &d->parts[d->n_parts++];

	part->kind = PART_DEVICE;
	props_add(&part->props, "driver", driver);
	props_add(&part->props, "id", d->id);
	props_add(&part->props, "bus", d->slot.bus);
	props_addf(&part->props, "addr", "%x", d->slot.number);
	/* Those that came after the legacy interface have no such property. */
	if (d->type != VM_DEVICE_FS)
		props_add_bool(&part->props, "disable-legacy", true);
	*ret = part;
}

static struct part *begin_part(struct device *d, enum part_kind kind)
{
	struct part *part = &d->parts[d->n_parts++];

	part->kind = kind;
	return part;
}

static void add_chardev(struct device *d)
{
	struct part *part = begin_part(d, PART_CHARDEV);

	props_add(&part->props, "backend", "socket");
	props_addf(&part->props, "id", "char-%s", d->id);
	props_add(&part->props, "fd", d->fds[0].ref);
}

/* --- serial port: virtserialport on the controller serial0 --- */

static int serial_check(struct device *d, const struct vm_device *spec, struct err *err)
{
	d->fds[d->n_fds++] = (struct device_fd){.fd = spec->serial.fd};
	if (str_empty(spec->serial.name))
		return err_setx(err, -EINVAL, "serial port %s has no name", spec->id);
	return 0;
}

static void serial_describe(struct device *d, const struct vm_device *spec,
			    _unused_ const struct block_settings *block)
{
	struct part *part;

	add_chardev(d);
	part = begin_part(d, PART_DEVICE);
	props_add(&part->props, "driver", "virtserialport");
	props_add(&part->props, "id", d->id);
	props_add(&part->props, "bus", "serial0.0");
	props_addf(&part->props, "chardev", "char-%s", d->id);
	props_add(&part->props, "name", spec->serial.name);
}

/* --- vsock --- */

static int vsock_check(struct device *d, const struct vm_device *spec, struct err *err)
{
	d->fds[d->n_fds++] = (struct device_fd){.fd = spec->vsock.vhost_fd};
	if (spec->vsock.cid < 3)
		return err_setx(err, -EINVAL, "vsock: CID %u is reserved", spec->vsock.cid);
	return 0;
}

static void vsock_describe(struct device *d, const struct vm_device *spec,
			   _unused_ const struct block_settings *block)
{
	struct part *part;

	begin_pci(d, "vhost-vsock-pci", &part);
	props_add(&part->props, "vhostfd", d->fds[0].ref);
	props_add_number(&part->props, "guest-cid", spec->vsock.cid);
}

/* --- shared folder: vhost-user-fs --- */

static int fs_check(struct device *d, const struct vm_device *spec, struct err *err)
{
	d->fds[d->n_fds++] = (struct device_fd){.fd = spec->fs.fd};
	if (str_empty(spec->fs.tag) || strlen(spec->fs.tag) > 35)
		return err_setx(err, -EINVAL, "shared folder: a tag has 1 to 35 bytes");
	if (spec->fs.cache_size_mib)
		return err_setx(err, -ENOSYS,
				"virtio_fs_cache_size: QEMU's virtio-fs has no DAX window; set it "
				"to 0");
	return 0;
}

static void fs_describe(struct device *d, const struct vm_device *spec,
			_unused_ const struct block_settings *block)
{
	struct part *part;

	add_chardev(d);
	begin_pci(d, "vhost-user-fs-pci", &part);
	props_addf(&part->props, "chardev", "char-%s", d->id);
	props_add(&part->props, "tag", spec->fs.tag);
	props_add_number(&part->props, "queue-size",
			 spec->fs.queue_size ? spec->fs.queue_size : FS_QUEUE_DEFAULT);
}

/* --- disk: virtio-blk, or a LUN on the controller scsi0 --- */

static int block_check(struct device *d, const struct vm_device *spec, struct err *err)
{
	d->fds[d->n_fds++] = (struct device_fd){.fd = spec->block.fd, .in_set = true};
	/* Other formats can name further files of the host. */
	if (spec->block.format && !streq(spec->block.format, "raw"))
		return err_setx(err, -ENOSYS, "disk %s: format %s is not supported, only raw is",
				spec->id, spec->block.format);
	return 0;
}

static void block_backend(struct device *d, const struct vm_device *spec,
			  const struct block_settings *block)
{
	struct part *part = begin_part(d, PART_BLOCKDEV);
	const char *aio = block->aio;
	struct stat st;
	bool device = fstat(spec->block.fd, &st) == 0 && S_ISBLK(st.st_mode);

	/* Native AIO blocks without O_DIRECT, so QEMU refuses it. */
	if (streq(aio, "native") && !block->cache_direct)
		aio = "threads";
	props_add(&part->props, "driver", "raw");
	props_addf(&part->props, "node-name", "drive-%s", d->id);
	props_add_bool(&part->props, "read-only", spec->block.read_only);
	props_add(&part->props, "file.driver", device ? "host_device" : "file");
	props_add(&part->props, "file.filename", d->fds[0].ref);
	props_add(&part->props, "file.aio", aio);
	props_add_bool(&part->props, "file.cache.direct", block->cache_direct);
	props_add_bool(&part->props, "file.cache.no-flush", block->cache_noflush);
}

static void block_describe(struct device *d, const struct vm_device *spec,
			   const struct block_settings *block)
{
	struct part *part;

	block_backend(d, spec, block);
	if (d->on_scsi) {
		part = begin_part(d, PART_DEVICE);
		props_add(&part->props, "driver", "scsi-hd");
		props_add(&part->props, "id", d->id);
		props_add(&part->props, "bus", "scsi0.0");
		props_add_number(&part->props, "channel", 0);
		props_add_number(&part->props, "scsi-id", d->scsi_index / SCSI_LUNS);
		props_add_number(&part->props, "lun", d->scsi_index % SCSI_LUNS);
	} else {
		begin_pci(d, "virtio-blk-pci", &part);
	}
	props_addf(&part->props, "drive", "drive-%s", d->id);
	props_add_bool(&part->props, "share-rw", true);
	if (spec->block.logical_sector_size)
		props_add_number(&part->props, "logical_block_size",
				 spec->block.logical_sector_size);
	if (spec->block.physical_sector_size)
		props_add_number(&part->props, "physical_block_size",
				 spec->block.physical_sector_size);
}

/* --- network --- */

static int net_check(struct device *d, const struct vm_device *spec, struct err *err)
{
	d->fds[d->n_fds++] = (struct device_fd){.fd = spec->net.tap_fd};
	if (spec->net.vhost_fd >= 0)
		d->fds[d->n_fds++] = (struct device_fd){.fd = spec->net.vhost_fd};
	if (str_empty(spec->net.mac))
		return err_setx(err, -EINVAL, "network device %s has no MAC address", spec->id);
	return 0;
}

static void net_describe(struct device *d, const struct vm_device *spec,
			 _unused_ const struct block_settings *block)
{
	struct part *part = begin_part(d, PART_NETDEV);

	props_add(&part->props, "type", "tap");
	props_addf(&part->props, "id", "netdev-%s", d->id);
	props_add(&part->props, "fd", d->fds[0].ref);
	if (d->n_fds > 1) {
		props_add_bool(&part->props, "vhost", true);
		props_add(&part->props, "vhostfd", d->fds[1].ref);
	}
	begin_pci(d, "virtio-net-pci", &part);
	props_addf(&part->props, "netdev", "netdev-%s", d->id);
	props_add(&part->props, "mac", spec->net.mac);
	if (spec->net.mtu)
		props_add_number(&part->props, "host_mtu", spec->net.mtu);
	/* No option ROM: the guest never boots from the network. */
	props_add_empty(&part->props, "romfile");
}

/* --- the table --- */

static const struct {
	int (*check)(struct device *d, const struct vm_device *spec, struct err *err);
	void (*describe)(struct device *d, const struct vm_device *spec,
			 const struct block_settings *block);
} kinds[] = {
	[VM_DEVICE_SERIAL] = {serial_check, serial_describe},
	[VM_DEVICE_VSOCK] = {vsock_check, vsock_describe},
	[VM_DEVICE_FS] = {fs_check, fs_describe},
	[VM_DEVICE_BLOCK] = {block_check, block_describe},
	[VM_DEVICE_NET] = {net_check, net_describe},
};

int device_new(const struct vm_device *spec, const struct block_settings *block,
	       struct device **ret, struct err *err)
{
	_cleanup_(device_freep) struct device *d = xnew(struct device);
	int r;

	list_init(&d->link);
	co_cond_init(&d->changed);
	if ((unsigned)spec->type >= ARRAY_SIZE(kinds))
		return err_setx(err, -EINVAL, "unknown kind of device %d", spec->type);
	d->type = spec->type;
	d->id = xstrdup(spec->id);
	d->on_scsi = spec->type == VM_DEVICE_BLOCK && block->scsi;
	r = kinds[spec->type].check(d, spec, err);
	if (r < 0)
		return r;
	if (!d->id || !path_is_id(d->id) || strlen(d->id) > DEVICE_ID_MAX)
		return err_setx(err, -EINVAL, "\"%.80s\" is no device id", d->id ? d->id : "");
	for (size_t i = 0; i < d->n_fds; i++)
		if (d->fds[i].fd < 0)
			return err_setx(err, -EBADF, "device %s: no descriptor", d->id);
	*ret = TAKE_PTR(d);
	return 0;
}

void device_free(struct device *d)
{
	if (!d)
		return;
	list_remove(&d->link);
	for (size_t i = 0; i < d->n_fds; i++)
		fd_close(d->fds[i].fd);
	for (size_t i = 0; i < d->n_parts; i++)
		part_fini(&d->parts[i]);
	free(d->id);
	free(d);
}

bool device_needs_slot(const struct device *d)
{
	return d->type != VM_DEVICE_SERIAL && !d->on_scsi;
}

void device_describe(struct device *d, const struct vm_device *spec,
		     const struct block_settings *block)
{
	kinds[d->type].describe(d, spec, block);
}

void device_get_address(const struct device *d, struct vm_device_address *ret)
{
	*ret = (struct vm_device_address){0};
	if (d->has_slot)
		snprintf(ret->pci_path, sizeof(ret->pci_path), "%s", d->slot.path);
	if (d->on_scsi)
		snprintf(ret->scsi, sizeof(ret->scsi), "%u:%u", d->scsi_index / SCSI_LUNS,
			 d->scsi_index % SCSI_LUNS);
}
