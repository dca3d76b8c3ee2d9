/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/tc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

#include "base/cleanup.h"

#define INGRESS_HANDLE 0xffff0000U

static void qdisc_init(struct nl_msg *msg, uint16_t type, uint16_t flags, int index)
{
	struct tcmsg header = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = index,
		.tcm_handle = INGRESS_HANDLE,
		.tcm_parent = TC_H_INGRESS,
	};

	nl_msg_init(msg, type, flags, &header, sizeof(header));
	nl_put_str(msg, TCA_KIND, "ingress");
}

int tc_ingress_add(struct nl *nl, int index)
{
	struct nl_msg msg;

	qdisc_init(&msg, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index);
	return nl_ack(nl, &msg);
}

int tc_ingress_remove(struct nl *nl, int index)
{
	struct nl_msg msg;

	qdisc_init(&msg, RTM_DELQDISC, 0, index);
	return nl_ack(nl, &msg);
}

int tc_redirect_add(struct nl *nl, int from, int to)
{
	const struct tcmsg header = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = from,
		.tcm_parent = INGRESS_HANDLE,
		.tcm_info = TC_H_MAKE(1U << 16, htons(ETH_P_ALL)),
	};
	const struct tc_mirred mirred = {
		.action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)to};
	const struct tc_u32_sel match = {.flags = TC_U32_TERMINAL, .nkeys = 1};
	/* With one key that compares nothing, which is what tc(8) makes of "match u32 0 0". */
	uint8_t selector[sizeof(match) + sizeof(struct tc_u32_key)] = {0};
	struct nl_msg msg;
	size_t options, actions, first, parameters;

	memcpy(selector, &match, sizeof(match));
	nl_msg_init(&msg, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	nl_put_str(&msg, TCA_KIND, "u32");
	options = nl_nest(&msg, TCA_OPTIONS);
	actions = nl_nest(&msg, TCA_U32_ACT);
	first = nl_nest(&msg, 1);
	nl_put_str(&msg, TCA_ACT_KIND, "mirred");
	parameters = nl_nest(&msg, TCA_ACT_OPTIONS | NLA_F_NESTED);
	nl_put(&msg, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
	nl_nest_end(&msg, parameters);
	nl_nest_end(&msg, first);
	nl_nest_end(&msg, actions);
	nl_put(&msg, TCA_U32_SEL, selector, sizeof(selector));
	nl_nest_end(&msg, options);
	return nl_ack(nl, &msg);
}

int tc_mirror(struct nl *nl, int a, int b)
{
	const int ends[2] = {a, b};
	int r = 0;

	/* A filter is never replaced, only added: what was there before must go first. */
	tc_ingress_remove(nl, a);
	tc_ingress_remove(nl, b);
	for (size_t i = 0; i < ARRAY_SIZE(ends) && r == 0; i++)
		r = tc_ingress_add(nl, ends[i]);
	for (size_t i = 0; i < ARRAY_SIZE(ends) && r == 0; i++)
		r = tc_redirect_add(nl, ends[i], ends[1 - i]);
	if (r < 0) {
		tc_ingress_remove(nl, a);
		tc_ingress_remove(nl, b);
	}
	return r;
}
