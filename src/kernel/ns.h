/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Namespaces (namespaces(7)): their names in the runtime specification, and user mappings. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define NS_MAPPINGS_MAX 340U /* lines that the kernel takes in a uid_map */

/* One line of uid_map: `size` ids from `inside` are those from `outside`. */
struct ns_mapping {
	uint32_t inside, outside, size;
};

/* All lines of uid_map and of gid_map. */
struct ns_maps {
	struct ns_mapping *uids, *gids;
	size_t n_uids, n_gids;
};

/* ns_parse: the CLONE_NEW* flag of "pid", "network", "mount", "ipc", "uts", "user", "cgroup",
 * "time"; 0 for any other name. */
unsigned int ns_parse(const char *type);
/* ns_proc_name: the file below /proc/PID/ns of a flag ("net" for CLONE_NEWNET), or NULL. */
const char *ns_proc_name(unsigned int flag);
/* ns_open: the namespace file at path, checked to be one of the kind `flag`. Returns the cloexec fd
 * or -errno (-EINVAL: another kind or no namespace). */
int ns_open(const char *path, unsigned int flag);
/* ns_enter: setns() to the namespace at path, of the kind `flag`. Returns 0 or -errno, as ns_open.
 * For a child: nobody comes back. */
int ns_enter(const char *path, unsigned int flag);
/* ns_maps_parse: mappings as mount(8) has them, "inside:outside:size[,…]" each. Returns 0, -EINVAL
 * or -E2BIG; the caller calls ns_maps_fini(). */
int ns_maps_parse(const char *uids, const char *gids, struct ns_maps *ret);
/* ns_maps_copy: the same again, the caller's. ns_maps_equal: line by line. */
struct ns_maps ns_maps_copy(const struct ns_maps *maps);
bool ns_maps_equal(const struct ns_maps *a, const struct ns_maps *b);
/* ns_map_id: what `inside` is outside: as the kernel has it nobody's when no line names it; without
 * any line itself. */
#define NS_NOBODY 65534U
uint32_t ns_map_id(const struct ns_mapping *list, size_t n, uint32_t inside);
void ns_maps_fini(struct ns_maps *maps);
/* ns_write_maps: write uid_map and gid_map of process pid, whose user namespace is new. */
int ns_write_maps(pid_t pid, const struct ns_maps *maps);
/*
 * ns_open_new_user: a user namespace with these mappings and no process in it, made by a child that
 * has ended when this returns. Returns the cloexec fd or -errno.
 */
int ns_open_new_user(const struct ns_maps *maps);
