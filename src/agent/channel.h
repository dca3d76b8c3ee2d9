/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How the host reaches the agent: a virtio-serial port, a vsock, or (as an ordinary process) a UNIX
 * socket. Addresses: "unix:///path", "vsock://CID:PORT" (CID -1 or "any": every one), "serial:PATH"
 * (a terminal or virtio port), "port:NAME" (a virtio port by its name).
 */

#include "agent/agent.h"

#define CHANNEL_AGENT_PORT   "org.kata-containers.agent.0"
#define CHANNEL_LOG_PORT     "org.kata-containers.log.0"
#define CHANNEL_CONSOLE_PORT "org.kata-containers.console.0"
#define CHANNEL_AGENT_VPORT  1024U

enum channel_kind { CHANNEL_LISTEN, CHANNEL_SERIAL };

/* channel_find_port: the /dev path of the virtio port `name`; -ENOENT when it is not there (yet).
 */
int channel_find_port(const char *name, char **ret);
/*
 * channel_open: a listening socket (CHANNEL_LISTEN) or an open serial line (CHANNEL_SERIAL) for
 * `address`, non-blocking. Waits (in a coroutine, until the monotonic deadline) for a port, or the
 * driver of a vsock, to appear.
 */
int channel_open(struct agent *agent, const char *address, uint64_t deadline,
		 enum channel_kind *ret_kind, int *ret_fd, struct err *err);
/* channel_default: the address by command line and devices (a port is preferred to a vsock); the
 * caller frees. Waits as long as it takes. */
char *channel_default(struct agent *agent);
/* channel_vsock_listen: a listening vsock on every CID; the fd or -errno. */
int channel_vsock_listen(unsigned int cid, unsigned int port);
/* channel_from_host: is the peer of this connection outside of the guest? By vsock a container
 * could reach the agent too, where the guest's kernel has a loopback for it. */
bool channel_from_host(int fd);
