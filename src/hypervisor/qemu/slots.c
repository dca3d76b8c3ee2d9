/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/slots.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"

#define ROOT_SLOTS     32
#define ROOT_SLOT_MCH  0
#define ROOT_SLOT_ICH9 31

void slots_init(struct slots *s)
{
	*s = (struct slots){.n_buses = 1};
	s->buses[0] = (struct slots_bus){
		.id = "pcie.0",
		.n = ROOT_SLOTS,
		.used = 1U << ROOT_SLOT_MCH | 1U << ROOT_SLOT_ICH9,
	};
}

static int take_on(struct slots_bus *bus)
{
	for (unsigned i = 0; i < bus->n; i++) {
		if (bus->used & 1U << i)
			continue;
		bus->used |= 1U << i;
		return (int)i;
	}
	return -ENOSPC;
}

int slots_add_bridge(struct slots *s, const char *id, unsigned root_slot, unsigned first,
		     unsigned n)
{
	struct slots_bus *root = &s->buses[0];
	int at;

	if (s->n_buses == SLOTS_BUSES_MAX || root_slot >= root->n)
		return -ENOSPC;
	if (root_slot) {
		if (root->used & 1U << root_slot)
			return -ENOSPC;
		root->used |= 1U << root_slot;
		at = (int)root_slot;
	} else {
		at = take_on(root);
		if (at < 0)
			return at;
	}
	s->buses[s->n_buses] = (struct slots_bus){
		.root_slot = (unsigned)at,
		.n = n,
		.used = (1U << first) - 1,
	};
	snprintf(s->buses[s->n_buses++].id, sizeof(s->buses[0].id), "%s", id);
	return at;
}

int slots_take(struct slots *s, bool hot, struct slot *ret)
{
	size_t first = hot ? 1 : 0, end = hot ? s->n_buses : 1;

	for (size_t i = first; i < end; i++) {
		struct slots_bus *bus = &s->buses[i];
		int number = take_on(bus);

		if (number < 0)
			continue;
		*ret = (struct slot){.number = (unsigned)number};
		snprintf(ret->bus, sizeof(ret->bus), "%s", bus->id);
		if (bus->root_slot)
			snprintf(ret->path, sizeof(ret->path), "%02x/%02x", bus->root_slot & 31,
				 ret->number & 31);
		else
			snprintf(ret->path, sizeof(ret->path), "%02x", ret->number & 31);
		return 0;
	}
	return -ENOSPC;
}

void slots_release(struct slots *s, const struct slot *slot)
{
	for (size_t i = 0; i < s->n_buses; i++)
		if (streq(s->buses[i].id, slot->bus))
			s->buses[i].used &= ~(1U << slot->number);
}
