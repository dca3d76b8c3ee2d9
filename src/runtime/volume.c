/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/path.h"
#include "runtime/blocking.h"
#include "runtime/id_maps.h"
#include "runtime/spec_guest.h"

#define EMPTY_DIR "/kubernetes.io~empty-dir/"

static bool has_option(const Grpc__Mount *mount, const char *option)
{
	for (size_t i = 0; i < mount->n_options; i++)
		if (streq(mount->options[i], option))
			return true;
	return false;
}

static bool is_bind(const Grpc__Mount *mount)
{
	return streq(mount->type, "bind") || has_option(mount, "bind") ||
	       has_option(mount, "rbind");
}

static bool below(const char *path, const char *dir)
{
	const char *rest = str_skip_prefix(path, dir);

	return rest && (*rest == '\0' || *rest == '/');
}

/* Of the host's kernel, not of its files: never shown to a guest, which has its own at these
 * places. Under another name it has none: refused when it is mounted (host_mount_clone.c). */
static bool is_kernels(const Grpc__Mount *mount, const struct volume_source *source)
{
	if (below(mount->source, "/proc") || below(mount->source, "/sys"))
		return true;
	if (!below(mount->source, "/dev") || below(mount->source, "/dev/shm"))
		return false;
	return streq(mount->source, "/dev") || S_ISCHR(source->mode) || S_ISBLK(source->mode) ||
	       S_ISDIR(source->mode);
}

bool volume_is_live(const Grpc__Mount *mount)
{
	static const char *const plugins[] = {"configmap", "secret", "projected", "downward-api"};
	_cleanup_(freep) char *dir = path_dir(mount->source);
	const char *plugin = str_skip_prefix(path_name(dir), "kubernetes.io~");
	bool recursive_read_only;

	if (!plugin || !path_is_clean(mount->source) || below(mount->source, "/proc") ||
	    below(mount->source, "/sys") || below(mount->source, "/dev") || !is_bind(mount) ||
	    !(volume_bind_flags(mount, &recursive_read_only) & MS_RDONLY))
		return false;
	dir[strlen(dir) - strlen(path_name(dir))] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(plugins); i++)
		if (streq(plugin, plugins[i]))
			return str_has_suffix(dir, "/volumes/");
	return false;
}

/* What would best be shown to the guest as it is, and cannot be. */
static enum volume_kind without_share(const Grpc__Mount *mount, const struct volume_source *source)
{
	if (S_ISREG(source->mode))
		return VOLUME_COPIED;
	return strstr(mount->source, EMPTY_DIR) && S_ISDIR(source->mode) && !source->on_hugetlbfs
		       ? VOLUME_EPHEMERAL
		       : VOLUME_SHARED;
}

enum volume_kind volume_classify(const Grpc__Mount *mount, const struct volume_source *source,
				 bool has_share)
{
	static const char *const guests[] = {"proc",    "sysfs",   "tmpfs",      "devpts",
					     "mqueue",  "cgroup",  "cgroup2",    "devtmpfs",
					     "debugfs", "tracefs", "securityfs", "bpf"};

	if (!is_bind(mount)) {
		for (size_t i = 0; i < ARRAY_SIZE(guests); i++)
			if (streq(mount->type, guests[i]))
				return VOLUME_GUEST;
		return _VOLUME_UNSUPPORTED;
	}
	if (streq(mount->destination, "/dev/shm"))
		return VOLUME_SHM;
	if (is_kernels(mount, source))
		return VOLUME_GUEST_BIND;
	if (strstr(mount->source, EMPTY_DIR) && source->on_tmpfs)
		return VOLUME_EPHEMERAL;
	if (source->atomic && volume_is_live(mount))
		return VOLUME_LIVE;
	return has_share ? VOLUME_SHARED : without_share(mount, source);
}

unsigned long volume_bind_flags(const Grpc__Mount *mount, bool *ret_recursive_read_only)
{
	static const struct {
		const char *option;
		unsigned long flags;
	} table[] = {
		{"rbind", MS_REC},      {"ro", MS_RDONLY},    {"rro", MS_RDONLY},
		{"slave", MS_SLAVE},    {"rslave", MS_SLAVE}, {"shared", MS_SHARED},
		{"rshared", MS_SHARED},
	};
	unsigned long flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (has_option(mount, table[i].option))
			flags |= table[i].flags;
	/* Later options win, as in mount(8). */
	for (size_t i = 0; i < mount->n_options; i++) {
		if (streq(mount->options[i], "rw"))
			flags &= ~(unsigned long)MS_RDONLY;
		else if (streq(mount->options[i], "ro") || streq(mount->options[i], "rro"))
			flags |= MS_RDONLY;
	}
	*ret_recursive_read_only = has_option(mount, "rro");
	return flags;
}

/* --- the host's files, looked at in a child --- */

struct survey {
	const Grpc__Spec *spec;
};

static bool is_atomic(const char *folder)
{
	_cleanup_(freep) char *data = path_join(folder, "..data");
	struct stat st;

	return lstat(data, &st) == 0 && S_ISLNK(st.st_mode);
}

static int survey_in_child(void *arg, void *reply)
{
	const Grpc__Spec *spec = ((struct survey *)arg)->spec;
	struct volume_source *sources = reply;
	int r = host_mounts_enter_sources();

	if (r < 0)
		return r;
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Grpc__Mount *m = spec->mounts[i];
		struct statfs fs;
		struct stat st;

		if (!is_bind(m) || stat(m->source, &st) < 0)
			continue;
		sources[i].exists = true;
		sources[i].mode = st.st_mode;
		sources[i].atomic = volume_is_live(m) && is_atomic(m->source);
		sources[i].file = host_file_of(&st);
		if (S_ISREG(st.st_mode))
			(void)file_identify(AT_FDCWD, m->source, &sources[i].identity);
		sources[i].uid = st.st_uid;
		sources[i].gid = st.st_gid;
		if (statfs(m->source, &fs) < 0)
			continue;
		sources[i].on_hugetlbfs = fs.f_type == HUGETLBFS_MAGIC;
		if ((strstr(m->source, EMPTY_DIR) || streq(m->destination, "/dev/shm")) &&
		    fs.f_type == TMPFS_MAGIC) {
			sources[i].on_tmpfs = true;
			sources[i].tmpfs_size = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
		}
	}
	return 0;
}

/* *ret describes each mount of `spec`, in its order; the caller frees. */
static int survey(const Grpc__Spec *spec, uint64_t deadline, struct volume_source **ret)
{
	*ret = xcalloc(spec->n_mounts + 1, sizeof(**ret));
	return blocking_run(survey_in_child, &(struct survey){spec}, *ret,
			    spec->n_mounts * sizeof(**ret), deadline);
}

uint64_t volumes_shm_size(const Grpc__Spec *spec, uint64_t deadline)
{
	_cleanup_(freep) struct volume_source *sources = NULL;

	if (!spec || spec->n_mounts > HOST_MOUNT_MAX || survey(spec, deadline, &sources) < 0)
		return 0;
	for (size_t i = 0; i < spec->n_mounts; i++)
		if (volume_classify(spec->mounts[i], &sources[i], true) == VOLUME_SHM)
			return sources[i].tmpfs_size;
	return 0;
}

/* --- rewriting --- */

struct volumes {
	const char *container_id;
	struct share *share;
	struct host_mounts *mounts;
	Grpc__Storage ***storages;
	size_t *n_storages;
};

Grpc__Storage *storage_new(const char *driver, const char *source, const char *fstype,
			   const char *mount_point, const char *const *options, size_t n_options)
{
	Grpc__Storage *storage = xmalloc(sizeof(*storage));

	grpc__storage__init(storage);
	storage->driver = xstrdup(driver);
	storage->source = xstrdup(source);
	storage->fstype = xstrdup(fstype);
	storage->mount_point = xstrdup(mount_point);
	storage->options = n_options ? xcalloc(n_options, sizeof(char *)) : NULL;
	for (size_t i = 0; i < n_options; i++)
		storage->options[storage->n_options++] = xstrdup(options[i]);
	return storage;
}

Grpc__Storage *volume_shm_storage(uint64_t size)
{
	char text[32];
	const char *options[] = {"noexec", "nosuid", "nodev", "mode=1777", text};

	snprintf(text, sizeof(text), "size=%llu", (unsigned long long)size);
	return storage_new("ephemeral", "shm", "tmpfs", VOLUME_GUEST_SHM, options,
			   ARRAY_SIZE(options));
}

/* The kubelet's name of the volume is the last component, unique in the pod. */
static int make_ephemeral(struct volumes *v, Grpc__Mount *m, const struct volume_source *source,
			  const struct ns_maps *idmap, struct err *err)
{
	_cleanup_(freep) char *guest = NULL;
	char mode[32], uid[32], gid[32], size[32];
	const char *options[] = {mode, uid, gid, size};

	if (!path_is_id(path_name(m->source)))
		return err_setx(err, -EINVAL, "mount %s: unusable volume name in %s",
				m->destination, m->source);
	guest = path_join(VOLUME_GUEST_EPHEMERAL, path_name(m->source));
	/* As kubelet has made the host's, with the pod's fsGroup: ids on disk, which are mapped
	 * here where the host would have mapped them. */
	snprintf(mode, sizeof(mode), "mode=%04o", source->mode & 07777);
	snprintf(uid, sizeof(uid), "uid=%u", ns_map_id(idmap->uids, idmap->n_uids, source->uid));
	snprintf(gid, sizeof(gid), "gid=%u", ns_map_id(idmap->gids, idmap->n_gids, source->gid));
	snprintf(size, sizeof(size), "size=%llu", (unsigned long long)source->tmpfs_size);
	*v->storages = xreallocarray(*v->storages, *v->n_storages + 1, sizeof(**v->storages));
	(*v->storages)[(*v->n_storages)++] = storage_new("ephemeral", "tmpfs", "tmpfs", guest,
							 options,
							 ARRAY_SIZE(options) - !source->tmpfs_size);
	spec_set(&m->source, guest);
	return 0;
}

/* A name that people recognise, safe as one component. */
static char *share_name(const char *container_id, size_t index, const char *source)
{
	const char *base = path_name(source);

	return xasprintf("%s-%zu-%s", container_id, index, path_is_id(base) ? base : "volume");
}

int volume_share(Grpc__Mount *m, struct host_mount *bind, const struct host_file *source,
		 size_t index, const char *container_id, struct share *share,
		 struct host_mounts *mounts, struct err *err)
{
	_cleanup_(freep) char *name = NULL, *guest = NULL;

	if (!share->n_views)
		return err_setx(err, -ENOSYS,
				"mount %s: %s is the host's, which shared_fs = \"none\" "
				"does not show to the guest",
				m->destination, m->source);
	bind->source = m->source;
	bind->flags = volume_bind_flags(m, &bind->recursive_read_only);
	name = share_name(container_id, index, m->source);
	guest = share_add_volume(share, mounts, bind, source, name);
	spec_set(&m->source, guest);
	spec_set(&m->type, "bind");
	return 0;
}

static int prepare_as(struct volumes *v, enum volume_kind kind, size_t index, Grpc__Mount *m,
		      const struct volume_source *source, struct host_mount *bind, struct err *err)
{
	switch (kind) {
	case VOLUME_GUEST:
	case VOLUME_GUEST_BIND:
		return !bind->idmap.n_uids
			       ? 0
			       : err_setx(err, -ENOTSUP,
					  "mount %s: its ids cannot be mapped, since it is the "
					  "guest's own and no file of the host",
					  m->destination);
	case VOLUME_SHM:
		spec_set(&m->source, VOLUME_GUEST_SHM);
		return 0;
	case VOLUME_EPHEMERAL:
		return make_ephemeral(v, m, source, &bind->idmap, err);
	case VOLUME_SHARED:
		if (!source->exists)
			return err_set(err, -ENOENT, "mount %s: source %s", m->destination,
				       m->source);
		if (source->on_hugetlbfs)
			return err_setx(err, -ENOSYS,
					"mount %s: %s has huge pages of the host, which a guest "
					"cannot map",
					m->destination, m->source);
		return volume_share(m, bind, &source->file, index, v->container_id, v->share,
				    v->mounts, err);
	case VOLUME_LIVE:
	case VOLUME_COPIED:
	case _VOLUME_UNSUPPORTED:
		break;
	}
	return err_setx(err, -ENOSYS, "mount %s: file system type \"%s\" is not supported",
			m->destination, m->type);
}

static int prepare(struct volumes *v, const Grpc__Spec *spec, size_t index,
		   struct volume_source *source, struct err *err)
{
	Grpc__Mount *m = spec->mounts[index];
	enum volume_kind kind = volume_classify(m, source, v->share->n_views > 0);
	struct host_mount bind = {0};
	int r;

	source->kind = kind;
	if (!path_is_clean(m->destination))
		return err_setx(err, -EINVAL, "mount \"%s\": not an absolute, clean path",
				m->destination);
	if (kind == VOLUME_LIVE || kind == VOLUME_COPIED)
		return 0;
	r = id_maps_of_mount(spec, m, &bind, err);
	if (r >= 0)
		r = prepare_as(v, kind, index, m, source, &bind, err);
	ns_maps_fini(&bind.idmap);
	return r;
}

int volumes_prepare(Grpc__Spec *spec, const char *container_id, struct share *share,
		    struct host_mounts *mounts, Grpc__Storage ***storages, size_t *n_storages,
		    struct volume_source **ret_sources, uint64_t deadline, struct err *err)
{
	struct volumes v = {.container_id = container_id,
			    .share = share,
			    .mounts = mounts,
			    .storages = storages,
			    .n_storages = n_storages};
	int r;

	if (spec->n_mounts > HOST_MOUNT_MAX)
		return err_setx(err, -E2BIG, "more than %d mounts", HOST_MOUNT_MAX);
	r = survey(spec, deadline, ret_sources);
	if (r < 0)
		return err_set(err, r, "look at the sources of the mounts");
	for (size_t i = 0; r >= 0 && i < spec->n_mounts; i++)
		r = prepare(&v, spec, i, &(*ret_sources)[i], err);
	return r;
}
