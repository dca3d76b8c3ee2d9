/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/device/device.h"
#include "agent/storage/driver.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"

/* One function per driver; the table at the end has Kata's names. */

#define CREATE_DIR    "io.katacontainers.volume.overlayfs.create_directory="
#define OVERLAY_RW    "io.katacontainers.fs-opt.overlay-rw"
#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages"
#define MAKE_DIR_TIME (10 * USEC_PER_SEC)

static bool has_option(const Grpc__Storage *request, const char *option)
{
	for (size_t i = 0; i < request->n_options; i++)
		if (streq(request->options[i], option))
			return true;
	return false;
}

static uint64_t hotplug_deadline(const struct agent *agent)
{
	return clock_after(agent->config.hotplug_timeout);
}

/* --- shared file system --- */

static int add_virtiofs(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
			struct err *err)
{
	/* The device may be plugged in right now (clones of a template). */
	return storage_mount(agent, request, request->source, "virtiofs", hotplug_deadline(agent),
			     storage, err);
}

/* --- block devices --- */

static int mount_device(struct agent *agent, const Grpc__Storage *request, const char *path,
			struct storage *storage, struct err *err)
{
	struct stat st;

	for (size_t i = 0; i < request->n_driver_options; i++)
		if (!str_empty(request->driver_options[i]))
			return err_setx(err, -ENOSYS,
					"option \"%s\" of block storage is not "
					"supported",
					request->driver_options[i]);
	if (stat(path, &st) < 0)
		return err_set(err, -errno, "%s", path);
	if (!S_ISBLK(st.st_mode))
		return err_setx(err, -ENOTBLK, "%s is not a block device", path);
	storage->device = st.st_rdev;
	return storage_mount(agent, request, path, request->fstype, hotplug_deadline(agent),
			     storage, err);
}

static int add_block(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
		     struct err *err)
{
	_cleanup_(freep) char *path = NULL;
	int r;

	r = str_has_prefix(request->source, "/dev/")
		    ? device_wait_node(agent, request->source, &path, err)
		    : device_find_pci_block(agent, request->source, &path, err);
	return r < 0 ? r : mount_device(agent, request, path, storage, err);
}

static int add_scsi(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
		    struct err *err)
{
	_cleanup_(freep) char *path = NULL;
	int r = device_find_scsi(agent, request->source, &path, err);

	return r < 0 ? r : mount_device(agent, request, path, storage, err);
}

static int add_node(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
		    struct err *err)
{
	_cleanup_(freep) char *path = NULL;
	int r = device_wait_node(agent, request->source, &path, err);

	return r < 0 ? r : mount_device(agent, request, path, storage, err);
}

/* --- memory --- */

static int option_number(const Grpc__Storage *request, const char *name, uint64_t *ret)
{
	for (size_t i = 0; i < request->n_options; i++) {
		_cleanup_(strv_fini) struct strv parts = {0};

		strv_split(&parts, request->options[i], ",");
		for (size_t k = 0; k < parts.n; k++) {
			const char *value = str_skip_prefix(parts.v[k], name);

			if (value)
				return parse_size(value, ret);
		}
	}
	return -ENOENT;
}

/* The pool has to be there before the mount; the kernel may give fewer pages than it is asked for.
 */
static int fill_hugepages(const Grpc__Storage *request, struct err *err)
{
	_cleanup_(freep) char *path = NULL, *text = NULL, *got = NULL;
	uint64_t page, size, n = 0;
	int r;

	if (option_number(request, "pagesize=", &page) < 0 ||
	    option_number(request, "size=", &size) < 0 || page < 1024)
		return err_setx(err, -EINVAL, "huge pages need options pagesize= and size=");
	path = xasprintf(HUGEPAGES_DIR "/hugepages-%llukB/nr_hugepages",
			 (unsigned long long)(page / 1024));
	text = xasprintf("%llu", (unsigned long long)(size / page));
	r = fs_write(path, text);
	if (r == 0)
		r = fs_read(path, 32, &got, NULL);
	if (r == 0)
		r = parse_u64(str_chomp(got), &n);
	if (r < 0)
		return err_set(err, r, "reserve huge pages in %s", path);
	if (n < size / page)
		return err_setx(err, -ENOMEM, "the guest has room for %llu of %s huge pages",
				(unsigned long long)n, text);
	return 0;
}

static int add_ephemeral(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
			 struct err *err)
{
	int r = 0;

	if (streq(request->fstype, "hugetlbfs"))
		r = fill_hugepages(request, err);
	return r < 0 ? r
		     : storage_mount(agent, request, request->source, request->fstype, 0, storage,
				     err);
}

static int add_local(_unused_ struct agent *agent, const Grpc__Storage *request,
		     struct storage *storage, struct err *err)
{
	return storage_make_dir(request, storage, err);
}

/* --- layers and binds --- */

static int make_dirs_in_child(void *arg, _unused_ void *reply)
{
	const Grpc__Storage *request = arg;

	for (size_t i = 0; i < request->n_driver_options; i++) {
		const char *dir = str_skip_prefix(request->driver_options[i], CREATE_DIR);
		int r;

		if (!dir)
			continue;
		if (!path_is_clean(dir))
			return -EINVAL;
		r = fs_mkdir_all(dir, 0755);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_dirs(const Grpc__Storage *request, struct err *err)
{
	int r;

	if (!request->n_driver_options)
		return 0;
	r = co_run_child(make_dirs_in_child, (void *)request, NULL, 0, clock_after(MAKE_DIR_TIME));
	return r < 0 ? err_set(err, r, "make its folders") : 0;
}

static int add_overlay(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
		       struct err *err)
{
	int r;

	if (has_option(request, OVERLAY_RW))
		return err_setx(err, -ENOSYS,
				"option " OVERLAY_RW " is not supported: say upperdir "
				"and workdir");
	r = make_dirs(request, err);
	if (r < 0)
		return r;
	return storage_mount(agent, request, request->source, "overlay", 0, storage, err);
}

/*
 * watchable-bind is a bind mount here. Kata copies such volumes to a tmpfs every two seconds, so
 * that inotify works in the guest; we show the files themselves, which change at once and have no
 * limit of number or size, but send no events for changes made on the host.
 */
static int add_bind(struct agent *agent, const Grpc__Storage *request, struct storage *storage,
		    struct err *err)
{
	int r = make_dirs(request, err);

	if (r < 0)
		return r;
	return storage_mount(agent, request, request->source, "bind", 0, storage, err);
}

/* --- the table --- */

static const struct storage_driver drivers[] = {
	{"virtio-fs", add_virtiofs, false}, {"blk", add_block, false},
	{"mmioblk", add_node, false},       {"scsi", add_scsi, false},
	{"nvdimm", add_node, false},        {"ephemeral", add_ephemeral, true},
	{"local", add_local, true},         {"overlayfs", add_overlay, false},
	{"bind", add_bind, false},          {"watchable-bind", add_bind, false},
};

const struct storage_driver *storage_driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (streq(drivers[i].name, name))
			return &drivers[i];
	return NULL;
}

const char *const *storage_drivers(void)
{
	static const char *names[ARRAY_SIZE(drivers) + 1];

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		names[i] = drivers[i].name;
	return names;
}
