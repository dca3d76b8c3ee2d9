/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/test.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/netlink/neigh.h"
#include "wire/netlink/nl.h"
#include "wire/netlink/route.h"
#include "wire/netlink/uevent.h"

static const struct nlmsghdr *finish(struct nl_msg *msg)
{
	struct nlmsghdr *header = (struct nlmsghdr *)(void *)msg->data;

	assert_false(msg->overflow);
	header->nlmsg_len = (uint32_t)msg->len;
	header->nlmsg_seq = 7;
	return header;
}

static void put_link(struct nl_msg *msg, int index, const char *name)
{
	const struct ifinfomsg info = {.ifi_index = index, .ifi_flags = IFF_UP};

	nl_msg_init(msg, RTM_NEWLINK, 0, &info, sizeof(info));
	nl_put_str(msg, IFLA_IFNAME, name);
}

static void a_link_is_read(void **state)
{
	const uint8_t mac[MAC_LENGTH] = {2, 0, 0, 0, 0, 9};
	struct nl_msg msg;
	struct link link;
	size_t nest;

	(void)state;
	put_link(&msg, 3, "eth0");
	nl_put(&msg, IFLA_ADDRESS, mac, sizeof(mac));
	nl_put_u32(&msg, IFLA_MTU, 1450);
	nest = nl_nest(&msg, IFLA_LINKINFO | NLA_F_NESTED);
	nl_put_str(&msg, IFLA_INFO_KIND, "veth");
	nl_nest_end(&msg, nest);
	assert_int_equal(link_parse(finish(&msg), &link), 0);
	assert_int_equal(link.index, 3);
	assert_string_equal(link.name, "eth0");
	assert_string_equal(link.kind, "veth");
	assert_int_equal(link.mtu, 1450);
	assert_true(link.has_mac);
	assert_memory_equal(link.mac, mac, sizeof(mac));
}

static void bad_links_are_refused(void **state)
{
	struct nl_msg msg;
	struct link link;
	struct nlmsghdr *header = (struct nlmsghdr *)(void *)msg.data;

	(void)state;
	put_link(&msg, 3, "a-name-that-is-too-long");
	assert_int_equal(link_parse(finish(&msg), &link), -EBADMSG);
	put_link(&msg, 0, "eth0");
	assert_int_equal(link_parse(finish(&msg), &link), -EBADMSG);
	put_link(&msg, 3, "eth0");
	finish(&msg);
	header->nlmsg_len = NLMSG_HDRLEN + 4;
	assert_int_equal(link_parse(header, &link), -EBADMSG);
	put_link(&msg, 3, "eth0");
	finish(&msg);
	header->nlmsg_type = RTM_NEWADDR;
	assert_int_equal(link_parse(header, &link), -EBADMSG);
}

static void an_attribute_may_not_pass_the_end(void **state)
{
	struct nl_msg msg;
	struct nlattr *attr;
	struct link link;

	(void)state;
	put_link(&msg, 3, "eth0");
	attr = (struct nlattr *)(void *)(msg.data + NLMSG_HDRLEN + sizeof(struct ifinfomsg));
	attr->nla_len = 200;
	assert_int_equal(link_parse(finish(&msg), &link), -EBADMSG);
	attr->nla_len = 1;
	assert_int_equal(link_parse(finish(&msg), &link), -EBADMSG);
}

static void addresses_routes_and_neighbours_check_sizes(void **state)
{
	const struct ifaddrmsg info = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = 2};
	const struct ifaddrmsg wide = {.ifa_family = AF_INET, .ifa_prefixlen = 64, .ifa_index = 2};
	const struct rtmsg route_info = {.rtm_family = AF_INET6, .rtm_dst_len = 129};
	const struct ndmsg neigh_info = {.ndm_family = AF_INET, .ndm_ifindex = 2};
	struct nl_msg msg;
	struct addr addr;
	struct route route;
	struct neigh neigh;

	(void)state;
	nl_msg_init(&msg, RTM_NEWADDR, 0, &info, sizeof(info));
	nl_put(&msg, IFA_LOCAL, "\x0a\0\0\x01", 4);
	assert_int_equal(addr_parse(finish(&msg), &addr), 0);
	assert_int_equal(addr.ip.prefix, 24);
	nl_msg_init(&msg, RTM_NEWADDR, 0, &wide, sizeof(wide));
	nl_put(&msg, IFA_LOCAL, "\x0a\0\0\x01", 4);
	assert_int_equal(addr_parse(finish(&msg), &addr), -EBADMSG);
	nl_msg_init(&msg, RTM_NEWADDR, 0, &info, sizeof(info));
	nl_put(&msg, IFA_LOCAL, "\x0a\0", 2);
	assert_int_equal(addr_parse(finish(&msg), &addr), -EBADMSG);
	nl_msg_init(&msg, RTM_NEWROUTE, 0, &route_info, sizeof(route_info));
	nl_put(&msg, RTA_DST, "\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	assert_int_equal(route_parse(finish(&msg), &route), -EBADMSG);
	nl_msg_init(&msg, RTM_NEWNEIGH, 0, &neigh_info, sizeof(neigh_info));
	nl_put(&msg, NDA_DST, "\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	assert_int_equal(neigh_parse(finish(&msg), &neigh), -EBADMSG);
}

static int count(const struct nlmsghdr *reply, void *arg)
{
	(void)reply;
	(*(int *)arg)++;
	return 0;
}

static void a_datagram_is_walked(void **state)
{
	struct nl_msg msg;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} ack = {.header = {.nlmsg_len = sizeof(ack), .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = 7}};
	uint8_t wire[4096];
	size_t n;
	int seen = 0;

	(void)state;
	put_link(&msg, 3, "eth0");
	finish(&msg);
	n = msg.len;
	memcpy(wire, msg.data, n);
	assert_int_equal(nl_parse(wire, n, 7, count, &seen), 1);
	assert_int_equal(seen, 1);
	assert_int_equal(nl_parse(wire, n, 8, count, &seen), 1);
	assert_int_equal(seen, 1);
	memcpy(wire + n, &ack, sizeof(ack));
	assert_int_equal(nl_parse(wire, n + sizeof(ack), 7, count, &seen), 0);
	assert_int_equal(seen, 2);
	ack.error.error = -EEXIST;
	memcpy(wire + n, &ack, sizeof(ack));
	assert_int_equal(nl_parse(wire, n + sizeof(ack), 7, count, &seen), -EEXIST);
	ack.error.error = 5;
	memcpy(wire, &ack, sizeof(ack));
	assert_int_equal(nl_parse(wire, sizeof(ack), 7, count, &seen), -EBADMSG);
	ack.header.nlmsg_len = 8;
	memcpy(wire, &ack, sizeof(ack));
	assert_int_equal(nl_parse(wire, sizeof(ack), 7, count, &seen), -EBADMSG);
	ack.header.nlmsg_len = sizeof(ack) + 1;
	memcpy(wire, &ack, sizeof(ack));
	assert_int_equal(nl_parse(wire, sizeof(ack), 7, count, &seen), -EBADMSG);
}

static void a_request_cannot_overflow(void **state)
{
	const struct ifinfomsg info = {0};
	struct nl nl = NL_CLOSED;
	struct nl_msg msg;
	char big[NL_REQUEST_MAX];

	(void)state;
	memset(big, 'x', sizeof(big));
	nl_msg_init(&msg, RTM_NEWLINK, 0, &info, sizeof(info));
	nl_put(&msg, 1, big, sizeof(big));
	nl_put_u32(&msg, 2, 1);
	nl_nest_end(&msg, nl_nest(&msg, 3));
	assert_true(msg.overflow);
	assert_true(msg.len <= sizeof(msg.data));
	assert_int_equal(nl_ack(&nl, &msg), -EMSGSIZE);
}

static void addresses_as_text(void **state)
{
	static const char *const bad[] = {"",          "/24",         "10.0.0.1/33",
					  "10.0.0",    "::1/129",     "fe80::g",
					  "10.0.0.1/", "10.0.0.1/-1", "1.2.3.4 "};
	char text[IP_TEXT_MAX];
	struct ip ip, other;

	(void)state;
	assert_int_equal(ip_parse("10.1.2.3/24", &ip), 0);
	ip_format_prefix(&ip, text);
	assert_string_equal(text, "10.1.2.3/24");
	assert_int_equal(ip_parse("fe80::1", &ip), 0);
	assert_int_equal(ip.prefix, 128);
	assert_true(ip_is_link_local(&ip));
	assert_int_equal(ip_parse("fe80::1/64", &other), 0);
	assert_false(ip_equal(&ip, &other));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ip_parse(bad[i], &ip), -EINVAL);
}

static void hardware_addresses_as_text(void **state)
{
	static const char *const bad[] = {"", "02:00:00:00:00", "02:00:00:00:00:0g",
					  "02-00-00-00-00-01", "02:00:00:00:00:011"};
	uint8_t mac[MAC_LENGTH];
	char text[MAC_TEXT];

	(void)state;
	assert_int_equal(mac_parse("02:CA:fe:00:00:01", mac), 0);
	mac_format(mac, text);
	assert_string_equal(text, "02:ca:fe:00:00:01");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(mac_parse(bad[i], mac), -EINVAL);
}

static void events_are_read(void **state)
{
	static const char add[] = "add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0"
				  "SUBSYSTEM=block\0DEVNAME=vda\0SEQNUM=1";
	static const char udev[] = "libudev\0ACTION=add\0DEVPATH=/x";
	static const char bare[] = "add@/devices/x";
	char buf[UEVENT_MAX];
	struct uevent event;

	(void)state;
	memcpy(buf, add, sizeof(add));
	assert_int_equal(uevent_parse(buf, sizeof(add), &event), 0);
	assert_string_equal(event.action, "add");
	assert_string_equal(event.devname, "vda");
	assert_null(event.interface);
	memcpy(buf, udev, sizeof(udev));
	assert_int_equal(uevent_parse(buf, sizeof(udev), &event), -EBADMSG);
	memcpy(buf, bare, sizeof(bare));
	assert_int_equal(uevent_parse(buf, sizeof(bare), &event), -EBADMSG);
	assert_int_equal(uevent_parse(buf, 0, &event), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_is_read),
		cmocka_unit_test(bad_links_are_refused),
		cmocka_unit_test(an_attribute_may_not_pass_the_end),
		cmocka_unit_test(addresses_routes_and_neighbours_check_sizes),
		cmocka_unit_test(a_datagram_is_walked),
		cmocka_unit_test(a_request_cannot_overflow),
		cmocka_unit_test(addresses_as_text),
		cmocka_unit_test(hardware_addresses_as_text),
		cmocka_unit_test(events_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
