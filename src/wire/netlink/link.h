/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Network interfaces over rtnetlink (rtnetlink(7), linux/if_link.h). */

#include <linux/if_link.h>
#include <net/if.h>

#include "wire/netlink/ip.h"
#include "wire/netlink/nl.h"

#define LINK_KIND_MAX 32U
#define LINKS_MAX     4096U

struct link {
	int index;
	char name[IFNAMSIZ];
	char kind[LINK_KIND_MAX]; /* "veth", "tun", …; "" for a physical one */
	bool has_mac;
	uint8_t mac[MAC_LENGTH];
	uint16_t type;  /* ARPHRD_ETHER, ARPHRD_LOOPBACK … */
	uint32_t flags; /* IFF_UP … */
	uint32_t mtu;
	int peer; /* IFLA_LINK: the other end of a veth, the lower device of a macvlan; 0: none */
	struct rtnl_link_stats64 stats;
};

/* link_parse: one RTM_NEWLINK message. Returns 0 or -EBADMSG. */
int link_parse(const struct nlmsghdr *reply, struct link *ret);
/* link_list: all, in the order of the kernel; *ret is freed with free(). -E2BIG above LINKS_MAX. */
int link_list(struct nl *nl, struct link **ret, size_t *ret_n);
/* link_get, link_get_index: one; -ENODEV when it is not there. */
int link_get(struct nl *nl, const char *name, struct link *ret);
int link_get_index(struct nl *nl, int index, struct link *ret);
/* link_find_mac: the first one with that hardware address; -ENODEV when there is none. */
int link_find_mac(struct nl *nl, const uint8_t mac[MAC_LENGTH], struct link *ret);

int link_set_up(struct nl *nl, int index, bool up);
/* link_set_name: since Linux 6.2 also while it is up; older kernels give -EBUSY then. */
int link_set_name(struct nl *nl, int index, const char *name);
int link_set_mtu(struct nl *nl, int index, uint32_t mtu);
int link_set_mac(struct nl *nl, int index, const uint8_t mac[MAC_LENGTH]);
/* link_set_arp: clear or set IFF_NOARP. */
int link_set_arp(struct nl *nl, int index, bool arp);
/* link_set_no_addrgen: no automatic IPv6 link-local address (IN6_ADDR_GEN_MODE_NONE). */
int link_set_no_addrgen(struct nl *nl, int index);
int link_delete(struct nl *nl, int index);
/* link_add: a new interface of a kind that needs no options ("dummy", "ifb", "bridge"). */
int link_add(struct nl *nl, const char *name, const char *kind);
/* link_add_veth: a pair of them. */
int link_add_veth(struct nl *nl, const char *name, const char *peer);
