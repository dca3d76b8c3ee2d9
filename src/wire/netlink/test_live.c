/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel itself as the peer, in user and network namespaces of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/test.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/netlink/neigh.h"
#include "wire/netlink/route.h"
#include "wire/netlink/tc.h"

static struct nl nl = NL_CLOSED;

static int set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -1;
	return nl_open(&nl, NETLINK_ROUTE) < 0 ? -1 : link_add_veth(&nl, "left", "right");
}

static int index_of(const char *name)
{
	struct link link;

	assert_int_equal(link_get(&nl, name, &link), 0);
	return link.index;
}

static void links(void **state)
{
	const uint8_t mac[MAC_LENGTH] = {2, 0, 0, 0, 0, 9};
	struct link *all, one;
	size_t n;

	(void)state;
	assert_int_equal(link_get(&nl, "nothing", &one), -ENODEV);
	assert_int_equal(link_find_mac(&nl, mac, &one), -ENODEV);
	assert_int_equal(link_set_mac(&nl, index_of("left"), mac), 0);
	assert_int_equal(link_find_mac(&nl, mac, &one), 0);
	assert_string_equal(one.name, "left");
	assert_string_equal(one.kind, "veth");
	assert_int_equal(one.peer, index_of("right"));
	assert_int_equal(link_set_name(&nl, one.index, "eth0"), 0);
	assert_int_equal(link_set_mtu(&nl, one.index, 1450), 0);
	assert_int_equal(link_set_no_addrgen(&nl, one.index), 0);
	assert_int_equal(link_set_up(&nl, one.index, true), 0);
	assert_int_equal(link_set_up(&nl, index_of("right"), true), 0);
	assert_int_equal(link_get_index(&nl, one.index, &one), 0);
	assert_string_equal(one.name, "eth0");
	assert_int_equal(one.mtu, 1450);
	assert_true(one.flags & IFF_UP);
	assert_int_equal(link_list(&nl, &all, &n), 0);
	assert_true(n >= 3);
	free(all);
}

static void addresses_and_routes(void **state)
{
	struct route route = {.family = AF_INET}, *all;
	struct addr *addrs;
	struct ip ip, v6;
	size_t n;
	int eth0 = index_of("eth0");
	bool found = false;

	(void)state;
	assert_int_equal(ip_parse("10.9.0.2/24", &ip), 0);
	assert_int_equal(ip_parse("fd00::2/64", &v6), 0);
	assert_int_equal(addr_add(&nl, eth0, &ip), 0);
	assert_int_equal(addr_add(&nl, eth0, &ip), 0);
	assert_int_equal(addr_add(&nl, eth0, &v6), 0);
	assert_int_equal(addr_list(&nl, eth0, &addrs, &n), 0);
	assert_int_equal(n, 2);
	assert_true(ip_equal(&addrs[0].ip, &ip));
	assert_true(ip_equal(&addrs[1].ip, &v6));
	free(addrs);
	assert_int_equal(ip_parse("10.9.0.1", &route.gateway), 0);
	route.index = eth0;
	route.mtu = 1400;
	assert_int_equal(route_add(&nl, &route), 0);
	assert_int_equal(route_add(&nl, &route), 0);
	assert_int_equal(route_list(&nl, &all, &n), 0);
	for (size_t i = 0; i < n; i++)
		if (!all[i].dest.family && ip_equal(&all[i].gateway, &route.gateway))
			found = all[i].mtu == 1400;
	assert_true(found);
	free(all);
	assert_int_equal(route_remove(&nl, &route), 0);
	assert_int_equal(route_remove(&nl, &route), -ESRCH);
	assert_int_equal(addr_remove(&nl, eth0, &ip), 0);
	assert_int_equal(addr_remove(&nl, eth0, &ip), -EADDRNOTAVAIL);
	assert_int_equal(addr_add(&nl, eth0, &ip), 0);
}

static void neighbours(void **state)
{
	struct neigh neigh = {.index = index_of("eth0"),
			      .state = NUD_PERMANENT,
			      .has_mac = true,
			      .mac = {2, 0, 0, 0, 0, 1}},
		     *all;
	size_t n;

	(void)state;
	assert_int_equal(ip_parse("10.9.0.1", &neigh.ip), 0);
	assert_int_equal(neigh_add(&nl, &neigh), 0);
	assert_int_equal(neigh_add(&nl, &neigh), 0);
	assert_int_equal(neigh_list(&nl, neigh.index, &all, &n), 0);
	assert_true(n >= 1);
	assert_true(all[0].has_mac);
	free(all);
}

static void traffic_is_redirected(void **state)
{
	int eth0 = index_of("eth0"), right = index_of("right");

	(void)state;
	assert_int_equal(tc_mirror(&nl, eth0, right), 0);
	assert_int_equal(tc_ingress_add(&nl, eth0), -EEXIST);
	assert_int_equal(tc_mirror(&nl, eth0, right), 0);
	assert_int_equal(tc_ingress_remove(&nl, eth0), 0);
	assert_true(tc_ingress_remove(&nl, eth0) < 0);
	assert_int_equal(tc_mirror(&nl, right, 9999), -ENODEV);
	assert_int_equal(tc_ingress_add(&nl, right), 0);
}

static void another_namespace(void **state)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct nl there = NL_CLOSED;
	struct link link;

	(void)state;
	assert_true(own >= 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(nl_open_at(&there, NETLINK_ROUTE, own), 0);
	assert_int_equal(link_get(&there, "eth0", &link), 0);
	nl_close(&there);
	assert_int_equal(nl_open(&there, NETLINK_ROUTE), 0);
	assert_int_equal(link_get(&there, "eth0", &link), -ENODEV);
	nl_close(&there);
	close(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links),
		cmocka_unit_test(addresses_and_routes),
		cmocka_unit_test(neighbours),
		cmocka_unit_test(traffic_is_redirected),
		cmocka_unit_test(another_namespace),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
