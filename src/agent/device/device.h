/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Devices that the runtime has plugged into the VM: found by their address on the bus (PCI path,
 * SCSI address), waited for by uevents, and named by the /dev node that they got here.
 */

#include "agent.pb-c.h"
#include "agent/agent.h"

#define DEVICE_PER_REQUEST_MAX 1024U

struct device {
	char *vm_path;        /* "/dev/vda"; owned */
	char *container_path; /* as in the request: the device of the OCI spec it stands for; owned,
				 may be "" (nothing to change in the spec) */
	char type;            /* 'b' or 'c' */
	unsigned int major, minor;
};

/*
 * device_resolve: wait (coroutine, at most agent->config.hotplug_timeout) until the device is there
 * and describe it. -ENOSYS with the type's name for a type that is not supported.
 */
int device_resolve(struct agent *agent, const Grpc__Device *request, struct device *ret,
		   struct err *err);
/*
 * device_place_all: give the entries of the specification that devices stand for, by
 * container_path, the numbers that they have here, and the rules with the old numbers of an entry
 * the new ones. All at once: what is new for one device may be what was old for another.
 */
void device_place_all(const struct device *devices, size_t n, Grpc__Linux *linux_);
void device_fini(struct device *device);
/* device_types: the NULL-terminated names that device_resolve understands. */
const char *const *device_types(void);

/* device_want_scsi: have the driver of the SCSI controller that every VM has, which the boot leaves
 * out (modules_load_present()). Finding a disk does so; who is about to wait for a pod, too. */
void device_want_scsi(struct agent *agent);
/* device_find_pci_block: the /dev path of the block device at a PCI path ("02/01", Kata's format)
 * in *ret (caller frees), waiting for it to appear. For Storage entries. */
int device_find_pci_block(struct agent *agent, const char *pci_path, char **ret, struct err *err);
/* device_find_scsi: the same by SCSI address "SCSI-id:LUN" on the first SCSI host. */
int device_find_scsi(struct agent *agent, const char *address, char **ret, struct err *err);
/* device_wait_node: wait for the block device node at a path below /dev; *ret is a copy of it. */
int device_wait_node(struct agent *agent, const char *path, char **ret, struct err *err);
/* device_net_name: the name of the network interface at a PCI path, if it is there now: 0, or
 * -ENOENT. The caller frees *ret. */
int device_net_name(const char *pci_path, char **ret);
