/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "kernel/ns.h"
#include "kernel/tap.h"
#include "runtime/blocking.h"
#include "runtime/host_file.h"
#include "wire/netlink/tc.h"

/*
 * How it works: a child process enters the namespace, because a tap belongs to the one it was made
 * in and because rtnetlink may wait for a lock that a busy node holds for long. A first one takes
 * the snapshot, so that what is to be joined is known, and written down, before anything is
 * changed; a second one makes the taps, joins them, and sends their descriptors back. The taps are
 * not persistent: they vanish with their last descriptor; only the qdisc on the pod's side has to
 * be removed, and is, from the plan, however far the second child came.
 */

#define CLOSE_TIMEOUT (2 * USEC_PER_SEC)
#define STEP_MAX      96 /* what the child was at, for the error */

struct job {
	const char *netns;
	const struct strv *names;      /* of close */
	const struct network *network; /* of join: the plan */
};

struct outcome {
	char step[STEP_MAX];
	struct network network;
};

bool network_is_host(const char *netns)
{
	struct stat ours, theirs;

	return stat("/proc/self/ns/net", &ours) == 0 && stat(netns, &theirs) == 0 &&
	       host_file_equal(host_file_of(&ours), host_file_of(&theirs));
}

/* --- in the child --- */

/* 1: join it; 0: not an endpoint; negative: an endpoint that cannot be joined. */
static int judge(const struct link *link)
{
	static const char *const passed_over[] = {"tun", "dummy", "ifb", "bridge", "bond"};

	if (link->type != ARPHRD_ETHER || !link->has_mac)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(passed_over); i++)
		if (streq(link->kind, passed_over[i]))
			return 0;
	return streq(link->kind, "veth") || streq(link->kind, "macvlan") ? 1 : -ENOSYS;
}

static int take_links(struct nl *nl, struct outcome *out)
{
	_cleanup_(freep) struct link *links = NULL;
	size_t n;
	int r;

	r = link_list(nl, &links, &n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct network_endpoint *e = &out->network.endpoints[out->network.n_endpoints];

		r = judge(&links[i]);
		if (r < 0)
			snprintf(out->step, sizeof(out->step), "interface %s of kind \"%s\"",
				 links[i].name, links[i].kind);
		if (r <= 0)
			continue;
		if (out->network.n_endpoints == NETWORK_ENDPOINTS_MAX)
			return -E2BIG;
		*e = (struct network_endpoint){
			.index = links[i].index, .mtu = links[i].mtu, .tap_fd = -1};
		memcpy(e->name, links[i].name, sizeof(e->name));
		memcpy(e->kind, links[i].kind, sizeof(e->kind));
		mac_format(links[i].mac, e->mac);
		out->network.n_endpoints++;
	}
	return r;
}

static bool is_endpoint(const struct network *network, int index)
{
	for (size_t i = 0; i < network->n_endpoints; i++)
		if (network->endpoints[i].index == index)
			return true;
	return false;
}

/* The guest makes link-local addresses itself, of the same hardware address. */
static int take_addrs(struct nl *nl, struct network *network)
{
	_cleanup_(freep) struct addr *addrs = NULL;
	size_t n;
	int r;

	r = addr_list(nl, 0, &addrs, &n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (!is_endpoint(network, addrs[i].index) || ip_is_link_local(&addrs[i].ip))
			continue;
		if (network->n_addrs == NETWORK_ADDRS_MAX)
			return -E2BIG;
		network->addrs[network->n_addrs++] = addrs[i];
	}
	return r;
}

/* Routes of the kernel's own come back with the addresses. */
static int take_routes(struct nl *nl, struct network *network)
{
	_cleanup_(freep) struct route *routes = NULL;
	size_t n;
	int r;

	r = route_list(nl, &routes, &n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (!is_endpoint(network, routes[i].index) || routes[i].protocol == RTPROT_KERNEL)
			continue;
		if (network->n_routes == NETWORK_ROUTES_MAX)
			return -E2BIG;
		network->routes[network->n_routes++] = routes[i];
	}
	return r;
}

static int take_neighs(struct nl *nl, struct network *network)
{
	_cleanup_(freep) struct neigh *neighs = NULL;
	size_t n;
	int r;

	r = neigh_list(nl, 0, &neighs, &n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (!is_endpoint(network, neighs[i].index) || !neighs[i].has_mac ||
		    !(neighs[i].state & NUD_PERMANENT))
			continue;
		if (network->n_neighs == NETWORK_NEIGHS_MAX)
			return -E2BIG;
		network->neighs[network->n_neighs++] = neighs[i];
	}
	return r;
}

/* The host's own IPv6 stack must stay silent on both devices: the guest speaks there. */
static void silence(const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
	fs_write(path, "0");
}

static int join(struct nl *nl, const struct network_endpoint *e, uint8_t i, int *ret_fd, char *step)
{
	char name[IFNAMSIZ];
	struct link tap;
	int r;

	snprintf(name, sizeof(name), "tap%u_kata", i);
	snprintf(step, STEP_MAX, "make a tap for %s", e->name);
	*ret_fd = tap_open(name);
	if (*ret_fd < 0)
		return *ret_fd;
	snprintf(step, STEP_MAX, "set up %s", name);
	r = link_get(nl, name, &tap);
	if (r < 0)
		return r;
	/* Fails where there is no IPv6 at all, which is as well. */
	link_set_no_addrgen(nl, tap.index);
	silence(name);
	silence(e->name);
	r = link_set_mtu(nl, tap.index, e->mtu);
	if (r >= 0)
		r = link_set_up(nl, tap.index, true);
	if (r >= 0)
		r = link_set_up(nl, e->index, true);
	if (r < 0)
		return r;
	snprintf(step, STEP_MAX, "redirect between %s and %s", e->name, name);
	return tc_mirror(nl, e->index, tap.index);
}

static int plan_in_child(void *arg, void *reply)
{
	const struct job *job = arg;
	struct outcome *out = reply;
	struct network *network = &out->network;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	snprintf(out->step, sizeof(out->step), "enter it");
	r = ns_enter(job->netns, CLONE_NEWNET);
	if (r >= 0)
		r = nl_open(&nl, NETLINK_ROUTE);
	if (r < 0)
		return r;
	snprintf(out->step, sizeof(out->step), "list interfaces");
	r = take_links(&nl, out);
	if (r < 0 || network->n_endpoints == 0)
		return r;
	snprintf(out->step, sizeof(out->step), "list addresses and routes");
	r = take_addrs(&nl, network);
	if (r >= 0)
		r = take_routes(&nl, network);
	if (r >= 0)
		r = take_neighs(&nl, network);
	return r;
}

static int join_in_child(void *arg, int *taps, void *reply)
{
	const struct job *job = arg;
	const struct network *network = job->network;
	char *step = reply;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	snprintf(step, STEP_MAX, "enter it");
	r = ns_enter(job->netns, CLONE_NEWNET);
	if (r >= 0)
		r = nl_open(&nl, NETLINK_ROUTE);
	for (size_t i = 0; r >= 0 && i < network->n_endpoints; i++)
		r = join(&nl, &network->endpoints[i], (uint8_t)i, &taps[i], step);
	if (r >= 0)
		snprintf(step, STEP_MAX, "hand over the taps");
	return r;
}

static int close_in_child(void *arg, void *reply)
{
	const struct job *job = arg;
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	int r;

	(void)reply;
	r = ns_enter(job->netns, CLONE_NEWNET);
	if (r >= 0)
		r = nl_open(&nl, NETLINK_ROUTE);
	for (size_t i = 0; r >= 0 && i < job->names->n; i++) {
		struct link link;

		if (link_get(&nl, job->names->v[i], &link) >= 0)
			tc_ingress_remove(&nl, link.index);
	}
	return r;
}

/* --- */

int network_refuse_host(struct err *err)
{
	return err_setx(err, -ENOSYS,
			"the host's network cannot be given to a virtual machine; run the pod with "
			"a network of its own (without hostNetwork or --net-host)");
}

int network_plan(struct network *network, const char *netns, uint64_t deadline, struct err *err)
{
	_cleanup_(freep) struct outcome *out = NULL;
	int r;

	*network = (struct network){0};
	if (str_empty(netns))
		return 0;
	if (network_is_host(netns))
		return network_refuse_host(err);
	out = xnew(struct outcome);
	r = blocking_run(plan_in_child, &(struct job){.netns = netns}, out, sizeof(*out), deadline);
	if (r == -ENOSYS)
		return err_setx(err, r, "network namespace %s: %s is not supported", netns,
				out->step);
	if (r < 0)
		return err_set(err, r, "network namespace %s: %s", netns, out->step);
	*network = out->network;
	return 0;
}

int network_join(struct network *network, const char *netns, uint64_t deadline, struct err *err)
{
	int taps[NETWORK_ENDPOINTS_MAX], r;
	char step[STEP_MAX] = "join it";

	if (network->n_endpoints == 0)
		return 0;
	r = blocking_open(join_in_child, &(struct job){.netns = netns, .network = network}, taps,
			  network->n_endpoints, step, sizeof(step), deadline);
	if (r < 0)
		return err_set(err, r, "network namespace %s: %s", netns, step);
	for (size_t i = 0; i < network->n_endpoints; i++)
		network->endpoints[i].tap_fd = taps[i];
	return 0;
}

void network_close(struct network *network, const char *netns, const struct strv *names)
{
	int r;

	for (size_t i = 0; i < network->n_endpoints; i++)
		network->endpoints[i].tap_fd = fd_close(network->endpoints[i].tap_fd);
	network->n_endpoints = 0;
	if (str_empty(netns) || !names->n)
		return;
	/* Always in a child: this process must not change its namespace. */
	r = blocking_fork(close_in_child, &(struct job){.netns = netns, .names = names},
			  clock_after(CLOSE_TIMEOUT));
	if (r < 0)
		log_debug("network namespace %s: leave it: %s", netns, strerror(-r));
}

int network_attach(struct network *network, struct vm *vm, bool vhost, struct err *err)
{
	for (size_t i = 0; i < network->n_endpoints; i++) {
		struct network_endpoint *e = &network->endpoints[i];
		struct vm_device device = {.type = VM_DEVICE_NET};
		char id[16];
		int r;

		snprintf(id, sizeof(id), "net%u", (uint8_t)i);
		/* Frames of the time before the guest was there. */
		tap_drain(e->tap_fd);
		device.id = id;
		device.net.tap_fd = TAKE_FD(e->tap_fd);
		/* Absent on many hosts: then QEMU moves the packets itself. */
		device.net.vhost_fd = vhost ? open("/dev/vhost-net", O_RDWR | O_CLOEXEC) : -1;
		device.net.mac = e->mac;
		device.net.mtu = e->mtu;
		r = vm_add_device(vm, &device, &e->address, err);
		if (r < 0)
			return err_wrap(err, r, "network card for %s", e->name);
	}
	return 0;
}
