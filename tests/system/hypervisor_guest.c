/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The guest of hypervisor_host.c: an init that loads /m/NN (kernel modules, in order) and obeys
 * lines that come through the first virtio-serial port, with one line of answer each.
 *
 *   ping             pong
 *   pci 02/01        vendor:device and driver at that place, "none" when there is nothing
 *   read FILE        the first line of a file
 *   block            "NAME FIRST-BYTES" of the newest disk
 *   fs TAG           mounts the shared folder and says what its file "hello" holds
 *   net MAC          the name of the interface with that address
 *   cpus             brings all processors online and says how many there are
 *   memory           MiB of memory
 *   off, panic       end of the guest
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int first_line(const char *path, char *out, size_t n)
{
	int fd = open(path, O_RDONLY);
	ssize_t r = fd < 0 ? -1 : read(fd, out, n - 1);

	if (fd >= 0)
		close(fd);
	out[r > 0 ? r : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return r > 0 ? 0 : -1;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t r = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return r > 0 ? 0 : -1;
}

/* "02/01" is device 01 on the bus behind root device 02. */
static void pci(const char *place, char *out, size_t n)
{
	char path[512], vendor[32], device[32], driver[128] = "-";
	unsigned a, b;
	int levels = sscanf(place, "%x/%x", &a, &b);

	if (levels == 1) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/0000:00:%02x.0", a);
	} else {
		char bridge[128];
		DIR *dir;
		struct dirent *e;

		snprintf(bridge, sizeof(bridge), "/sys/bus/pci/devices/0000:00:%02x.0", a);
		path[0] = '\0';
		dir = opendir(bridge);
		while (dir && (e = readdir(dir))) {
			unsigned bus, slot;

			if (sscanf(e->d_name, "0000:%x:%x.0", &bus, &slot) == 2 && slot == b)
				snprintf(path, sizeof(path), "%s/%s", bridge, e->d_name);
		}
		if (dir)
			closedir(dir);
	}
	snprintf(out, n, "none");
	if (*path) {
		char file[600];
		ssize_t r;

		snprintf(file, sizeof(file), "%s/vendor", path);
		if (first_line(file, vendor, sizeof(vendor)) < 0)
			return;
		snprintf(file, sizeof(file), "%s/device", path);
		first_line(file, device, sizeof(device));
		snprintf(file, sizeof(file), "%s/driver", path);
		r = readlink(file, driver, sizeof(driver) - 1);
		if (r > 0)
			driver[r] = '\0';
		snprintf(out, n, "%s:%s %s", vendor, device,
			 strrchr(driver, '/') ? strrchr(driver, '/') + 1 : "-");
	}
}

static void block(char *out, size_t n)
{
	static const char *const names[] = {"vda", "vdb", "sda", "sdb"};

	snprintf(out, n, "none");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[64], data[17];

		snprintf(path, sizeof(path), "/dev/%s", names[i]);
		if (first_line(path, data, sizeof(data)) == 0)
			snprintf(out, n, "%s %s", names[i], data);
	}
}

static void shared_folder(const char *tag, char *out, size_t n)
{
	mkdir("/shared", 0755);
	if (mount(tag, "/shared", "virtiofs", 0, NULL) < 0 ||
	    first_line("/shared/hello", out, n) < 0)
		snprintf(out, n, "error %m");
	umount("/shared");
}

static void net(const char *mac, char *out, size_t n)
{
	DIR *dir = opendir("/sys/class/net");
	struct dirent *e;

	snprintf(out, n, "none");
	while (dir && (e = readdir(dir))) {
		char path[512], address[64];

		snprintf(path, sizeof(path), "/sys/class/net/%s/address", e->d_name);
		if (first_line(path, address, sizeof(address)) == 0 && !strcmp(address, mac))
			snprintf(out, n, "%.32s", e->d_name);
	}
	if (dir)
		closedir(dir);
}

static void cpus(char *out, size_t n)
{
	for (int i = 1; i < 16; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", i);
		put(path, "1");
	}
	snprintf(out, n, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
}

static void memory(char *out, size_t n)
{
	char line[256] = "";

	/* The kernel was told nothing about onlining: do it block by block. */
	for (int i = 0; i < 256; i++) {
		snprintf(line, sizeof(line), "/sys/devices/system/memory/memory%d/state", i);
		put(line, "online");
	}
	first_line("/proc/meminfo", line, sizeof(line));
	snprintf(out, n, "%ld", atol(strpbrk(line, "0123456789")) / 1024);
}

static void obey(char *line, char *out, size_t n)
{
	char *argument = strchr(line, ' ');

	if (argument)
		*argument++ = '\0';
	snprintf(out, n, "what?");
	if (!strcmp(line, "ping"))
		snprintf(out, n, "pong");
	else if (!strcmp(line, "pci"))
		pci(argument, out, n);
	else if (!strcmp(line, "read") && first_line(argument, out, n) < 0)
		snprintf(out, n, "error %m");
	else if (!strcmp(line, "block"))
		block(out, n);
	else if (!strcmp(line, "fs"))
		shared_folder(argument, out, n);
	else if (!strcmp(line, "net"))
		net(argument, out, n);
	else if (!strcmp(line, "cpus"))
		cpus(out, n);
	else if (!strcmp(line, "memory"))
		memory(out, n);
	else if (!strcmp(line, "off"))
		reboot(RB_POWER_OFF);
	else if (!strcmp(line, "panic"))
		put("/proc/sysrq-trigger", "c");
}

int main(void)
{
	char path[64], line[256], out[256];
	size_t n = 0;
	int port;

	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	put("/dev/ttyS0", "guest: loading modules\n");
	for (int i = 0; i < 64; i++) {
		int fd;

		snprintf(path, sizeof(path), "/m/%02d", i);
		fd = open(path, O_RDONLY);
		if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) < 0)
			put("/dev/ttyS0", "guest: a module does not load\n");
		if (fd >= 0)
			close(fd);
	}
	while ((port = open("/dev/vport0p1", O_RDWR)) < 0 &&
	       (port = open("/dev/vport1p1", O_RDWR)) < 0)
		usleep(1000);
	put("/dev/hvc0", "guest: ready\n");
	for (;;) {
		ssize_t r = read(port, line + n, sizeof(line) - 1 - n);
		char *end;

		if (r <= 0) {
			usleep(1000);
			continue;
		}
		n += (size_t)r;
		line[n] = '\0';
		while ((end = strchr(line, '\n'))) {
			*end = '\0';
			obey(line, out, sizeof(out) - 1);
			strcat(out, "\n");
			(void)!write(port, out, strlen(out));
			n -= (size_t)(end + 1 - line);
			memmove(line, end + 1, n + 1);
		}
		if (n == sizeof(line) - 1)
			n = 0;
	}
}
