/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/alloc.h"
#include "runtime/network.h"

/* The snapshot in the words of the agent's protocol. Text lives in arrays beside the messages. */

#define FAMILY(ip) ((ip)->family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4)

static const char *device_name(const struct network *network, int index)
{
	for (size_t i = 0; i < network->n_endpoints; i++)
		if (network->endpoints[i].index == index)
			return network->endpoints[i].name;
	return "";
}

static int tell_interface(const struct network *network, const struct network_endpoint *e,
			  struct agent_client *agent, uint64_t deadline, struct err *err)
{
	Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface interface = TYPES__INTERFACE__INIT, *answer = NULL;
	_cleanup_(freep) Types__IPAddress *addrs = xcalloc(network->n_addrs + 1, sizeof(*addrs));
	_cleanup_(freep) Types__IPAddress **list = xcalloc(network->n_addrs + 1, sizeof(*list));
	_cleanup_(freep) char(*texts)[IP_TEXT_MAX + 4] = xcalloc(network->n_addrs + 1,
								 sizeof(*texts));
	size_t n = 0;
	int r;

	for (size_t i = 0; i < network->n_addrs; i++) {
		const struct addr *a = &network->addrs[i];

		if (a->index != e->index)
			continue;
		types__ipaddress__init(&addrs[n]);
		ip_format(&a->ip, texts[n]);
		/* The mask is a short number, put behind the address's terminator. */
		addrs[n].address = texts[n];
		addrs[n].mask = texts[n] + IP_TEXT_MAX;
		snprintf(addrs[n].mask, 4, "%u", a->ip.prefix);
		addrs[n].family = FAMILY(&a->ip);
		list[n] = &addrs[n];
		n++;
	}
	interface.device = (char *)e->name;
	interface.name = (char *)e->name;
	interface.hwaddr = (char *)e->mac;
	interface.mtu = e->mtu;
	interface.type = (char *)e->kind;
	interface.devicepath = (char *)e->address.pci_path;
	interface.n_ipaddresses = n;
	interface.ipaddresses = list;
	request.interface = &interface;
	r = agent_update_interface(agent, &request, deadline, &answer, err);
	if (r < 0)
		return err_wrap(err, r, "interface %s", e->name);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return 0;
}

struct route_texts {
	char dest[IP_TEXT_MAX], gateway[IP_TEXT_MAX], source[IP_TEXT_MAX];
};

static void fill_route(const struct network *network, const struct route *route,
		       struct route_texts *texts, Types__Route *ret)
{
	types__route__init(ret);
	ip_format_prefix(&route->dest, texts->dest);
	ip_format(&route->gateway, texts->gateway);
	ip_format(&route->source, texts->source);
	ret->dest = texts->dest;
	ret->gateway = texts->gateway;
	ret->source = texts->source;
	ret->device = (char *)device_name(network, route->index);
	ret->scope = route->scope;
	ret->family = route->family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	ret->flags = route->flags;
	ret->mtu = route->mtu;
}

static int tell_routes(const struct network *network, struct agent_client *agent, uint64_t deadline,
		       struct err *err)
{
	Grpc__UpdateRoutesRequest request = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes routes = GRPC__ROUTES__INIT, *answer = NULL;
	size_t n = network->n_routes;
	_cleanup_(freep) struct route_texts *texts = xcalloc(n + 1, sizeof(*texts));
	_cleanup_(freep) Types__Route *items = xcalloc(n + 1, sizeof(*items));
	_cleanup_(freep) Types__Route **list = xcalloc(n + 1, sizeof(*list));
	int r;

	if (!n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		fill_route(network, &network->routes[i], &texts[i], &items[i]);
		list[i] = &items[i];
	}
	routes.n_routes = n;
	routes.routes = list;
	request.routes = &routes;
	r = agent_update_routes(agent, &request, deadline, &answer, err);
	if (r < 0)
		return err_wrap(err, r, "routes");
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return 0;
}

struct neigh_texts {
	char address[IP_TEXT_MAX], mac[MAC_TEXT];
};

static int tell_neighbors(const struct network *network, struct agent_client *agent,
			  uint64_t deadline, struct err *err)
{
	Grpc__AddARPNeighborsRequest request = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors neighbors = GRPC__ARPNEIGHBORS__INIT;
	size_t n = network->n_neighs;
	_cleanup_(freep) struct neigh_texts *texts = xcalloc(n + 1, sizeof(*texts));
	_cleanup_(freep) Types__IPAddress *addresses = xcalloc(n + 1, sizeof(*addresses));
	_cleanup_(freep) Types__ARPNeighbor *items = xcalloc(n + 1, sizeof(*items));
	_cleanup_(freep) Types__ARPNeighbor **list = xcalloc(n + 1, sizeof(*list));
	int r;

	if (!n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		const struct neigh *neigh = &network->neighs[i];

		types__ipaddress__init(&addresses[i]);
		types__arpneighbor__init(&items[i]);
		ip_format(&neigh->ip, texts[i].address);
		mac_format(neigh->mac, texts[i].mac);
		addresses[i].address = texts[i].address;
		addresses[i].family = FAMILY(&neigh->ip);
		items[i].toipaddress = &addresses[i];
		items[i].device = (char *)device_name(network, neigh->index);
		items[i].lladdr = texts[i].mac;
		items[i].state = neigh->state;
		items[i].flags = neigh->flags;
		list[i] = &items[i];
	}
	neighbors.n_arpneighbors = n;
	neighbors.arpneighbors = list;
	request.neighbors = &neighbors;
	r = agent_add_neighbors(agent, &request, deadline, err);
	return r < 0 ? err_wrap(err, r, "neighbours") : 0;
}

int network_tell_guest(const struct network *network, struct agent_client *agent, uint64_t deadline,
		       struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < network->n_endpoints; i++)
		r = tell_interface(network, &network->endpoints[i], agent, deadline, err);
	if (r >= 0)
		r = tell_routes(network, agent, deadline, err);
	if (r >= 0)
		r = tell_neighbors(network, agent, deadline, err);
	return r;
}
