/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rootfs.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/path.h"
#include "runtime/disk.h"
#include "runtime/id_maps.h"
#include "runtime/mount_format.h"
#include "runtime/spec_guest.h"
#include "runtime/volume.h"

#define GUEST_DISK_ROOT   "/run/kata-containers/sandbox/rootfs"
#define GUEST_LAYERS      "/run/kata-containers/sandbox/layers"
#define HOST_LAYERS       "layers" /* in the bundle */
#define ROOTFS_MOUNTS_MAX 64
#define LAYERS_MAX        60U /* of one container, each a disk … */
#define LAYERS_MAX_PCI    12U /* … of which each takes one of the slots that all devices share */
#define GUEST_PULL        "fuse.nydus-overlayfs"
#define CREATE_FOLDER     "io.katacontainers.volume.overlayfs.create_directory="

/* Those of a request to the agent. */
struct storages {
	Grpc__Storage ***v;
	size_t *n;
};

/* Several mounts, the last of which is made of those before it. */
static bool is_layered(const struct container_request *request)
{
	return request->n_rootfs_mounts &&
	       mount_has_format(&request->rootfs_mounts[request->n_rootfs_mounts - 1]);
}

static bool has_option(const struct rootfs_mount *m, const char *option)
{
	for (size_t i = 0; i < m->n_options; i++)
		if (streq(m->options[i], option))
			return true;
	return false;
}

static bool maps_ids(const struct rootfs_mount *m)
{
	const char *uids = NULL, *gids = NULL;

	for (size_t i = 0; i < m->n_options; i++)
		if (id_maps_of_option(m->options[i], &uids, &gids))
			return true;
	return false;
}

/* A file system on a block device, or in a file that mount(8) would make a block device of; and
 * that the guest can mount as it is: ids are mapped on the host. */
static bool is_block(const struct rootfs_mount *m)
{
	static const char *const types[] = {"ext4", "xfs", "btrfs", "erofs", "squashfs"};
	struct stat st;

	if (maps_ids(m) || !str_empty(m->target))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (streq(m->type, types[i]))
			return stat(m->source, &st) == 0 &&
			       (S_ISBLK(st.st_mode) ||
				(S_ISREG(st.st_mode) && has_option(m, "loop")));
	return false;
}

/* Whether the guest can make the whole root of block devices. */
static bool can_plug(const struct container_request *request, const struct config *config)
{
	const struct rootfs_mount *mounts = request->rootfs_mounts;
	size_t n = request->n_rootfs_mounts;
	bool scsi = streq(config->hypervisor.block_device_driver, "virtio-scsi");

	if (config->hypervisor.disable_block_device_use || !n)
		return false;
	if (is_layered(request)) {
		const struct rootfs_mount *top = &mounts[--n];

		if (!n || n > (scsi ? LAYERS_MAX : LAYERS_MAX_PCI) || maps_ids(top) ||
		    mount_uses_host(top))
			return false;
	} else if (n != 1) {
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (!is_block(&mounts[i]))
			return false;
	return true;
}

/* --- in the guest --- */

static Grpc__Storage *add_storage(struct storages *to, Grpc__Storage *storage)
{
	*to->v = xreallocarray(*to->v, *to->n + 1, sizeof(**to->v));
	(*to->v)[(*to->n)++] = storage;
	return storage;
}

/* At dir, or where every container that has this layer finds it. */
static int plug(struct container *c, const struct rootfs_mount *m, const char *dir,
		struct storages *to, const char **ret_place, struct err *err)
{
	_cleanup_(strv_fini) struct strv options = {0};
	_cleanup_(freep) char *layer = NULL;
	const struct disk *disk;
	int r;

	/* The guest sees a disk either way. */
	for (size_t i = 0; i < m->n_options; i++)
		if (!streq(m->options[i], "loop"))
			strv_add(&options, m->options[i]);
	r = disk_plug(c, m->source, has_option(m, "ro"), &disk, err);
	if (r < 0)
		return r;
	layer = path_join(GUEST_LAYERS, disk->id);
	*ret_place = add_storage(to,
				 storage_new(disk->driver, disk->source, m->type, dir ? dir : layer,
					     (const char *const *)options.v, options.n))
			     ->mount_point;
	return 0;
}

/* What is mounted over the layers. */
static int add_top(const struct rootfs_mount *top, const struct strv *places, const char *dir,
		   struct storages *to, struct err *err)
{
	_cleanup_(formatted_mount_fini) struct formatted_mount m = {0};
	Grpc__Storage *storage;
	bool bind;
	int r = mount_format(top, places, &m, err);

	if (r < 0)
		return r;
	bind = streq(m.type, "bind");
	if (!bind && !streq(m.type, "overlay"))
		return err_setx(err, -ENOSYS, "a root of type %s over layers is not supported",
				m.type);
	storage = add_storage(to, storage_new(bind ? "bind" : "overlayfs", m.source, m.type, dir,
					      (const char *const *)m.options.v, m.options.n));
	storage->driver_options = xcalloc(m.folders.n + 1, sizeof(char *));
	for (size_t i = 0; i < m.folders.n; i++)
		storage->driver_options[storage->n_driver_options++] = xasprintf(CREATE_FOLDER "%s",
										 m.folders.v[i]);
	return 0;
}

static int plug_root(struct container *c, const struct container_request *request, Grpc__Spec *spec,
		     struct storages *to, struct err *err)
{
	const struct rootfs_mount *mounts = request->rootfs_mounts;
	_cleanup_(freep) char *dir = path_join(GUEST_DISK_ROOT, c->id);
	_cleanup_(strv_fini) struct strv places = {0};
	size_t n = request->n_rootfs_mounts - is_layered(request);
	const char *place;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		r = plug(c, &mounts[i], is_layered(request) ? NULL : dir, to, &place, err);
		if (r == 0)
			strv_add(&places, place);
	}
	if (r == 0 && is_layered(request))
		r = add_top(&mounts[n], &places, dir, to, err);
	if (r == 0)
		spec_set(&spec->root->path, dir);
	return r;
}

/* --- on the host --- */

/* Its options without those of an id mapping, which is for the mount as such. */
static int split_options(const struct rootfs_mount *m, struct strv *ret_options,
			 struct ns_maps *ret_idmap, struct err *err)
{
	const char *uids = NULL, *gids = NULL;

	for (size_t i = 0; i < m->n_options; i++)
		if (!id_maps_of_option(m->options[i], &uids, &gids))
			strv_add(ret_options, m->options[i]);
	return id_maps_of_rootfs(uids, gids, ret_idmap, err);
}

/* `entry` says where; places are those of the mounts before it. */
static int plan_mount(struct container *c, const struct rootfs_mount *m, const struct strv *places,
		      struct host_mount entry, struct err *err)
{
	_cleanup_(formatted_mount_fini) struct formatted_mount whole = {0};
	_cleanup_(strv_fini) struct strv options = {0};
	_cleanup_(ns_maps_fini) struct ns_maps idmap = {0};
	struct rootfs_mount without_maps = *m;
	int r;

	/* Of this kind are also containerd's nydus and CRI-O's runtime_pull_image. */
	if (streq(m->type, GUEST_PULL))
		return err_setx(err, -ENOSYS,
				"mount type %s: an image that the guest pulls itself is not "
				"supported",
				m->type);
	r = split_options(m, &options, &idmap, err);
	if (r < 0)
		return r;
	without_maps.options = (const char *const *)options.v;
	without_maps.n_options = options.n;
	r = mount_format(&without_maps, places, &whole, err);
	if (r < 0)
		return r;
	entry.type = whole.type;
	entry.source = whole.source;
	entry.options = whole.options.v;
	entry.folders = whole.folders.v;
	entry.idmap = idmap;
	host_mounts_add(&c->mounts, &entry);
	return 0;
}

/* Layers are mounted beside the root, other mounts at it, or inside of it where they say so. */
static int plan_mounts(struct container *c, const struct container_request *request, char *rootfs,
		       struct err *err)
{
	_cleanup_(strv_fini) struct strv places = {0};
	bool layered = is_layered(request);
	size_t n = request->n_rootfs_mounts;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct rootfs_mount *m = &request->rootfs_mounts[i];
		_cleanup_(freep) char *layer = xasprintf("%s/" HOST_LAYERS "/%zu", c->bundle, i);
		struct host_mount entry = {.target = rootfs};

		if (layered && i < n - 1)
			entry = (struct host_mount){.target = layer, .make_target = true};
		else if (!layered && !str_empty(m->target))
			entry = (struct host_mount){.target = (char *)m->target, .root = rootfs};
		r = plan_mount(c, m, &places, entry, err);
		strv_add(&places, entry.target);
	}
	return r;
}

int rootfs_prepare(struct container *c, const struct container_request *request, Grpc__Spec *spec,
		   Grpc__Storage ***storages, size_t *n_storages, struct err *err)
{
	_cleanup_(freep) char *rootfs = NULL, *name = NULL, *guest = NULL;
	int r;

	if (!spec->root) {
		spec->root = xmalloc(sizeof(*spec->root));
		grpc__root__init(spec->root);
	}
	if (request->n_rootfs_mounts > ROOTFS_MOUNTS_MAX)
		return err_setx(err, -E2BIG, "more than %d mounts for a root file system",
				ROOTFS_MOUNTS_MAX);
	if (can_plug(request, c->sandbox->config))
		return plug_root(c, request, spec,
				 &(struct storages){.v = storages, .n = n_storages}, err);
	if (!c->sandbox->share.n_views)
		return err_setx(err, -ENOSYS,
				"shared_fs = \"none\" needs a root file system on a block device "
				"(a snapshotter such as devmapper or blockfile)");
	if (request->n_rootfs_mounts)
		rootfs = path_join(c->bundle, "rootfs");
	else if (!str_empty(request->rootfs))
		rootfs = xstrdup(request->rootfs);
	else if (spec->root->path[0] == '/')
		rootfs = xstrdup(spec->root->path);
	else
		rootfs = path_join(c->bundle,
				   str_empty(spec->root->path) ? "rootfs" : spec->root->path);
	r = plan_mounts(c, request, rootfs, err);
	if (r < 0)
		return r;
	name = path_join(c->id, "rootfs");
	/* Read-only is the guest's to do: mount points may have to be made in it first. */
	guest = share_add(&c->sandbox->share, SHARE_ROOTS, &c->mounts,
			  &(struct host_mount){.source = rootfs, .flags = MS_REC}, name);
	spec_set(&spec->root->path, guest);
	return 0;
}
