/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The floor of a cold boot: an init that mounts nothing, loads what the serial port needs, writes
 * one byte to the first port and waits. `bench.py` boots it with the product's kernel, machine and
 * command line.
 */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	char path[64];
	int fd;

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	for (int i = 0; i < 32; i++) {
		snprintf(path, sizeof(path), "/m/%02d", i);
		fd = open(path, O_RDONLY);
		if (fd >= 0)
			syscall(SYS_finit_module, fd, "", 0);
	}
	while ((fd = open("/dev/vport0p1", O_RDWR)) < 0)
		usleep(1000);
	while (write(fd, "!", 1) != 1)
		usleep(1000);
	for (;;)
		pause();
}
