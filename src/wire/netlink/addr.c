/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/addr.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/alloc.h"

int addr_parse(const struct nlmsghdr *reply, struct addr *ret)
{
	struct addr addr = {0};
	struct ip local = {0}, peer = {0};
	const struct ifaddrmsg *info;
	struct nl_attr attr;
	struct nl_iter it;
	int r;

	if (reply->nlmsg_type != RTM_NEWADDR)
		return -EBADMSG;
	r = nl_iter_init(&it, reply, sizeof(*info), (const void **)&info);
	if (r < 0)
		return r;
	addr.index = (int)info->ifa_index;
	addr.scope = info->ifa_scope;
	addr.flags = info->ifa_flags;
	while (r == 0 && nl_iter_next(&it, &attr)) {
		if (attr.type == IFA_LOCAL)
			r = ip_from_bytes(info->ifa_family, attr.data, attr.len, &local);
		else if (attr.type == IFA_ADDRESS)
			r = ip_from_bytes(info->ifa_family, attr.data, attr.len, &peer);
		else if (attr.type == IFA_FLAGS)
			addr.flags = nl_attr_u32(&attr);
	}
	if (r < 0)
		return r;
	/* On a point-to-point link IFA_ADDRESS is the other end; IPv6 gives no IFA_LOCAL. */
	addr.ip = local.family ? local : peer;
	if (!addr.ip.family || info->ifa_prefixlen > addr.ip.prefix)
		return -EBADMSG;
	addr.ip.prefix = info->ifa_prefixlen;
	*ret = addr;
	return 0;
}

struct collection {
	struct addr *addrs;
	size_t n;
	int index;
};

static int collect(const struct nlmsghdr *reply, void *arg)
{
	struct collection *all = arg;
	struct addr addr;
	int r;

	r = addr_parse(reply, &addr);
	if (r < 0)
		return r;
	if (all->index && addr.index != all->index)
		return 0;
	if (all->n == ADDRS_MAX)
		return -E2BIG;
	all->addrs = xreallocarray(all->addrs, all->n + 1, sizeof(addr));
	all->addrs[all->n++] = addr;
	return 0;
}

int addr_list(struct nl *nl, int index, struct addr **ret, size_t *ret_n)
{
	struct ifaddrmsg info = {.ifa_family = AF_UNSPEC};
	struct collection all = {.index = index};
	struct nl_msg msg;
	int r, tries = 5;

	do {
		all.n = 0;
		nl_msg_init(&msg, RTM_GETADDR, NLM_F_DUMP, &info, sizeof(info));
		r = nl_request(nl, &msg, collect, &all);
	} while (r == -EAGAIN && --tries > 0);
	if (r < 0) {
		free(all.addrs);
		return r;
	}
	*ret = all.addrs;
	*ret_n = all.n;
	return 0;
}

static void change_init(struct nl_msg *msg, uint16_t type, uint16_t flags, int index,
			const struct ip *ip)
{
	struct ifaddrmsg info = {
		.ifa_family = ip->family,
		.ifa_prefixlen = ip->prefix,
		.ifa_index = (uint32_t)index,
		.ifa_scope = ip_is_link_local(ip) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
	};

	nl_msg_init(msg, type, flags, &info, sizeof(info));
	nl_put(msg, IFA_LOCAL, ip->bytes, ip_size(ip));
	nl_put(msg, IFA_ADDRESS, ip->bytes, ip_size(ip));
}

int addr_add(struct nl *nl, int index, const struct ip *ip)
{
	struct nl_msg msg;

	if (!ip_size(ip))
		return -EINVAL;
	change_init(&msg, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, ip);
	if (ip->family == AF_INET6) {
		nl_put_u32(&msg, IFA_FLAGS, IFA_F_NODAD);
	} else if (ip->prefix < 31) {
		/* The subnet's broadcast address, which the kernel does not work out itself. */
		uint32_t address, host = htonl((uint32_t)(0xffffffffULL >> ip->prefix));

		memcpy(&address, ip->bytes, sizeof(address));
		nl_put_u32(&msg, IFA_BROADCAST, address | host);
	}
	return nl_ack(nl, &msg);
}

int addr_remove(struct nl *nl, int index, const struct ip *ip)
{
	struct nl_msg msg;

	if (!ip_size(ip))
		return -EINVAL;
	change_init(&msg, RTM_DELADDR, 0, index, ip);
	return nl_ack(nl, &msg);
}
