/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/neigh.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/alloc.h"

int neigh_parse(const struct nlmsghdr *reply, struct neigh *ret)
{
	struct neigh neigh = {0};
	const struct ndmsg *info;
	struct nl_attr attr;
	struct nl_iter it;
	int r;

	if (reply->nlmsg_type != RTM_NEWNEIGH)
		return -EBADMSG;
	r = nl_iter_init(&it, reply, sizeof(*info), (const void **)&info);
	if (r < 0)
		return r;
	neigh.index = info->ndm_ifindex;
	neigh.state = info->ndm_state;
	neigh.flags = info->ndm_flags;
	while (r == 0 && nl_iter_next(&it, &attr)) {
		if (attr.type == NDA_DST &&
		    (info->ndm_family == AF_INET || info->ndm_family == AF_INET6)) {
			r = ip_from_bytes(info->ndm_family, attr.data, attr.len, &neigh.ip);
		} else if (attr.type == NDA_LLADDR && attr.len == MAC_LENGTH) {
			neigh.has_mac = true;
			memcpy(neigh.mac, attr.data, MAC_LENGTH);
		}
	}
	if (r < 0)
		return r;
	*ret = neigh;
	return 0;
}

struct collection {
	struct neigh *neighs;
	size_t n;
	int index;
};

static int collect(const struct nlmsghdr *reply, void *arg)
{
	struct collection *all = arg;
	struct neigh neigh;
	int r;

	r = neigh_parse(reply, &neigh);
	if (r < 0)
		return r;
	if (!neigh.ip.family || (all->index && neigh.index != all->index))
		return 0;
	if (all->n == NEIGHS_MAX)
		return -E2BIG;
	all->neighs = xreallocarray(all->neighs, all->n + 1, sizeof(neigh));
	all->neighs[all->n++] = neigh;
	return 0;
}

int neigh_list(struct nl *nl, int index, struct neigh **ret, size_t *ret_n)
{
	struct ndmsg info = {.ndm_family = AF_UNSPEC};
	struct collection all = {.index = index};
	struct nl_msg msg;
	int r, tries = 5;

	do {
		all.n = 0;
		nl_msg_init(&msg, RTM_GETNEIGH, NLM_F_DUMP, &info, sizeof(info));
		r = nl_request(nl, &msg, collect, &all);
	} while (r == -EAGAIN && --tries > 0);
	if (r < 0) {
		free(all.neighs);
		return r;
	}
	*ret = all.neighs;
	*ret_n = all.n;
	return 0;
}

int neigh_add(struct nl *nl, const struct neigh *neigh)
{
	struct ndmsg info = {
		.ndm_family = neigh->ip.family,
		.ndm_ifindex = neigh->index,
		.ndm_state = neigh->state,
		.ndm_flags = neigh->flags,
	};
	struct nl_msg msg;

	if (!ip_size(&neigh->ip) || neigh->index <= 0)
		return -EINVAL;
	nl_msg_init(&msg, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof(info));
	nl_put(&msg, NDA_DST, neigh->ip.bytes, ip_size(&neigh->ip));
	if (neigh->has_mac)
		nl_put(&msg, NDA_LLADDR, neigh->mac, MAC_LENGTH);
	return nl_ack(nl, &msg);
}
