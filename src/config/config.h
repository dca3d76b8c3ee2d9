/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The configuration: Kata's configuration.toml, its drop-ins, and a pod's annotations.
 *
 * Fields carry the names of their keys (configuration.toml(5) describes each; the table is in
 * config/keys.c). Only keys that are served have a field: a key that is known but not served is
 * refused unless it says "off". Strings are owned by the configuration and never NULL ("": not
 * given); lists may be empty. All values were checked: a loaded configuration is consistent, except
 * that files it names are not opened here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

/* [hypervisor.qemu] */
struct config_hypervisor {
	/* Programs and files. */
	char *path; /* the QEMU program */
	char *kernel;
	char *initrd; /* one of initrd and image is given */
	char *image;
	char *rootfs_type; /* of image: "ext4", "erofs" or "xfs" */
	char *kernel_params;
	char *firmware;
	struct strv valid_hypervisor_paths; /* globs an annotation's path must match */
	struct strv valid_virtio_fs_daemon_paths;
	struct strv valid_entropy_sources;
	char *guest_hook_path;

	/* Machine and accelerator. */
	char *accelerator;    /* ours: "auto", "kvm" or "tcg" */
	bool allow_emulation; /* ours: QEMU's TCG may run sandboxes, without isolation guarantee */
	char *machine_type;
	char *machine_accelerators;
	char *cpu_features;
	char *seccompsandbox; /* QEMU's -sandbox argument, all of it by default; "off": none */
	char *entropy_source;
	char *user; /* ours: who QEMU runs as: a name or a number; "root" is possible */
	uid_t uid;  /* `user`, resolved; 0: root */
	gid_t gid;
	bool enable_debug; /* QEMU's log and the guest's kernel console in full */
	bool disable_image_nvdimm;

	/* Size. vcpus are resolved: > 0 and at most what the host has. Memory is in MiB. */
	double default_vcpus;
	uint32_t default_maxvcpus;
	uint32_t default_memory;
	uint32_t memory_slots;
	uint64_t default_maxmemory; /* 0 in the file: the host's memory */
	uint32_t default_bridges;
	uint32_t pcie_root_port;
	bool enable_mem_prealloc;
	bool enable_hugepages;

	/* File sharing. */
	char *shared_fs; /* "virtio-fs" or "none" */
	char *virtio_fs_daemon;
	struct strv virtio_fs_extra_args;
	char *virtio_fs_cache;         /* "never", "metadata", "auto" or "always" */
	char *virtio_fs_rootfs_cache;  /* the same of containers' root file systems */
	uint32_t virtio_fs_cache_size; /* DAX window, MiB; 0: none */
	uint32_t virtio_fs_queue_size;

	/* Block devices. */
	bool disable_block_device_use; /* no hot-plug of block devices as container rootfs */
	char *block_device_driver;     /* "virtio-scsi" or "virtio-blk" */
	char *block_device_aio;        /* "io_uring", "native" or "threads" */
	bool block_device_cache_set;   /* the next two are to be obeyed */
	bool block_device_cache_direct;
	bool block_device_cache_noflush;
	uint32_t block_device_logical_sector_size; /* bytes; 0: the device's own */
	uint32_t block_device_physical_sector_size;

	/* Network. */
	bool disable_vhost_net;

	struct strv enable_annotations; /* regular expressions, as in Kata */
};

/* [agent.kata] */
struct config_agent {
	bool enable_debug;
	bool debug_console_enabled;
	struct strv kernel_modules; /* "name option=value …": loaded in the guest */
	uint32_t dial_timeout;      /* seconds without a sign of life until a dial gives up */
};

/* [runtime] */
struct config_runtime {
	bool enable_debug;
	char *internetworking_model; /* "tcfilter" or "none" */
	bool disable_guest_seccomp;
	bool static_sandbox_resource_mgmt;
	struct strv sandbox_bind_mounts;   /* host paths, shared read-only unless ":rw" */
	uint32_t create_container_timeout; /* seconds */
};

/* [factory] */
struct config_factory {
	bool enable_template;
	bool auto_build_template;
	bool shared_clones;
	uint32_t spares;
	char *template_path;
};

struct config {
	unsigned int refs;
	char *file;          /* where it came from; "": built-in defaults */
	struct strv dropins; /* in the order in which they were merged */
	struct config_hypervisor hypervisor;
	struct config_agent agent;
	struct config_runtime runtime;
	struct config_factory factory;
};

/* The search path, most important first; ends with NULL. */
extern const char *const config_search_path[];

/*
 * config_load: read the file at `path`; NULL: the file that KATA_CONF_FILE names, else the first
 * of the search path that exists, else the built-in defaults. Then config.d/ *.toml beside the file
 * (after symbolic links were followed) are merged over it in the order of their names. A key that
 * is unknown, not served, of the wrong type or out of range is an error that names file, line and
 * column and, where there is one, the key that was probably meant. A path that was asked for and
 * does not exist is -ENOENT. *ret is the caller's; free with config_free.
 */
int config_load(const char *path, struct config **ret, struct err *err);
/* config_find: the file that config_load(path) reads, with symbolic links followed, the caller's;
 * *ret NULL: none, the defaults hold. */
int config_find(const char *path, char **ret, struct err *err);
/* config_equal: both come from the same file, and no key has different values. */
bool config_equal(const struct config *a, const struct config *b);
/* config_default: the built-in defaults; never fails. */
struct config *config_default(void);
/* config_copy: an independent copy, for a sandbox that applies annotations. */
struct config *config_copy(const struct config *config);
/* config_ref: one more holder; a configuration that has several is not changed any more.
 * config_free: lets go of it; the last one frees. */
struct config *config_ref(struct config *config);
void config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free)

struct config_annotation {
	const char *key, *value;
};

/*
 * config_apply_annotations: change the configuration as a pod's io.katacontainers.config.*
 * annotations say; others are ignored. Those of the hypervisor must be enabled by
 * enable_annotations (-EPERM), and paths must match the valid_…_paths of the configuration; one
 * that is unknown (-EINVAL) or not served (-ENOSYS) is refused. On failure the configuration is
 * unchanged.
 */
int config_apply_annotations(struct config *config, const struct config_annotation *annotations,
			     size_t n, struct err *err);
