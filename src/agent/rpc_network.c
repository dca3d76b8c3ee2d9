/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/device/device.h"
#include "agent/rpc.h"
#include "agent/uevents.h"
#include "base/parse.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/netlink/neigh.h"
#include "wire/netlink/route.h"

/*
 * The guest's network as the pod's: interfaces are found by hardware address (their names follow
 * the order of the bus), renamed and given the pod's addresses; routes and neighbours follow. The
 * kernel answers each netlink request at once, so that none of this needs a child.
 */

#define ADDRESSES_MAX  256U
#define RT_MAX         4096U
#define NEIGHBOURS_MAX 4096U

static int open_netlink(struct nl *nl, struct err *err)
{
	int r = nl_open(nl, NETLINK_ROUTE);

	return r < 0 ? err_set(err, r, "open a netlink socket") : 0;
}

static int find_link(struct nl *nl, const char *name, struct link *ret, struct err *err)
{
	int r = link_get(nl, name, ret);

	if (r == -ENODEV)
		return err_setx(err, -ENOENT, "there is no interface %s", name);
	return r < 0 ? err_set(err, r, "interface %s", name) : 0;
}

/* --- interfaces --- */

/* An address with its mask, which is a prefix length ("24") or, for IPv4, dotted. */
static int parse_address(const Types__IPAddress *address, struct ip *ret)
{
	struct ip ip, mask;
	uint32_t prefix;
	int r;

	r = ip_parse(address->address, &ip);
	if (r < 0)
		return r;
	if (parse_u32(address->mask, &prefix) == 0) {
		if (prefix > ip_size(&ip) * 8)
			return -EINVAL;
	} else if (ip_parse(address->mask, &mask) == 0 && mask.family == ip.family) {
		prefix = 0;
		while (prefix < ip_size(&mask) * 8 &&
		       mask.bytes[prefix / 8] & (0x80 >> (prefix % 8)))
			prefix++;
	} else if (!str_empty(address->mask)) {
		return -EINVAL;
	} else {
		prefix = ip.prefix;
	}
	ip.prefix = (uint8_t)prefix;
	*ret = ip;
	return 0;
}

/*
 * An interface that was in the VM before its pod was known (a template's clone) has another
 * hardware address: it is found by its place on the bus and gets the pod's.
 */
static int take_by_path(struct nl *nl, const char *pci_path, const uint8_t mac[MAC_LENGTH],
			struct link *ret)
{
	_cleanup_(freep) char *name = NULL;
	int r;

	if (str_empty(pci_path))
		return -ENODEV;
	r = device_net_name(pci_path, &name);
	if (r == 0)
		r = link_get(nl, name, ret);
	if (r < 0)
		return -ENODEV;
	link_set_up(nl, ret->index, false);
	r = link_set_mac(nl, ret->index, mac);
	return r < 0 ? r : link_get_index(nl, ret->index, ret);
}

/* Hot-plugged interfaces take their time (20–120 ms). */
static int wait_for_link(struct agent *agent, struct nl *nl, const Types__Interface *wanted,
			 struct link *ret, struct err *err)
{
	uint64_t deadline = clock_after(agent->config.hotplug_timeout);
	uint8_t mac[MAC_LENGTH];
	int r;

	if (mac_parse(wanted->hwaddr, mac) < 0)
		return err_setx(err, -EINVAL, "\"%s\": not a hardware address", wanted->hwaddr);
	for (;;) {
		r = link_find_mac(nl, mac, ret);
		if (r == -ENODEV)
			r = take_by_path(nl, wanted->devicepath, mac, ret);
		if (r != -ENODEV)
			return r < 0 ? err_set(err, r, "find the interface") : 0;
		if (uevents_wait(agent, deadline) == -ETIMEDOUT)
			return err_setx(err, -ENOENT, "no interface with hardware address %s",
					wanted->hwaddr);
	}
}

static int rename_link(struct nl *nl, const struct link *link, const char *name, struct err *err)
{
	struct link other;
	int r;

	if (str_empty(name) || streq(link->name, name))
		return 0;
	/* Two interfaces may want to swap names. */
	if (link_get(nl, name, &other) == 0) {
		char spare[IFNAMSIZ];

		snprintf(spare, sizeof(spare), "kata%d", other.index);
		link_set_up(nl, other.index, false);
		r = link_set_name(nl, other.index, spare);
		if (r < 0)
			return err_set(err, r, "rename interface %s out of the way", name);
	}
	if (link->flags & IFF_UP)
		link_set_up(nl, link->index, false);
	r = link_set_name(nl, link->index, name);
	return r < 0 ? err_set(err, r, "rename interface %s to %s", link->name, name) : 0;
}

/* Exactly the wanted addresses; a link-local one that the kernel made stays. */
static int set_addresses(struct nl *nl, int index, const Types__Interface *wanted, struct err *err)
{
	_cleanup_(freep) struct addr *present = NULL;
	struct ip ips[ADDRESSES_MAX];
	size_t n = wanted->n_ipaddresses, n_present;
	int r;

	if (n > ADDRESSES_MAX)
		return err_setx(err, -E2BIG, "%zu addresses, at most %u", n, ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++)
		if (parse_address(wanted->ipaddresses[i], &ips[i]) < 0)
			return err_setx(err, -EINVAL, "address \"%s\" with mask \"%s\"",
					wanted->ipaddresses[i]->address,
					wanted->ipaddresses[i]->mask);
	r = addr_list(nl, index, &present, &n_present);
	if (r < 0)
		return err_set(err, r, "list addresses");
	for (size_t i = 0; i < n_present; i++) {
		bool keep = ip_is_link_local(&present[i].ip);

		for (size_t k = 0; k < n && !keep; k++)
			keep = ip_equal(&present[i].ip, &ips[k]);
		if (!keep)
			addr_remove(nl, index, &present[i].ip);
	}
	for (size_t i = 0; i < n; i++) {
		r = addr_add(nl, index, &ips[i]);
		if (r < 0)
			return err_set(err, r, "add address %s", wanted->ipaddresses[i]->address);
	}
	return 0;
}

RPC(update_interface)
{
	const Grpc__UpdateInterfaceRequest *request = request_;
	const Types__Interface *wanted = request->interface;
	Types__Interface *response = response_;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	struct link link = {0};
	int r;

	if (!wanted)
		return err_setx(err, -EINVAL, "update interface: none is given");
	r = open_netlink(&nl, err);
	if (r == 0)
		r = wait_for_link(rpc_agent(call), &nl, wanted, &link, err);
	if (r == 0)
		r = rename_link(&nl, &link, wanted->name, err);
	if (r < 0)
		return err_wrap(err, r, "interface %s", wanted->name);
	if (wanted->mtu && wanted->mtu != link.mtu) {
		r = wanted->mtu > UINT32_MAX ? -ERANGE
					     : link_set_mtu(&nl, link.index, (uint32_t)wanted->mtu);
		if (r < 0)
			return err_set(err, r, "interface %s: MTU %llu", wanted->name,
				       (unsigned long long)wanted->mtu);
	}
	r = set_addresses(&nl, link.index, wanted, err);
	if (r < 0)
		return err_wrap(err, r, "interface %s", wanted->name);
	if (wanted->raw_flags & IFF_NOARP)
		link_set_arp(&nl, link.index, false);
	r = link_set_up(&nl, link.index, true);
	if (r < 0)
		return err_set(err, r, "interface %s: up", wanted->name);
	/* The request lives as long as the response. */
	*response = *wanted;
	return 0;
}

static Types__IPAddress *address_new(struct ttrpc_call *call, const struct ip *ip)
{
	Types__IPAddress *address = ttrpc_call_alloc(call, sizeof(*address));
	char text[IP_TEXT_MAX];

	types__ipaddress__init(address);
	ip_format(ip, text);
	address->family = ip->family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	address->address = ttrpc_call_strdup(call, text);
	address->mask = ttrpc_call_printf(call, "%u", ip->prefix);
	return address;
}

static Types__Interface *interface_new(struct ttrpc_call *call, const struct link *link,
				       const struct addr *addrs, size_t n_addrs)
{
	Types__Interface *interface = ttrpc_call_alloc(call, sizeof(*interface));
	char mac[MAC_TEXT] = "";

	types__interface__init(interface);
	if (link->has_mac)
		mac_format(link->mac, mac);
	interface->device = interface->name = ttrpc_call_strdup(call, link->name);
	interface->hwaddr = ttrpc_call_strdup(call, mac);
	interface->type = ttrpc_call_strdup(call, link->kind);
	interface->mtu = link->mtu;
	interface->raw_flags = link->flags;
	interface->ipaddresses = ttrpc_call_alloc(call, (n_addrs + 1) * sizeof(void *));
	for (size_t i = 0; i < n_addrs; i++)
		if (addrs[i].index == link->index)
			interface->ipaddresses[interface->n_ipaddresses++] = address_new(
				call, &addrs[i].ip);
	return interface;
}

RPC(list_interfaces)
{
	Grpc__Interfaces *response = response_;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(freep) struct link *links = NULL;
	_cleanup_(freep) struct addr *addrs = NULL;
	size_t n = 0, n_addrs = 0;
	int r;

	(void)request_;
	r = open_netlink(&nl, err);
	if (r < 0)
		return r;
	r = link_list(&nl, &links, &n);
	if (r == 0)
		r = addr_list(&nl, 0, &addrs, &n_addrs);
	if (r < 0)
		return err_set(err, r, "list interfaces");
	response->interfaces = ttrpc_call_alloc(call, (n + 1) * sizeof(void *));
	response->n_interfaces = n;
	for (size_t i = 0; i < n; i++)
		response->interfaces[i] = interface_new(call, &links[i], addrs, n_addrs);
	return 0;
}

/* --- routes --- */

static int parse_optional(const char *text, uint8_t family, struct ip *ret)
{
	if (str_empty(text))
		return 0;
	if (ip_parse(text, ret) < 0 || ret->family != family)
		return -EINVAL;
	return 0;
}

static int parse_route(struct nl *nl, const Types__Route *wanted, struct route *ret,
		       struct err *err)
{
	struct route route = {
		.family = wanted->family == TYPES__IPFAMILY__v6 ? AF_INET6 : AF_INET,
		.scope = (uint8_t)wanted->scope,
		.flags = wanted->flags,
		.mtu = wanted->mtu,
	};
	struct link link;
	int r;

	if (parse_optional(wanted->dest, route.family, &route.dest) < 0 ||
	    parse_optional(wanted->gateway, route.family, &route.gateway) < 0 ||
	    parse_optional(wanted->source, route.family, &route.source) < 0 ||
	    wanted->scope > RT_SCOPE_NOWHERE)
		return err_setx(err, -EINVAL, "not a route");
	/* "0.0.0.0/0" is the default route. */
	if (route.dest.family && route.dest.prefix == 0)
		route.dest = (struct ip){0};
	r = find_link(nl, wanted->device, &link, err);
	if (r < 0)
		return r;
	route.index = link.index;
	*ret = route;
	return 0;
}

/*
 * Old routes go, so that what the runtime says is all there is; those that the kernel keeps itself
 * (of addresses, of the loopback, IPv6's of multicast) stay.
 */
static int remove_routes(struct nl *nl, struct err *err)
{
	_cleanup_(freep) struct route *routes = NULL;
	size_t n;
	int r;

	r = route_list(nl, &routes, &n);
	if (r < 0)
		return err_set(err, r, "list routes");
	for (size_t i = 0; i < n; i++) {
		if (routes[i].protocol == RTPROT_KERNEL || routes[i].index == 1)
			continue;
		r = route_remove(nl, &routes[i]);
		if (r < 0 && r != -ESRCH)
			return err_set(err, r, "remove an old route");
	}
	return 0;
}

static void fill_routes(struct ttrpc_call *call, struct nl *nl, const struct route *routes,
			size_t n, Grpc__Routes *response);

static int list_routes(struct ttrpc_call *call, struct nl *nl, Grpc__Routes *response,
		       struct err *err)
{
	_cleanup_(freep) struct route *routes = NULL;
	size_t n;
	int r;

	r = route_list(nl, &routes, &n);
	if (r < 0)
		return err_set(err, r, "list routes");
	fill_routes(call, nl, routes, n, response);
	return 0;
}

/*
 * Those without a gateway first: they make gateways reachable. The order within each kind is the
 * runtime's.
 */
RPC(update_routes)
{
	const Grpc__UpdateRoutesRequest *request = request_;
	const Grpc__Routes *wanted = request->routes;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	if (!wanted)
		return err_setx(err, -EINVAL, "update routes: none are given");
	if (wanted->n_routes > RT_MAX)
		return err_setx(err, -E2BIG, "%zu routes, at most %u", wanted->n_routes, RT_MAX);
	r = open_netlink(&nl, err);
	if (r == 0)
		r = remove_routes(&nl, err);
	for (int with_gateway = 0; with_gateway <= 1; with_gateway++) {
		for (size_t i = 0; i < wanted->n_routes && r == 0; i++) {
			const Types__Route *one = wanted->routes[i];
			struct route route;

			if (!str_empty(one->gateway) != with_gateway)
				continue;
			r = parse_route(&nl, one, &route, err);
			if (r == 0) {
				r = route_add(&nl, &route);
				if (r < 0)
					err_set(err, r, "add");
			}
			if (r < 0)
				err_wrap(err, r, "route to \"%s\" by \"%s\" on %s", one->dest,
					 one->gateway, one->device);
		}
	}
	return r < 0 ? r : list_routes(call, &nl, response_, err);
}

static Types__Route *route_new(struct ttrpc_call *call, const struct route *route,
			       const char *device)
{
	Types__Route *message = ttrpc_call_alloc(call, sizeof(*message));
	char text[IP_TEXT_MAX];

	types__route__init(message);
	ip_format_prefix(&route->dest, text);
	message->dest = ttrpc_call_strdup(call, text);
	ip_format(&route->gateway, text);
	message->gateway = ttrpc_call_strdup(call, text);
	ip_format(&route->source, text);
	message->source = ttrpc_call_strdup(call, text);
	message->device = ttrpc_call_strdup(call, device);
	message->scope = route->scope;
	message->flags = route->flags & RTNH_F_ONLINK;
	message->mtu = route->mtu;
	message->family = route->family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	return message;
}

static void fill_routes(struct ttrpc_call *call, struct nl *nl, const struct route *routes,
			size_t n, Grpc__Routes *response)
{
	response->routes = ttrpc_call_alloc(call, (n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		struct link link;

		if (link_get_index(nl, routes[i].index, &link) == 0)
			response->routes[response->n_routes++] = route_new(call, &routes[i],
									   link.name);
	}
}

RPC(list_routes)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	(void)request_;
	r = open_netlink(&nl, err);
	return r < 0 ? r : list_routes(call, &nl, response_, err);
}

/* --- neighbours --- */

static int add_neighbour(struct nl *nl, const Types__ARPNeighbor *wanted, struct err *err)
{
	struct neigh neigh = {.state = (uint16_t)wanted->state, .flags = (uint8_t)wanted->flags};
	struct link link;
	int r;

	if (!wanted->toipaddress || ip_parse(wanted->toipaddress->address, &neigh.ip) < 0)
		return err_setx(err, -EINVAL, "neighbour on %s: not an address", wanted->device);
	if (!str_empty(wanted->lladdr)) {
		if (mac_parse(wanted->lladdr, neigh.mac) < 0)
			return err_setx(err, -EINVAL, "neighbour %s: \"%s\" is no hardware address",
					wanted->toipaddress->address, wanted->lladdr);
		neigh.has_mac = true;
	}
	if (neigh.state == NUD_NONE)
		neigh.state = NUD_PERMANENT;
	r = find_link(nl, wanted->device, &link, err);
	if (r < 0)
		return err_wrap(err, r, "neighbour %s", wanted->toipaddress->address);
	neigh.index = link.index;
	r = neigh_add(nl, &neigh);
	return r < 0 ? err_set(err, r, "neighbour %s", wanted->toipaddress->address) : 0;
}

RPC(add_arp_neighbors)
{
	const Grpc__AddARPNeighborsRequest *request = request_;
	const Grpc__ARPNeighbors *wanted = request->neighbors;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	(void)call;
	(void)response_;
	if (!wanted)
		return 0;
	if (wanted->n_arpneighbors > NEIGHBOURS_MAX)
		return err_setx(err, -E2BIG, "%zu neighbours, at most %u", wanted->n_arpneighbors,
				NEIGHBOURS_MAX);
	r = open_netlink(&nl, err);
	for (size_t i = 0; i < wanted->n_arpneighbors && r == 0; i++)
		r = add_neighbour(&nl, wanted->arpneighbors[i], err);
	return r;
}
