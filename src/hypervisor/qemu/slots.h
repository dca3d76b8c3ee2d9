/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where devices sit: the PCI slots of the root bus and of the buses for hot-plug. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SLOTS_BUSES_MAX 40

struct slots_bus {
	char id[24];        /* QEMU's name: "pcie.0", "pci-bridge-0", "rp0" */
	unsigned root_slot; /* slot of the bridge on the root bus; 0 for the root bus itself */
	unsigned n;         /* slots 0 … n-1 */
	uint32_t used;      /* bit per slot */
};

struct slots {
	struct slots_bus buses[SLOTS_BUSES_MAX]; /* the first is the root bus */
	size_t n_buses;
};

struct slot {
	char bus[24];
	unsigned number;
	char path[8]; /* Kata's PCI path: two hex digits a level, from the root bus down: "02/01" */
};

/* slots_init: the q35 root bus, whose slots 0 (host bridge) and 31 (ICH9) are taken. */
void slots_init(struct slots *s);
/* slots_add_bridge: a bus behind root slot `root_slot` (0: any) with n slots from `first` on.
 * Returns the root slot, or -ENOSPC. */
int slots_add_bridge(struct slots *s, const char *id, unsigned root_slot, unsigned first,
		     unsigned n);
/* slots_take: a free slot on the root bus (cold plug) or behind a bridge (hot). 0 or -ENOSPC. */
int slots_take(struct slots *s, bool hot, struct slot *ret);
void slots_release(struct slots *s, const struct slot *slot);
