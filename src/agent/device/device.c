/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/device/device.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/modules.h"
#include "agent/uevents.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "kernel/pci.h"

/*
 * How it works: each kind of address has a function that looks in sysfs once and says -ENOENT while
 * the device is not there; wait_for() calls it again after each uevent until the time is up. The
 * node in /dev is devtmpfs' work and there before the event is.
 */

/* Looks once. 0 and *ret (a /dev path or, for those without a node, ""), -ENOENT, or an error. */
typedef int (*look_fn)(const void *address, char **ret);

static int wait_for(struct agent *agent, look_fn look, const void *address, const char *what,
		    char **ret, struct err *err)
{
	uint64_t deadline = clock_after(agent->config.hotplug_timeout);

	for (;;) {
		int r = look(address, ret);

		if (r != -ENOENT && r != -ENODEV)
			return r < 0 ? err_set(err, r, "device %s", what) : 0;
		if (uevents_wait(agent, deadline) == -ETIMEDOUT)
			return err_setx(
				err, -ENODEV, "device %s did not appear within %llu s", what,
				(unsigned long long)(agent->config.hotplug_timeout / USEC_PER_SEC));
	}
}

/* --- looking --- */

/* The first entry of dir whose name starts with prefix. */
static char *first_entry(const char *path, const char *prefix)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);

	if (!dir)
		return NULL;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
		if (d->d_name[0] != '.' && str_has_prefix(d->d_name, prefix))
			return path_join(path, d->d_name);
	return NULL;
}

static int check_node(char *path, char **ret)
{
	_cleanup_(freep) char *owned = path;
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	*ret = TAKE_PTR(owned);
	return 0;
}

/* "/sys/…/block" has one folder, named as the node is. */
static int node_in(const char *block_dir, char **ret)
{
	_cleanup_(freep) char *entry = first_entry(block_dir, "");

	return entry ? check_node(path_join("/dev", path_name(entry)), ret) : -ENOENT;
}

static int look_pci_block(const void *address, char **ret)
{
	_cleanup_(freep) char *folder = NULL, *virtio = NULL, *block = NULL;
	int r;

	r = pci_path_sysfs(PCI_ROOT_SYSFS, address, &folder);
	if (r < 0)
		return r;
	virtio = first_entry(folder, "virtio");
	block = virtio ? path_join(virtio, "block") : NULL;
	return block ? node_in(block, ret) : -ENOENT;
}

static int look_pci(const void *address, char **ret)
{
	_cleanup_(freep) char *folder = NULL;
	int r = pci_path_sysfs(PCI_ROOT_SYSFS, address, &folder);

	if (r == 0)
		*ret = xstrdup("");
	return r;
}

struct scsi_address {
	uint32_t id, lun;
};

/* "/sys/class/scsi_device/H:0:ID:LUN/device/block/sda" */
static int look_scsi(const void *address, char **ret)
{
	const struct scsi_address *scsi = address;
	_cleanup_(freep) char *suffix = xasprintf(":0:%u:%u", scsi->id, scsi->lun);
	_cleanup_(closedirp) DIR *dir = opendir("/sys/class/scsi_device");

	if (!dir)
		return -ENOENT;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		_cleanup_(freep) char *block = NULL;

		if (!str_has_suffix(d->d_name, suffix))
			continue;
		block = xasprintf("/sys/class/scsi_device/%s/device/block", d->d_name);
		return node_in(block, ret);
	}
	return -ENOENT;
}

static int look_node(const void *address, char **ret)
{
	return check_node(xstrdup(address), ret);
}

/* --- addresses --- */

int device_find_pci_block(struct agent *agent, const char *pci_path, char **ret, struct err *err)
{
	struct pci_path path;

	if (pci_path_parse(pci_path, &path) < 0)
		return err_setx(err, -EINVAL, "\"%s\": not a PCI path such as 02/01", pci_path);
	return wait_for(agent, look_pci_block, &path, pci_path, ret, err);
}

void device_want_scsi(struct agent *agent)
{
	if (!modules_loaded(SCSI_DRIVER))
		uevents_want_driver(agent, SCSI_DRIVER);
}

int device_find_scsi(struct agent *agent, const char *address, char **ret, struct err *err)
{
	_cleanup_(strv_fini) struct strv parts = {0};
	struct scsi_address scsi;

	strv_split(&parts, address, ":");
	if (parts.n != 2 || parse_u32(parts.v[0], &scsi.id) < 0 ||
	    parse_u32(parts.v[1], &scsi.lun) < 0)
		return err_setx(err, -EINVAL, "\"%s\": not a SCSI address ID:LUN", address);
	device_want_scsi(agent);
	return wait_for(agent, look_scsi, &scsi, address, ret, err);
}

int device_wait_node(struct agent *agent, const char *path, char **ret, struct err *err)
{
	if (!str_has_prefix(path, "/dev/") || !path_is_clean(path))
		return err_setx(err, -EINVAL, "\"%s\": not a path below /dev", path);
	if (str_has_prefix(path, "/dev/sd"))
		device_want_scsi(agent);
	return wait_for(agent, look_node, path, path, ret, err);
}

int device_net_name(const char *pci_path, char **ret)
{
	_cleanup_(freep) char *folder = NULL, *virtio = NULL, *net = NULL, *entry = NULL;
	struct pci_path path;

	if (pci_path_parse(pci_path, &path) < 0 ||
	    pci_path_sysfs(PCI_ROOT_SYSFS, &path, &folder) < 0)
		return -ENOENT;
	virtio = first_entry(folder, "virtio");
	net = virtio ? path_join(virtio, "net") : NULL;
	entry = net ? first_entry(net, "") : NULL;
	if (!entry)
		return -ENOENT;
	*ret = xstrdup(path_name(entry));
	return 0;
}

/* --- types --- */

static int find_blk(struct agent *agent, const Grpc__Device *request, char **ret, struct err *err)
{
	return device_find_pci_block(agent, request->id, ret, err);
}

static int find_scsi(struct agent *agent, const Grpc__Device *request, char **ret, struct err *err)
{
	return device_find_scsi(agent, request->id, ret, err);
}

static int find_node(struct agent *agent, const Grpc__Device *request, char **ret, struct err *err)
{
	return device_wait_node(agent, request->vm_path, ret, err);
}

/*
 * A passed-through PCI device that a driver of the guest's kernel serves: only waited for. Options
 * are "HOST-ADDRESS=GUEST-PCI-PATH", one for each function of its IOMMU group.
 */
static int find_vfio(struct agent *agent, const Grpc__Device *request, char **ret, struct err *err)
{
	for (size_t i = 0; i < request->n_options; i++) {
		const char *equals = strchr(request->options[i], '=');
		_cleanup_(freep) char *nothing = NULL;
		struct pci_path path;
		int r;

		if (!equals || pci_path_parse(equals + 1, &path) < 0)
			return err_setx(err, -EINVAL, "option \"%s\" of a passed-through device",
					request->options[i]);
		r = wait_for(agent, look_pci, &path, equals + 1, &nothing, err);
		if (r < 0)
			return r;
	}
	*ret = xstrdup("");
	return 0;
}

static const struct {
	const char *type;
	int (*find)(struct agent *agent, const Grpc__Device *request, char **ret, struct err *err);
} types[] = {
	{"blk", find_blk},     {"mmioblk", find_node},     {"scsi", find_scsi},
	{"nvdimm", find_node}, {"vfio-pci-gk", find_vfio},
};

const char *const *device_types(void)
{
	static const char *names[ARRAY_SIZE(types) + 1];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		names[i] = types[i].type;
	return names;
}

static int describe(struct device *device, struct err *err)
{
	struct stat st;

	if (!device->vm_path[0])
		return 0;
	if (stat(device->vm_path, &st) < 0)
		return err_set(err, -errno, "%s", device->vm_path);
	if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		return err_setx(err, -ENODEV, "%s is not a device", device->vm_path);
	device->type = S_ISBLK(st.st_mode) ? 'b' : 'c';
	device->major = major(st.st_rdev);
	device->minor = minor(st.st_rdev);
	return 0;
}

int device_resolve(struct agent *agent, const Grpc__Device *request, struct device *ret,
		   struct err *err)
{
	_cleanup_(device_fini) struct device device = {0};
	int r = -ENOSYS;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!streq(types[i].type, request->type))
			continue;
		r = types[i].find(agent, request, &device.vm_path, err);
		if (r == 0)
			r = describe(&device, err);
		if (r < 0)
			return r;
		device.container_path = xstrdup(request->container_path);
		*ret = device;
		device = (struct device){0};
		return 0;
	}
	return err_setx(err, r, "devices of type \"%s\" are not supported", request->type);
}

/* The entry of the specification that a device stands for; NULL: none. */
static Grpc__LinuxDevice *entry_of(const struct device *device, const Grpc__Linux *linux_)
{
	for (size_t i = 0; i < linux_->n_devices && !str_empty(device->container_path); i++)
		if (streq(linux_->devices[i]->path, device->container_path))
			return linux_->devices[i];
	return NULL;
}

static void place_rule(Grpc__LinuxDeviceCgroup *rule, const struct device *devices, size_t n,
		       const Grpc__Linux *linux_)
{
	for (size_t i = 0; i < n; i++) {
		const Grpc__LinuxDevice *entry = entry_of(&devices[i], linux_);

		if (!entry || rule->type[0] != devices[i].type || rule->major != entry->major ||
		    rule->minor != entry->minor)
			continue;
		rule->major = devices[i].major;
		rule->minor = devices[i].minor;
		return;
	}
}

void device_place_all(const struct device *devices, size_t n, Grpc__Linux *linux_)
{
	Grpc__LinuxResources *resources = linux_->resources;

	/* The rules first, while the entries have the numbers that the rules mean. */
	for (size_t i = 0; resources && i < resources->n_devices; i++)
		place_rule(resources->devices[i], devices, n, linux_);
	for (size_t i = 0; i < n; i++) {
		Grpc__LinuxDevice *entry = entry_of(&devices[i], linux_);

		if (!entry)
			continue;
		entry->major = devices[i].major;
		entry->minor = devices[i].minor;
	}
}

void device_fini(struct device *device)
{
	free(device->vm_path);
	free(device->container_path);
}
