/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A pod's network: each Ethernet interface that CNI has put into the pod's network namespace is
 * joined with a tap device by tc ingress redirection, and what the host had configured on it
 * (addresses, routes, permanent neighbours) is given to the guest.
 */

#include "agent_client/client.h"
#include "base/err.h"
#include "base/fd.h"
#include "hypervisor/hypervisor.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/netlink/neigh.h"
#include "wire/netlink/route.h"

#define NETWORK_ENDPOINTS_MAX FD_PASS_MAX /* taps come in one message */
#define NETWORK_ADDRS_MAX     128
#define NETWORK_ROUTES_MAX    512
#define NETWORK_NEIGHS_MAX    512

struct network_endpoint {
	char name[IFNAMSIZ];
	char mac[MAC_TEXT];
	char kind[LINK_KIND_MAX];
	int index;
	uint32_t mtu;
	int tap_fd; /* -1: not joined yet, or handed to the VM */
	struct vm_device_address address;
};

struct network {
	struct network_endpoint endpoints[NETWORK_ENDPOINTS_MAX];
	size_t n_endpoints;
	struct addr addrs[NETWORK_ADDRS_MAX];
	size_t n_addrs;
	struct route routes[NETWORK_ROUTES_MAX];
	size_t n_routes;
	struct neigh neighs[NETWORK_NEIGHS_MAX];
	size_t n_neighs;
};

/*
 * network_plan: take the snapshot of the namespace at path `netns`; nothing is changed. A namespace
 * without interfaces (or with lo alone) gives an empty network. The host's own namespace is
 * refused.
 */
int network_plan(struct network *network, const char *netns, uint64_t deadline, struct err *err);
/*
 * network_join: make the taps of a plan and join them. What it has done before it failed is undone
 * by network_close() with the names of the plan, which are to be on disk by now.
 */
int network_join(struct network *network, const char *netns, uint64_t deadline, struct err *err);
/* network_close: close the taps and undo the joins in `netns`, of the devices in `names`; what is
 * gone already is fine. */
void network_close(struct network *network, const char *netns, const struct strv *names);
/* network_attach: give the VM a network card for each endpoint; consumes the taps. */
int network_attach(struct network *network, struct vm *vm, bool vhost, struct err *err);
/* network_tell_guest: let the agent configure what it sees. */
int network_tell_guest(const struct network *network, struct agent_client *agent, uint64_t deadline,
		       struct err *err);
/* network_refuse_host: -ENOSYS in words that help. */
int network_refuse_host(struct err *err);
/* network_is_host: is `netns` the namespace of this process? */
bool network_is_host(const char *netns);
