/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Routes of the main table over rtnetlink. */

#include "wire/netlink/ip.h"
#include "wire/netlink/nl.h"

#define ROUTES_MAX 16384U

struct route {
	uint8_t family;    /* AF_INET, AF_INET6 */
	struct ip dest;    /* family 0: default */
	struct ip gateway; /* family 0: none */
	struct ip source;  /* preferred source address; family 0: none */
	int index;         /* of the interface; 0: by the gateway */
	uint8_t scope, protocol, type;
	uint32_t table;
	uint32_t flags; /* RTNH_F_ONLINK */
	uint32_t mtu;   /* 0: the interface's */
	uint32_t metric;
};

/* route_parse: one RTM_NEWROUTE message. Returns 0 or -EBADMSG. */
int route_parse(const struct nlmsghdr *reply, struct route *ret);
/* route_list: unicast routes of the main table, both families; *ret is freed with free(). */
int route_list(struct nl *nl, struct route **ret, size_t *ret_n);
/*
 * route_add: as boot protocol in the main table; type and table are not looked at. An equal one is
 * replaced. A scope of 0 without a gateway is RT_SCOPE_LINK in effect (as in ip(8)).
 */
int route_add(struct nl *nl, const struct route *route);
/* route_remove: -ESRCH when there is none. */
int route_remove(struct nl *nl, const struct route *route);
