/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is dialled on the loopback of the pod's network namespace, which on the host is empty, is
 * carried to the guest's. So containerd forwards ports (kubectl port-forward), and whoever enters
 * the namespace with nsenter finds a pod's servers where they would be without a VM.
 */

#include "agent_client/client.h"
#include "base/err.h"
#include "loop/loop.h"

#define PORT_FORWARD_MAX     128U /* connections at once; one more is reset */
#define PORT_FORWARD_FEATURE "kata-c.loopback"

struct port_forward;

/* port_forward_open: take the loopback of the namespace at path `netns`. From here on connections
 * are accepted by the kernel, and wait. */
int port_forward_open(const char *netns, uint64_t deadline, struct port_forward **ret,
		      struct err *err);
/* port_forward_new: the same of a listening socket and of what is closed with it (-1: nothing). */
struct port_forward *port_forward_new(int listen_fd, int link_fd);
/* port_forward_start: carry them to the guest of `agent`, which has the feature and outlives this.
 */
int port_forward_start(struct port_forward *pf, struct loop *loop, struct agent_client *agent,
		       struct err *err);
/* port_forward_free: reset all connections; what is in a call ends with the agent. NULL is fine. */
void port_forward_free(struct port_forward *pf);
