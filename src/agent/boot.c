/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/modules.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/mount.h"
#include "wire/netlink/link.h"

/*
 * How it works: the kernel starts us from the initramfs, whose root cannot be pivoted away from, so
 * that no container could be made. We mount a tmpfs at NEW_ROOT, make the initramfs' folders appear
 * in it as bind mounts (nothing is copied), mount the kernel's file systems there, move the tmpfs
 * over "/" and chroot to it. Kernel threads come along: the kernel makes PID 1 and kthreadd with
 * one root and working directory for both (CLONE_FS in its rest_init()).
 *
 * A guest that boots from a disk (by itself or through boot_disk.c) has a root that can be pivoted
 * away from and keeps it.
 */

#define AUTO_ONLINE "/sys/devices/system/memory/auto_online_blocks"
#define NEW_ROOT    "/.root"

static const struct {
	const char *source, *target, *fstype;
	unsigned long flags;
	const char *data;
	bool optional;
} mounts[] = {
	{"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
	{"sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
	{"dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", false},
	{"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5",
	 true},
	{"shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", true},
	{"tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", false},
	{"tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", true},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
};

/* --- the root --- */

static bool is_mount_target(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++)
		if (streq(mounts[i].target + 1, name))
			return true;
	return streq(name, ".") || streq(name, "..") || streq(name, &NEW_ROOT[1]);
}

static int show_in_new_root(const struct dirent *d)
{
	_cleanup_(freep) char *from = path_join("/", d->d_name);
	_cleanup_(freep) char *to = path_join(NEW_ROOT, d->d_name);
	struct stat st;
	int fd;

	if (lstat(from, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode)) {
		char target[4096];
		ssize_t n = readlink(from, target, sizeof(target) - 1);

		if (n < 0)
			return -errno;
		target[n] = '\0';
		return symlink(target, to) < 0 ? -errno : 0;
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(to, st.st_mode & 07777) < 0)
			return -errno;
	} else {
		fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	return mount_simple(from, to, NULL, MS_BIND | MS_REC, NULL);
}

static int make_new_root(void)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int r;

	if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = mount_simple("rootfs", NEW_ROOT, "tmpfs", 0, "mode=0755");
	if (r < 0)
		return r;
	dir = opendir("/");
	if (!dir)
		return -errno;
	for (const struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir))
		if (!is_mount_target(d->d_name))
			r = show_in_new_root(d);
	return r;
}

/*
 * The agent's program stays on the initramfs' own mount, which is read-only from here on: a
 * container that executes its /proc/self/exe before it has become another program gets hold of the
 * file, and could change it or its mode.
 */
static int enter_new_root(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};

	if (mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0)
		return -errno;
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return -errno;
	return 0;
}

static int mount_all(const char *root, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		_cleanup_(freep) char *target = path_join(root, mounts[i].target + 1);
		int r;

		if (mkdir(target, 0755) < 0 && errno != EEXIST && !mounts[i].optional)
			return err_set(err, -errno, "mkdir %s", target);
		r = mount_simple(mounts[i].source, target, mounts[i].fstype, mounts[i].flags,
				 mounts[i].data);
		/* EBUSY: somebody (the kernel, another init) has mounted it already. */
		if (r == 0 || r == -EBUSY)
			continue;
		if (!mounts[i].optional)
			return err_set(err, r, "mount %s on %s", mounts[i].fstype, target);
		log_warn("mount %s on %s: %s", mounts[i].fstype, target, strerror(-r));
	}
	return 0;
}

static void link_standard_files(void)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		(void)!symlink(links[i][0], links[i][1]);
}

static int make_root(struct err *err)
{
	struct statfs st;
	int r;

	if (statfs("/", &st) < 0)
		return err_set(err, -errno, "statfs /");
	if (st.f_type != RAMFS_MAGIC && st.f_type != TMPFS_MAGIC)
		return mount_all("/", err);
	r = make_new_root();
	if (r < 0)
		return err_set(err, r, "make a root file system in %s", NEW_ROOT);
	r = mount_all(NEW_ROOT, err);
	if (r < 0)
		return r;
	r = enter_new_root();
	return r < 0 ? err_set(err, r, "move the root file system") : 0;
}

/* --- steps --- */

int boot_root(struct err *err)
{
	sigset_t all;
	int r;

	/* Before anything else: nothing but our own signalfd may take a signal. */
	sigfillset(&all);
	if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
		return err_set(err, -errno, "block signals");
	umask(022);
	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "linux", 1);
	r = make_root(err);
	if (r < 0)
		return r;
	link_standard_files();
	return 0;
}

void boot_modules(void)
{
	int r = modules_load_list(MODULES_LIST);

	if (r < 0)
		log_warn("%s: %s", MODULES_LIST, strerror(-r));
}

void boot_config(struct agent_config *config)
{
	_cleanup_(freep) char *text = NULL;
	size_t n;

	cmdline_defaults(config);
	if (fs_read("/proc/cmdline", CMDLINE_MAX, &text, &n) == 0)
		cmdline_parse(config, text, n);
}

bool boot_cgroup(bool delegate)
{
	_cleanup_(freep) char *controllers = NULL;
	struct statfs st;

	if (statfs("/sys/fs/cgroup", &st) < 0 || st.f_type != CGROUP2_SUPER_MAGIC)
		return false;
	if (!delegate)
		return true;
	if (fs_read("/sys/fs/cgroup/cgroup.controllers", 4096, &controllers, NULL) < 0)
		return false;
	/* One by one: a controller that cannot be had must not cost the others. */
	for (char *save, *name = strtok_r(controllers, " \n", &save); name;
	     name = strtok_r(NULL, " \n", &save)) {
		_cleanup_(freep) char *text = xasprintf("+%s", name);
		int r = fs_write("/sys/fs/cgroup/cgroup.subtree_control", text);

		if (r < 0)
			log_warn("cgroup controller %s: %s", name, strerror(-r));
	}
	return true;
}

static int loopback_up(void)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	struct link lo = {0};
	int r;

	r = nl_open(&nl, NETLINK_ROUTE);
	if (r == 0)
		r = link_get(&nl, "lo", &lo);
	return r < 0 ? r : link_set_up(&nl, lo.index, true);
}

int boot_settings(struct err *err)
{
	/* As containerd has it; containers without a limit of their own inherit it. */
	const struct rlimit files = {.rlim_cur = 1048576, .rlim_max = 1048576};
	int r;

	/* What a container mounts in a volume of the pod is seen by the others, if they are set up
	 * so; each container cuts or keeps this for itself. */
	if (mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL) < 0)
		log_warn("share mounts between containers: %s", strerror(errno));
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		log_warn("RLIMIT_NOFILE: %s", strerror(errno));
	r = loopback_up();
	if (r < 0)
		return err_set(err, r, "loopback interface");
	/* request_module() runs us; its root is ours. */
	if (fs_exists(MODULES_ONDEMAND)) {
		r = fs_write("/proc/sys/kernel/modprobe", "/init");
		if (r < 0)
			log_warn("kernel.modprobe: %s", strerror(-r));
	}
	/* Memory that is plugged in appears some time after the host has said so; then the kernel
	 * itself has to take it into use. */
	r = fs_write(AUTO_ONLINE, "online");
	if (r < 0 && r != -ENOENT)
		log_warn("%s: %s", AUTO_ONLINE, strerror(-r));
	return 0;
}
