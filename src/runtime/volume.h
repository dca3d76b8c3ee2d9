/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The mounts of config.json: which of them the guest makes itself, which it binds from what it has,
 * and which are shown to it through virtio-fs.
 */

#include "agent.pb-c.h"
#include "base/err.h"
#include "runtime/copied_file.h"
#include "runtime/share.h"

#define VOLUME_GUEST_SHM       "/run/kata-containers/sandbox/shm"
#define VOLUME_GUEST_EPHEMERAL "/run/kata-containers/sandbox/ephemeral"

enum volume_kind {
	VOLUME_GUEST,      /* a file system the guest's kernel makes: proc, tmpfs … */
	VOLUME_GUEST_BIND, /* a bind of what the guest has at the same place: /sys, /dev/fuse … */
	VOLUME_SHM,        /* the pod's /dev/shm */
	VOLUME_EPHEMERAL,  /* an emptyDir in memory: a tmpfs of the guest that the pod shares */
	VOLUME_LIVE,       /* a folder that kubelet may change: copied, see live_volume.h */
	VOLUME_SHARED,     /* a file or folder of the host */
	VOLUME_COPIED, /* a file of the host, where there is no shared folder: like VOLUME_LIVE */
	_VOLUME_UNSUPPORTED,
};

/* What of the host's file system matters for that. */
struct volume_source {
	enum volume_kind kind; /* by volumes_prepare() */
	bool exists;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct host_file file;
	struct file_identity identity; /* of a file */
	bool on_tmpfs, on_hugetlbfs;
	uint64_t tmpfs_size; /* bytes */
	bool atomic;         /* kubelet's AtomicWriter has written it */
};

/* volume_classify: pure; `source` describes mount->source, has_share: there are shared folders. */
enum volume_kind volume_classify(const Grpc__Mount *mount, const struct volume_source *source,
				 bool has_share);
/* volume_is_live: is mount->source a folder, mounted read-only, where kubelet keeps what may change
 * under a running container (ConfigMap, Secret, projected, downwardAPI)? Whatever its root is. */
bool volume_is_live(const Grpc__Mount *mount);
/* volume_bind_flags: MS_REC, MS_RDONLY and propagation of a bind mount's options. */
unsigned long volume_bind_flags(const Grpc__Mount *mount, bool *ret_recursive_read_only);

/*
 * volumes_prepare: rewrite all mounts of `spec` (a copy of the spec), plan the host's in `mounts`,
 * and append the storages that the agent has to make to *storages. Looks at the host's files, in a
 * child, since one may lie on a dead server. *ret_sources: what each mount is; the caller frees.
 * Those that are live or copied are left for live_volumes_prepare(), when there is a guest.
 */
int volumes_prepare(Grpc__Spec *spec, const char *container_id, struct share *share,
		    struct host_mounts *mounts, Grpc__Storage ***storages, size_t *n_storages,
		    struct volume_source **ret_sources, uint64_t deadline, struct err *err);
/* volume_share: show the source of mount number `index` to the guest: planned in `mounts`, and
 * rewritten. `bind` has the mapping of its ids (id_maps_of_mount()) and gets the rest; `source` is
 * what it was found to be. */
int volume_share(Grpc__Mount *mount, struct host_mount *bind, const struct host_file *source,
		 size_t index, const char *container_id, struct share *share,
		 struct host_mounts *mounts, struct err *err);
/* volumes_shm_size: the bytes of the tmpfs of the host that `spec` (may be NULL) binds to /dev/shm,
 * which is how container managers say how large that is to be; 0: it does not. */
uint64_t volumes_shm_size(const Grpc__Spec *spec, uint64_t deadline);
/* volume_shm_storage: the sandbox's /dev/shm for CreateSandbox; size in bytes. The caller frees
 * with grpc__storage__free_unpacked(). */
Grpc__Storage *volume_shm_storage(uint64_t size);
/* storage_new: a storage whose strings are its own. */
Grpc__Storage *storage_new(const char *driver, const char *source, const char *fstype,
			   const char *mount_point, const char *const *options, size_t n_options);
