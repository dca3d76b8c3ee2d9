/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst): limits in the terms of the
 * runtime specification, which are version 1's, and what they become.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/str.h"

#define CGROUP_PATH_MAX   1024U /* bytes of a path below the root */
#define CGROUP_DEPTH_MAX  16U
#define CGROUP_RULES_MAX  256U /* device rules of one group: what the filter has room for */
#define CGROUP_STAT_MAX   (64U * 1024U)
#define CGROUP_HUGE_SIZES 8U
#define CGROUP_IO_MAX     64U

/* One rule of the device filter; the last one that matches decides. */
struct cgroup_device_rule {
	bool allow;
	char type;            /* 'a' (any), 'b', 'c' */
	int64_t major, minor; /* -1: any */
	unsigned int access;  /* of CGROUP_ACCESS_* */
};

#define CGROUP_ACCESS_MKNOD 1U /* as BPF_DEVCG_ACC_* */
#define CGROUP_ACCESS_READ  2U
#define CGROUP_ACCESS_WRITE 4U

/* One value for a block device. */
struct cgroup_io_limit {
	int64_t major, minor;
	uint64_t value;
};

struct cgroup_huge_limit {
	const char *size; /* "2MB" */
	uint64_t limit;
};

/* A file of version 2 by name. */
struct cgroup_unified {
	const char *file, *value;
};

/* What to set; a field that is 0, NULL or empty is left as it is. Arrays are the caller's. */
struct cgroup_resources {
	/* Bytes; -1: no limit. swap is memory + swap, as in version 1. */
	int64_t memory_limit, memory_reservation, memory_swap;
	bool memory_check; /* -EBUSY when a new limit is below the present use */
	uint64_t cpu_shares;
	int64_t cpu_quota; /* µs a period; -1: no limit */
	uint64_t cpu_period;
	bool has_cpu_burst, has_cpu_idle;
	uint64_t cpu_burst;
	int64_t cpu_idle;
	const char *cpus, *mems;
	int64_t pids_limit; /* -1: no limit */
	uint32_t io_weight; /* 10 to 1000 */
	const struct cgroup_io_limit *io_weights, *io_rbps, *io_wbps, *io_riops, *io_wiops;
	size_t n_io_weights, n_io_rbps, n_io_wbps, n_io_riops, n_io_wiops;
	const struct cgroup_huge_limit *huge;
	size_t n_huge;
	const struct cgroup_unified *unified; /* written last */
	size_t n_unified;
};

/* cgroup_weight_of_shares: cpu.weight (1..10000) of cpu.shares (2..262144); 0 stays 0. */
uint64_t cgroup_weight_of_shares(uint64_t shares);
/* cgroup_io_weight: io.weight (1..10000) of blkio.weight (10..1000); 0 stays 0. */
uint64_t cgroup_io_weight(uint32_t weight);
/*
 * cgroup_swap_max: memory.swap.max from version 1's sum and the memory limit. *ret: -1 is "max".
 * Returns 1 when there is a value to set, 0 when not, -EINVAL for a sum below the limit or one
 * without a limit.
 */
int cgroup_swap_max(int64_t memory_and_swap, int64_t memory, int64_t *ret);
/* cgroup_parse_access: the flags of "rwm"; -EINVAL for other letters. "" gives 0. */
int cgroup_parse_access(const char *access);
/*
 * cgroup_normalize_path: the folder below the root for an OCI cgroupsPath: a clean absolute path as
 * it is, systemd's "a-b.slice:prefix:name" as "/a.slice/a-b.slice/prefix-name.scope" ("" is
 * "system.slice"), anything else "/<fallback>". The caller frees.
 */
char *cgroup_normalize_path(const char *cgroups_path, const char *fallback);

/* A group of ours. Zero-initialise, then cgroup_create(). */
struct cgroup {
	int root, dir; /* folders of the hierarchy and of the group */
	int program;   /* the device filter that is attached, or -1 */
	bool strict;
	char *path;          /* below the root, starts with '/' */
	struct strv missing; /* not strict: files that were to be set and do not exist */
};

/* cgroup_root_open: the root of the version 2 hierarchy (/sys/fs/cgroup, or /sys/fs/cgroup/unified
 * beside version 1). Returns an fd or -errno (-ENOENT: not mounted). */
int cgroup_root_open(void);
/* cgroup_pass_controllers: pass those that limits need on to the children of a folder, as far as it
 * has them and can; strict: a failure is an error. */
int cgroup_pass_controllers(int dir, bool strict);
/*
 * cgroup_create: make the group `path` (of cgroup_normalize_path) and pass the controllers down to
 * it. An existing group is -EEXIST when processes are in it. strict: a limit whose file does not
 * exist is an error (-EOPNOTSUPP); otherwise its name is noted in `missing`.
 */
int cgroup_create(struct cgroup *ret, const char *path, bool strict);
/* cgroup_close: let go of the descriptors and memory; the group stays. */
void cgroup_close(struct cgroup *cg);
/* cgroup_remove: remove the empty group, groups inside it, and parents that are empty now.
 * -EBUSY: there are processes still. */
int cgroup_remove(struct cgroup *cg);
/* cgroup_apply: set the resources. On an error *ret_file (may be NULL) is the file at fault, to be
 * freed by the caller. */
int cgroup_apply(struct cgroup *cg, const struct cgroup_resources *resources, char **ret_file);
/* cgroup_set_devices: filter access to devices; replaces the filter of an earlier call at once. */
int cgroup_set_devices(struct cgroup *cg, const struct cgroup_device_rule *rules, size_t n);
/* cgroup_freeze: ask for frozen or thawed; cgroup_is_frozen tells when it has happened. */
int cgroup_freeze(struct cgroup *cg, bool on);
/* cgroup_is_frozen, cgroup_is_populated: 1, 0 or -errno. */
int cgroup_is_frozen(const struct cgroup *cg);
int cgroup_is_populated(const struct cgroup *cg);
/* cgroup_has_children: does it pass controllers on to groups inside it? Then it cannot have
 * processes itself. */
bool cgroup_has_children(const struct cgroup *cg);
/* cgroup_kill: SIGKILL to every process in the group and below. */
int cgroup_kill(struct cgroup *cg);
/* cgroup_attach: move a process into the group. */
int cgroup_attach(struct cgroup *cg, pid_t pid);

struct cgroup_huge_stats {
	char size[16];
	uint64_t usage, max, failures;
};

struct cgroup_io_stats {
	uint32_t major, minor;
	uint64_t rbytes, wbytes, rios, wios;
};

/* One sample; what the kernel does not have is 0. No limit is UINT64_MAX. */
struct cgroup_stats {
	uint64_t cpu_usage_usec, cpu_user_usec, cpu_system_usec;
	uint64_t periods, throttled_periods, throttled_usec;
	uint64_t memory, memory_max, memory_limit, memory_failures;
	uint64_t swap, swap_limit;
	char *memory_stat; /* lines "name value" of memory.stat, owned; may be NULL */
	uint64_t pids, pids_limit;
	uint64_t oom_kills;
	struct cgroup_huge_stats huge[CGROUP_HUGE_SIZES];
	size_t n_huge;
	struct cgroup_io_stats io[CGROUP_IO_MAX];
	size_t n_io;
};

/* cgroup_read_stats: fill *ret (end with cgroup_stats_fini). */
void cgroup_read_stats(const struct cgroup *cg, struct cgroup_stats *ret);
void cgroup_stats_fini(struct cgroup_stats *stats);
/* cgroup_oom_kills: memory.events' oom_kill; 0 when there is no memory controller. */
uint64_t cgroup_oom_kills(const struct cgroup *cg);
/* cgroup_stat_field: the number after "key " at the start of a line of text; 0 when missing. */
uint64_t cgroup_stat_field(const char *text, const char *key);
