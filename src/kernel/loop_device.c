/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/loop_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "base/fd.h"

#define TRIES 64 /* somebody else may take the device that was free a moment ago */

static int attach(int control, int file, bool read_only, char ret_path[LOOP_DEVICE_PATH_SIZE])
{
	struct loop_config config = {
		.fd = (unsigned int)file,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR |
				 (read_only ? (unsigned int)LO_FLAGS_READ_ONLY : 0U),
	};
	_cleanup_(closep) int fd = -1;
	int n = ioctl(control, LOOP_CTL_GET_FREE);

	if (n < 0)
		return -errno;
	snprintf(ret_path, LOOP_DEVICE_PATH_SIZE, "/dev/loop%d", n);
	fd = open(ret_path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int loop_device_open(const char *file, bool read_only, char ret_path[LOOP_DEVICE_PATH_SIZE])
{
	_cleanup_(closep) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	_cleanup_(closep) int fd = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	int r = -EBUSY;

	if (control < 0 || fd < 0)
		return -errno;
	for (int i = 0; i < TRIES && r == -EBUSY; i++)
		r = attach(control, fd, read_only, ret_path);
	return r;
}
