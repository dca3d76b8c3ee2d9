/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Neighbours (ARP, NDP) over rtnetlink. */

#include "wire/netlink/ip.h"
#include "wire/netlink/nl.h"

#define NEIGHS_MAX 16384U

struct neigh {
	int index; /* of the interface */
	struct ip ip;
	bool has_mac;
	uint8_t mac[MAC_LENGTH];
	uint16_t state; /* NUD_PERMANENT … */
	uint8_t flags;  /* NTF_… */
};

/* neigh_parse: one RTM_NEWNEIGH message. Returns 0 or -EBADMSG. */
int neigh_parse(const struct nlmsghdr *reply, struct neigh *ret);
/* neigh_list: of the interface `index`, 0: of all; *ret is freed with free(). */
int neigh_list(struct nl *nl, int index, struct neigh **ret, size_t *ret_n);
/* neigh_add: an entry for the same address is replaced. */
int neigh_add(struct nl *nl, const struct neigh *neigh);
