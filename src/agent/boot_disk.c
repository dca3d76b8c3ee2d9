/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/modules.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/mount.h"

/*
 * How it works: a kernel with the drivers of the disk built in mounts it and starts us from there.
 * Any other starts us from the initramfs that belongs to the image; then root= on its command line
 * is ours to honour. We load the drivers, mount the disk, give the initramfs' memory back, move the
 * disk over "/" and execute the init of the disk, as the kernel would have done.
 */

#define DISK_ROOT "/.root"
#define DISK_INIT "/sbin/init" /* the kernel's first choice on a disk */
#define DISK_TIME (10 * USEC_PER_SEC)
#define DISK_POLL 5000U /* µs */

static const struct {
	const char *source, *target, *fstype;
} early[] = {
	{"proc", "/proc", "proc"},
	{"sysfs", "/sys", "sysfs"},
	{"dev", "/dev", "devtmpfs"},
};

static int mount_early(size_t first, size_t n, struct err *err)
{
	for (size_t i = first; i < first + n; i++) {
		int r;

		if (mkdir(early[i].target, 0755) < 0 && errno != EEXIST)
			return err_set(err, -errno, "mkdir %s", early[i].target);
		r = mount_simple(early[i].source, early[i].target, early[i].fstype, 0, NULL);
		if (r < 0 && r != -EBUSY)
			return err_set(err, r, "mount %s", early[i].target);
	}
	return 0;
}

static void unmount_early(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(early); i++)
		umount2(early[i].target, MNT_DETACH);
}

/* Drivers make devices on which others sit: from the bus to the partition is a matter of turns. */
static int await_device(const char *path, struct err *err)
{
	uint64_t deadline = clock_after(DISK_TIME);
	struct stat st;

	while (stat(path, &st) < 0 || !S_ISBLK(st.st_mode)) {
		if (clock_now() > deadline)
			return err_setx(err, -ENODEV, "root=%s: there is no such disk", path);
		modules_load_present();
		if (str_has_prefix(path, "/dev/sd"))
			modules_load(SCSI_DRIVER);
		usleep(DISK_POLL);
	}
	return 0;
}

static int mount_root(const struct agent_config *config, struct err *err)
{
	int r = await_device(config->root, err);

	if (r < 0)
		return r;
	if (mkdir(DISK_ROOT, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "mkdir " DISK_ROOT);
	r = mount_simple(config->root, DISK_ROOT, config->root_type, MS_RDONLY, config->root_flags);
	return r < 0 ? err_set(err, r, "mount %s, rootfstype=%s rootflags=%s", config->root,
			       config->root_type, config->root_flags)
		     : 0;
}

static int enter_root(struct err *err)
{
	char *const argv[] = {(char *)DISK_INIT, NULL};

	/* What lies in the initramfs would stay in memory for good. */
	fs_remove_all("/lib");
	unlink("/init");
	if (chdir(DISK_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return err_set(err, -errno, "move the disk to /");
	execv(argv[0], argv);
	return err_set(err, -errno, "execute %s of the disk", argv[0]);
}

int boot_disk(struct err *err)
{
	struct agent_config config;
	struct statfs st;
	int r;

	if (statfs("/", &st) < 0)
		return err_set(err, -errno, "statfs /");
	if (st.f_type != RAMFS_MAGIC && st.f_type != TMPFS_MAGIC)
		return 0;
	r = mount_early(0, 1, err);
	if (r < 0)
		return r;
	boot_config(&config);
	if (!*config.root) {
		umount2(early[0].target, MNT_DETACH);
		return 0;
	}
	r = mount_early(1, ARRAY_SIZE(early) - 1, err);
	if (r < 0)
		return r;
	log_open("kata-agent", open("/dev/kmsg", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT,
		 LOG_LEVEL_WARN);
	boot_modules();
	r = mount_root(&config, err);
	if (r < 0)
		return r;
	unmount_early();
	return enter_root(err);
}
