/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Addresses of interfaces over rtnetlink. */

#include "wire/netlink/ip.h"
#include "wire/netlink/nl.h"

#define ADDRS_MAX 4096U

struct addr {
	int index; /* of the interface */
	struct ip ip;
	uint8_t scope;
	uint32_t flags; /* IFA_F_PERMANENT, IFA_F_NODAD … */
};

/* addr_parse: one RTM_NEWADDR message. Returns 0 or -EBADMSG. */
int addr_parse(const struct nlmsghdr *reply, struct addr *ret);
/* addr_list: of the interface `index`, 0: of all; *ret is freed with free(). */
int addr_list(struct nl *nl, int index, struct addr **ret, size_t *ret_n);
/*
 * addr_add: give the interface an address; one that it has already is fine. IPv6 addresses get
 * IFA_F_NODAD: duplicate address detection costs 2–3 s before the address can be used, and the
 * host's network has chosen it.
 */
int addr_add(struct nl *nl, int index, const struct ip *ip);
/* addr_remove: -EADDRNOTAVAIL when the interface has not got it. */
int addr_remove(struct nl *nl, int index, const struct ip *ip);
