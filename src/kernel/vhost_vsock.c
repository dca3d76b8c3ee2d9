/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/vhost_vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

int vhost_vsock_open(void)
{
	int fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int vhost_vsock_set_cid(int fd, uint32_t cid)
{
	uint64_t value = cid;

	return ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &value) < 0 ? -errno : 0;
}
