/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/link.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>

#include "base/alloc.h"

/* --- reading --- */

static int parse_kind(const struct nl_attr *info, struct link *link)
{
	struct nl_iter it;
	struct nl_attr attr;

	nl_iter_nested(&it, info);
	while (nl_iter_next(&it, &attr))
		if (attr.type == IFLA_INFO_KIND &&
		    !nl_attr_str(&attr, link->kind, sizeof(link->kind)))
			return -EBADMSG;
	return 0;
}

int link_parse(const struct nlmsghdr *reply, struct link *ret)
{
	struct link link = {0};
	const struct ifinfomsg *info;
	struct nl_attr attr;
	struct nl_iter it;
	int r;

	if (reply->nlmsg_type != RTM_NEWLINK)
		return -EBADMSG;
	r = nl_iter_init(&it, reply, sizeof(*info), (const void **)&info);
	if (r < 0)
		return r;
	link.index = info->ifi_index;
	link.flags = info->ifi_flags;
	link.type = info->ifi_type;
	while (nl_iter_next(&it, &attr)) {
		switch (attr.type) {
		case IFLA_IFNAME:
			if (!nl_attr_str(&attr, link.name, sizeof(link.name)))
				return -EBADMSG;
			break;
		case IFLA_ADDRESS:
			link.has_mac = attr.len == MAC_LENGTH;
			if (link.has_mac)
				memcpy(link.mac, attr.data, MAC_LENGTH);
			break;
		case IFLA_MTU:
			link.mtu = nl_attr_u32(&attr);
			break;
		case IFLA_LINK:
			link.peer = (int)nl_attr_u32(&attr);
			break;
		case IFLA_LINKINFO:
			r = parse_kind(&attr, &link);
			if (r < 0)
				return r;
			break;
		case IFLA_STATS64:
			memcpy(&link.stats, attr.data, MIN(attr.len, sizeof(link.stats)));
			break;
		default:
			break;
		}
	}
	if (link.index <= 0 || !link.name[0])
		return -EBADMSG;
	*ret = link;
	return 0;
}

struct collection {
	struct link *links;
	size_t n;
};

static int collect(const struct nlmsghdr *reply, void *arg)
{
	struct collection *all = arg;
	struct link link;
	int r;

	r = link_parse(reply, &link);
	if (r < 0)
		return r;
	if (all->n == LINKS_MAX)
		return -E2BIG;
	all->links = xreallocarray(all->links, all->n + 1, sizeof(link));
	all->links[all->n++] = link;
	return 0;
}

int link_list(struct nl *nl, struct link **ret, size_t *ret_n)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct collection all = {0};
	struct nl_msg msg;
	int r, tries = 5;

	do {
		all.n = 0;
		nl_msg_init(&msg, RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
		r = nl_request(nl, &msg, collect, &all);
	} while (r == -EAGAIN && --tries > 0);
	if (r < 0) {
		free(all.links);
		return r;
	}
	*ret = all.links;
	*ret_n = all.n;
	return 0;
}

static int take_one(const struct nlmsghdr *reply, void *arg)
{
	return link_parse(reply, arg);
}

static int get(struct nl *nl, struct nl_msg *msg, struct link *ret)
{
	struct link link = {0};
	int r = nl_request(nl, msg, take_one, &link);

	if (r < 0)
		return r;
	if (link.index == 0)
		return -ENODEV;
	*ret = link;
	return 0;
}

int link_get(struct nl *nl, const char *name, struct link *ret)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct nl_msg msg;

	if (strlen(name) >= IFNAMSIZ)
		return -ENODEV;
	nl_msg_init(&msg, RTM_GETLINK, 0, &info, sizeof(info));
	nl_put_str(&msg, IFLA_IFNAME, name);
	return get(nl, &msg, ret);
}

int link_get_index(struct nl *nl, int index, struct link *ret)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct nl_msg msg;

	nl_msg_init(&msg, RTM_GETLINK, 0, &info, sizeof(info));
	return get(nl, &msg, ret);
}

int link_find_mac(struct nl *nl, const uint8_t mac[MAC_LENGTH], struct link *ret)
{
	_cleanup_(freep) struct link *links = NULL;
	size_t n;
	int r;

	r = link_list(nl, &links, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (links[i].has_mac && memcmp(links[i].mac, mac, MAC_LENGTH) == 0) {
			*ret = links[i];
			return 0;
		}
	}
	return -ENODEV;
}

/* --- changing --- */

static void change_init(struct nl_msg *msg, int index, uint32_t flags, uint32_t mask)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC,
				 .ifi_index = index,
				 .ifi_flags = flags,
				 .ifi_change = mask};

	nl_msg_init(msg, RTM_NEWLINK, 0, &info, sizeof(info));
}

int link_set_up(struct nl *nl, int index, bool up)
{
	struct nl_msg msg;

	change_init(&msg, index, up ? IFF_UP : 0, IFF_UP);
	return nl_ack(nl, &msg);
}

int link_set_arp(struct nl *nl, int index, bool arp)
{
	struct nl_msg msg;

	change_init(&msg, index, arp ? 0 : IFF_NOARP, IFF_NOARP);
	return nl_ack(nl, &msg);
}

int link_set_name(struct nl *nl, int index, const char *name)
{
	struct nl_msg msg;

	if (!name[0] || strlen(name) >= IFNAMSIZ)
		return -EINVAL;
	change_init(&msg, index, 0, 0);
	nl_put_str(&msg, IFLA_IFNAME, name);
	return nl_ack(nl, &msg);
}

int link_set_mtu(struct nl *nl, int index, uint32_t mtu)
{
	struct nl_msg msg;

	change_init(&msg, index, 0, 0);
	nl_put_u32(&msg, IFLA_MTU, mtu);
	return nl_ack(nl, &msg);
}

int link_set_mac(struct nl *nl, int index, const uint8_t mac[MAC_LENGTH])
{
	struct nl_msg msg;

	change_init(&msg, index, 0, 0);
	nl_put(&msg, IFLA_ADDRESS, mac, MAC_LENGTH);
	return nl_ack(nl, &msg);
}

int link_set_no_addrgen(struct nl *nl, int index)
{
	struct nl_msg msg;
	size_t spec, family;

	change_init(&msg, index, 0, 0);
	spec = nl_nest(&msg, IFLA_AF_SPEC);
	family = nl_nest(&msg, AF_INET6);
	nl_put_u8(&msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nl_nest_end(&msg, family);
	nl_nest_end(&msg, spec);
	return nl_ack(nl, &msg);
}

int link_delete(struct nl *nl, int index)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct nl_msg msg;

	nl_msg_init(&msg, RTM_DELLINK, 0, &info, sizeof(info));
	return nl_ack(nl, &msg);
}

static int add_init(struct nl_msg *msg, const char *name)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};

	if (!name[0] || strlen(name) >= IFNAMSIZ)
		return -EINVAL;
	nl_msg_init(msg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
	nl_put_str(msg, IFLA_IFNAME, name);
	return 0;
}

int link_add(struct nl *nl, const char *name, const char *kind)
{
	struct nl_msg msg;
	size_t info;
	int r;

	r = add_init(&msg, name);
	if (r < 0)
		return r;
	info = nl_nest(&msg, IFLA_LINKINFO);
	nl_put_str(&msg, IFLA_INFO_KIND, kind);
	nl_nest_end(&msg, info);
	return nl_ack(nl, &msg);
}

int link_add_veth(struct nl *nl, const char *name, const char *peer)
{
	const struct ifinfomsg none = {.ifi_family = AF_UNSPEC};
	struct nl_msg msg;
	size_t info, data, other;
	void *body;
	int r;

	if (!peer[0] || strlen(peer) >= IFNAMSIZ)
		return -EINVAL;
	r = add_init(&msg, name);
	if (r < 0)
		return r;
	info = nl_nest(&msg, IFLA_LINKINFO);
	nl_put_str(&msg, IFLA_INFO_KIND, "veth");
	data = nl_nest(&msg, IFLA_INFO_DATA);
	/* The peer's attribute holds a message of its own: header, then attributes. */
	other = nl_nest(&msg, VETH_INFO_PEER);
	body = msg.data + msg.len;
	memcpy(body, &none, sizeof(none));
	msg.len += NLMSG_ALIGN(sizeof(none));
	nl_put_str(&msg, IFLA_IFNAME, peer);
	nl_nest_end(&msg, other);
	nl_nest_end(&msg, data);
	nl_nest_end(&msg, info);
	return nl_ack(nl, &msg);
}
