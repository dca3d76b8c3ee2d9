/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The host's half of a VM's vsock device (drivers/vhost/vsock.c, linux/vhost.h). */

#include <stdint.h>

/* vhost_vsock_open: a new, unnamed one; the fd or -errno (-ENOENT, -ENODEV: the host has none). */
int vhost_vsock_open(void);
/* vhost_vsock_set_cid: name it. -EADDRINUSE: another VM has that context id. */
int vhost_vsock_set_cid(int fd, uint32_t cid);
