/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rootfs.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/path.h"
#include "runtime/disk.h"
#include "runtime/id_maps.h"
#include "runtime/spec_guest.h"
#include "runtime/volume.h"

#define GUEST_DISK_ROOT   "/run/kata-containers/sandbox/rootfs"
#define ROOTFS_MOUNTS_MAX 64
#define GUEST_PULL        "fuse.nydus-overlayfs"

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

/* One mount of a file system that lies on a block device, or in a file that mount(8) would make a
 * block device of; and that the guest can mount as it is: ids are mapped on the host. */
static bool is_block(const struct container_request *request, const struct config *config)
{
	static const char *const types[] = {"ext4", "xfs", "btrfs", "erofs", "squashfs"};
	const struct rootfs_mount *m = request->rootfs_mounts;
	struct stat st;

	if (config->hypervisor.disable_block_device_use || request->n_rootfs_mounts != 1 ||
	    maps_ids(m))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (streq(m->type, types[i]))
			return stat(m->source, &st) == 0 &&
			       (S_ISBLK(st.st_mode) ||
				(S_ISREG(st.st_mode) && has_option(m, "loop")));
	return false;
}

static int plug_root(struct container *c, const struct rootfs_mount *m, Grpc__Spec *spec,
		     Grpc__Storage ***storages, size_t *n_storages, struct err *err)
{
	_cleanup_(freep) char *dir = path_join(GUEST_DISK_ROOT, c->id);
	_cleanup_(strv_fini) struct strv options = {0};
	const struct disk *disk;
	int r;

	/* The guest sees a disk either way. */
	for (size_t i = 0; i < m->n_options; i++)
		if (!streq(m->options[i], "loop"))
			strv_add(&options, m->options[i]);
	r = disk_plug(c, m->source, has_option(m, "ro"), &disk, err);
	if (r < 0)
		return r;
	*storages = xreallocarray(*storages, *n_storages + 1, sizeof(**storages));
	(*storages)[(*n_storages)++] = storage_new(disk->driver, disk->source, m->type, dir,
						   (const char *const *)options.v, options.n);
	spec_set(&spec->root->path, dir);
	return 0;
}

static int plan_mounts(struct container *c, const struct container_request *request,
		       const char *rootfs, struct err *err)
{
	if (request->n_rootfs_mounts > ROOTFS_MOUNTS_MAX)
		return err_setx(err, -E2BIG, "more than %d mounts for a root file system",
				ROOTFS_MOUNTS_MAX);
	for (size_t i = 0; i < request->n_rootfs_mounts; i++) {
		const struct rootfs_mount *m = &request->rootfs_mounts[i];
		_cleanup_(strv_fini) struct strv options = {0};
		_cleanup_(ns_maps_fini) struct ns_maps idmap = {0};
		const char *uids = NULL, *gids = NULL;
		bool inside = !str_empty(m->target);
		int r;

		/* Of this kind are also containerd's nydus and CRI-O's runtime_pull_image. */
		if (streq(m->type, GUEST_PULL))
			return err_setx(err, -ENOSYS,
					"mount type %s: an image that the guest pulls itself is "
					"not supported",
					m->type);
		for (size_t k = 0; k < m->n_options; k++)
			if (!id_maps_of_option(m->options[k], &uids, &gids))
				strv_add(&options, m->options[k]);
		r = id_maps_of_rootfs(uids, gids, &idmap, err);
		if (r < 0)
			return r;
		host_mounts_add(&c->mounts, &(struct host_mount){
						    .type = (char *)m->type,
						    .source = (char *)m->source,
						    .root = inside ? (char *)rootfs : NULL,
						    .target = (char *)(inside ? m->target : rootfs),
						    .options = options.v,
						    .idmap = idmap});
	}
	return 0;
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
	if (is_block(request, c->sandbox->config))
		return plug_root(c, request->rootfs_mounts, spec, storages, n_storages, err);
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
