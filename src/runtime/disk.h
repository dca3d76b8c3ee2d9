/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Block devices and files of the host as disks of the VM. One that several containers of a sandbox
 * use is one disk: the guest caches what it reads of each, so that of two none would see what is
 * written through the other.
 */

#include "base/list.h"
#include "runtime/host_file.h"
#include "runtime/model.h"

struct disk {
	struct list link; /* of sandbox->disks */
	char id[32];
	struct host_file file; /* what it is on the host */
	bool read_only;
	unsigned int n_users; /* containers; 0: it is to leave the VM */
	bool leaving;         /* somebody waits for that */
	const char *driver;   /* of the agent's protocol: "blk" or "scsi" */
	char source[32];      /* its address there */
};

/* disk_plug: give the VM a file or block device, unless it has it; noted in c->disks, which own
 * *ret. May wait. */
int disk_plug(struct container *c, const char *path, bool read_only, const struct disk **ret,
	      struct err *err);
/* disks_unplug: a container's use of its disks is over; those that are nobody's are taken out of
 * the VM. May wait; a VM that is gone is fine. What the guest does not let go of is tried again at
 * the next call. */
void disks_unplug(struct container *c);
/* disks_free: the memory of all that a sandbox has. */
void disks_free(struct sandbox *s);
