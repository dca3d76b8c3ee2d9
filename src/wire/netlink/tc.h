/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Traffic redirection between two interfaces: an ingress qdisc with one filter that matches
 * everything (u32) and sends it out of the other interface (mirred egress redirect). This is how a
 * pod's veth and its VM's tap are joined (tc-u32(8), tc-mirred(8)).
 */

#include "wire/netlink/nl.h"

/* tc_ingress_add: the ingress qdisc of interface `index`; -EEXIST when there is one. */
int tc_ingress_add(struct nl *nl, int index);
/* tc_ingress_remove: and with it all its filters; -EINVAL or -ENOENT when there is none. */
int tc_ingress_remove(struct nl *nl, int index);
/*
 * tc_redirect_add: send all that arrives on `from` out of `to`. Needs the ingress qdisc; call it
 * once, the kernel would add a second filter.
 */
int tc_redirect_add(struct nl *nl, int from, int to);
/* tc_mirror: both directions between a and b with fresh qdiscs. On error nothing of it is left. */
int tc_mirror(struct nl *nl, int a, int b);
