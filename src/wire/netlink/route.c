/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/alloc.h"

/* --- reading --- */

static void parse_metrics(const struct nl_attr *metrics, struct route *route)
{
	struct nl_iter it;
	struct nl_attr attr;

	nl_iter_nested(&it, metrics);
	while (nl_iter_next(&it, &attr))
		if (attr.type == RTAX_MTU)
			route->mtu = nl_attr_u32(&attr);
}

static int parse_attr(const struct nl_attr *attr, uint8_t family, struct route *route)
{
	switch (attr->type) {
	case RTA_DST:
		return ip_from_bytes(family, attr->data, attr->len, &route->dest);
	case RTA_GATEWAY:
		return ip_from_bytes(family, attr->data, attr->len, &route->gateway);
	case RTA_PREFSRC:
		return ip_from_bytes(family, attr->data, attr->len, &route->source);
	case RTA_OIF:
		route->index = (int)nl_attr_u32(attr);
		return 0;
	case RTA_TABLE:
		route->table = nl_attr_u32(attr);
		return 0;
	case RTA_PRIORITY:
		route->metric = nl_attr_u32(attr);
		return 0;
	case RTA_METRICS:
		parse_metrics(attr, route);
		return 0;
	default:
		return 0;
	}
}

int route_parse(const struct nlmsghdr *reply, struct route *ret)
{
	struct route route = {0};
	const struct rtmsg *info;
	struct nl_attr attr;
	struct nl_iter it;
	int r;

	if (reply->nlmsg_type != RTM_NEWROUTE)
		return -EBADMSG;
	r = nl_iter_init(&it, reply, sizeof(*info), (const void **)&info);
	if (r < 0)
		return r;
	route.family = info->rtm_family;
	route.scope = info->rtm_scope;
	route.protocol = info->rtm_protocol;
	route.type = info->rtm_type;
	route.table = info->rtm_table;
	route.flags = info->rtm_flags;
	/* Other families (MPLS, bridge) have addresses of other sizes. */
	if (route.family != AF_INET && route.family != AF_INET6) {
		*ret = route;
		return 0;
	}
	while (nl_iter_next(&it, &attr)) {
		r = parse_attr(&attr, info->rtm_family, &route);
		if (r < 0)
			return r;
	}
	if (route.dest.family) {
		if (info->rtm_dst_len > route.dest.prefix)
			return -EBADMSG;
		route.dest.prefix = info->rtm_dst_len;
	}
	*ret = route;
	return 0;
}

struct collection {
	struct route *routes;
	size_t n;
};

static int collect(const struct nlmsghdr *reply, void *arg)
{
	struct collection *all = arg;
	struct route route;
	int r;

	r = route_parse(reply, &route);
	if (r < 0)
		return r;
	if (route.table != RT_TABLE_MAIN || route.type != RTN_UNICAST ||
	    (route.family != AF_INET && route.family != AF_INET6))
		return 0;
	if (all->n == ROUTES_MAX)
		return -E2BIG;
	all->routes = xreallocarray(all->routes, all->n + 1, sizeof(route));
	all->routes[all->n++] = route;
	return 0;
}

int route_list(struct nl *nl, struct route **ret, size_t *ret_n)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct collection all = {0};
	struct nl_msg msg;

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct rtmsg info = {.rtm_family = families[i]};
		size_t before = all.n;
		int r, tries = 5;

		do {
			all.n = before;
			nl_msg_init(&msg, RTM_GETROUTE, NLM_F_DUMP, &info, sizeof(info));
			r = nl_request(nl, &msg, collect, &all);
		} while (r == -EAGAIN && --tries > 0);
		/* A kernel without IPv6 answers with IPv4's or with an error. */
		if (r < 0 && families[i] != AF_INET6) {
			free(all.routes);
			return r;
		}
	}
	*ret = all.routes;
	*ret_n = all.n;
	return 0;
}

/* --- changing --- */

static int change_init(struct nl_msg *msg, uint16_t type, uint16_t flags, const struct route *route)
{
	struct rtmsg info = {
		.rtm_family = route->family,
		.rtm_dst_len = route->dest.family ? route->dest.prefix : 0,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_scope = route->scope,
		.rtm_type = RTN_UNICAST,
		.rtm_protocol = route->protocol ? route->protocol : RTPROT_BOOT,
		.rtm_flags = route->flags & RTNH_F_ONLINK,
	};
	const struct ip *parts[] = {&route->dest, &route->gateway, &route->source};

	if (route->family != AF_INET && route->family != AF_INET6)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i]->family && parts[i]->family != route->family)
			return -EINVAL;
	/* The kernel wants the gateway to be reachable at a narrower scope than the route's. */
	if (type == RTM_NEWROUTE && route->family == AF_INET && !route->gateway.family &&
	    route->scope < RT_SCOPE_LINK)
		info.rtm_scope = RT_SCOPE_LINK;
	if (type == RTM_DELROUTE && !route->scope)
		info.rtm_scope = RT_SCOPE_NOWHERE;
	nl_msg_init(msg, type, flags, &info, sizeof(info));
	if (route->dest.family)
		nl_put(msg, RTA_DST, route->dest.bytes, ip_size(&route->dest));
	if (route->gateway.family)
		nl_put(msg, RTA_GATEWAY, route->gateway.bytes, ip_size(&route->gateway));
	if (route->source.family)
		nl_put(msg, RTA_PREFSRC, route->source.bytes, ip_size(&route->source));
	if (route->index)
		nl_put_u32(msg, RTA_OIF, (uint32_t)route->index);
	if (route->metric)
		nl_put_u32(msg, RTA_PRIORITY, route->metric);
	if (route->mtu) {
		size_t metrics = nl_nest(msg, RTA_METRICS);

		nl_put_u32(msg, RTAX_MTU, route->mtu);
		nl_nest_end(msg, metrics);
	}
	return 0;
}

int route_add(struct nl *nl, const struct route *route)
{
	struct nl_msg msg;
	int r;

	r = change_init(&msg, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
	return r < 0 ? r : nl_ack(nl, &msg);
}

int route_remove(struct nl *nl, const struct route *route)
{
	struct nl_msg msg;
	int r;

	r = change_init(&msg, RTM_DELROUTE, 0, route);
	return r < 0 ? r : nl_ack(nl, &msg);
}
