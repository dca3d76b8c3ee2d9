/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

#define VNET_HDR_SIZE 12 /* struct virtio_net_hdr_mrg_rxbuf: what modern virtio-net uses */
#define FRAMES_MAX    4096

int tap_open(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL};
	int header_size = VNET_HDR_SIZE;
	_cleanup_(closep) int fd = -1;

	if (!name[0] || strlen(name) >= sizeof(request.ifr_name))
		return -EINVAL;
	memcpy(request.ifr_name, name, strlen(name));
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ||
	    ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int tap_open_at(const char *name, int netns_fd)
{
	_cleanup_(closep) int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	if (own < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = tap_open(name);
	/* Going on in a namespace of somebody else would be worse than ending. */
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

int tap_drain(int fd)
{
	char frame[2048];

	/* The rest of a longer frame is dropped by the read; a flood cannot hold us for ever. */
	for (int i = 0; i < FRAMES_MAX; i++)
		if (read(fd, frame, sizeof(frame)) < 0)
			return errno == EAGAIN ? 0 : -errno;
	return 0;
}
