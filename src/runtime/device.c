/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/device.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "runtime/disk.h"
#include "runtime/spec_guest.h"

enum device_fate device_judge(const Grpc__LinuxDevice *device, bool all)
{
	/* With the numbers that every Linux has for them. */
	static const struct {
		const char *path;
		unsigned int major, minor;
	} known[] = {
		{"/dev/null", 1, 3},       {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
		{"/dev/random", 1, 8},     {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
		{"/dev/console", 5, 1},    {"/dev/ptmx", 5, 2},    {"/dev/fuse", 10, 229},
		{"/dev/net/tun", 10, 200},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (device->major == known[i].major && device->minor == known[i].minor &&
		    streq(device->type, "b") == false)
			return DEVICE_GUEST;
	if (streq(device->type, "p"))
		return DEVICE_GUEST;
	/* The host's, of which the VM has others. */
	if (all)
		return DEVICE_LEAVE_OUT;
	return streq(device->type, "b") ? DEVICE_PLUG : DEVICE_REFUSE;
}

static Grpc__Device *device_new(const struct disk *disk, const char *container_path)
{
	Grpc__Device *device = xmalloc(sizeof(*device));

	grpc__device__init(device);
	device->id = xstrdup(disk->source);
	device->type = xstrdup(disk->driver);
	device->container_path = xstrdup(container_path);
	return device;
}

static bool is_node(const char *path, const Grpc__LinuxDevice *device)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode) &&
	       major(st.st_rdev) == (unsigned int)device->major &&
	       minor(st.st_rdev) == (unsigned int)device->minor;
}

/*
 * The host's node: the path in the document is the container's and may mean something else here.
 * udev makes /dev/block/<major>:<minor>; without it the kernel knows the name.
 */
static char *find_node(const Grpc__LinuxDevice *device)
{
	unsigned int major_ = (unsigned int)device->major, minor_ = (unsigned int)device->minor;
	_cleanup_(freep) char *link = xasprintf("/dev/block/%u:%u", major_, minor_);
	_cleanup_(freep) char *uevent = xasprintf("/sys/dev/block/%u:%u/uevent", major_, minor_);
	_cleanup_(freep) char *text = NULL, *named = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};

	if (is_node(link, device))
		return TAKE_PTR(link);
	if (is_node(device->path, device))
		return xstrdup(device->path);
	if (fs_read(uevent, 4096, &text, NULL) < 0)
		return NULL;
	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n && !named; i++)
		if (str_has_prefix(lines.v[i], "DEVNAME="))
			named = path_join("/dev", lines.v[i] + strlen("DEVNAME="));
	return named && is_node(named, device) ? TAKE_PTR(named) : NULL;
}

/* The rule that allows just this device; the last one, if there are several. NULL: none. */
static const Grpc__LinuxDeviceCgroup *find_rule(const Grpc__Linux *linux_,
						const Grpc__LinuxDevice *device)
{
	const Grpc__LinuxResources *resources = linux_->resources;

	for (size_t i = resources ? resources->n_devices : 0; i-- > 0;) {
		const Grpc__LinuxDeviceCgroup *rule = resources->devices[i];

		if (rule->allow && streq(rule->type, device->type) &&
		    rule->major == device->major && rule->minor == device->minor)
			return rule;
	}
	return NULL;
}

static int plug(struct container *c, const Grpc__Linux *linux_, const Grpc__LinuxDevice *device,
		Grpc__Device ***devices, size_t *n_devices, struct err *err)
{
	const Grpc__LinuxDeviceCgroup *rule = find_rule(linux_, device);
	_cleanup_(freep) char *path = find_node(device);
	const struct disk *disk;
	int r;

	if (!path)
		return err_setx(err, -ENODEV, "device %s: there is no block device %lld:%lld",
				device->path, (long long)device->major, (long long)device->minor);
	/* What a container may only read is not open for more on the host either. */
	r = disk_plug(c, path, rule && !strchr(rule->access, 'w'), &disk, err);
	if (r < 0)
		return err_wrap(err, r, "device %s", device->path);
	*devices = xreallocarray(*devices, *n_devices + 1, sizeof(**devices));
	(*devices)[(*n_devices)++] = device_new(disk, device->path);
	return 0;
}

int devices_prepare(struct container *c, Grpc__Spec *spec, Grpc__Device ***devices,
		    size_t *n_devices, struct err *err)
{
	bool privileged = spec_privileged(spec);

	for (size_t i = 0; spec->linux && i < spec->linux->n_devices;) {
		const Grpc__LinuxDevice *device = spec->linux->devices[i];
		int r;

		/* All that there is comes without rules of its own. */
		switch (device_judge(device, privileged && !find_rule(spec->linux, device))) {
		case DEVICE_GUEST:
			i++;
			break;
		case DEVICE_PLUG:
			r = plug(c, spec->linux, device, devices, n_devices, err);
			if (r < 0)
				return r;
			i++;
			break;
		case DEVICE_LEAVE_OUT:
			log_debug("device %s: the host's, not for the guest", device->path);
			SPEC_REMOVE(spec->linux, devices, i);
			break;
		case DEVICE_REFUSE:
			return err_setx(err, -ENOSYS,
					"device %s (%s %lld:%lld): this device of the host cannot "
					"be given to a virtual machine",
					device->path, device->type, (long long)device->major,
					(long long)device->minor);
		}
	}
	return 0;
}
