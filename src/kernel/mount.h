/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Mounts: options as OCI and fstab write them, mounting with them, and what is mounted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>

#include "base/str.h"

#define MOUNTINFO_MAX      (16U << 20) /* bytes of /proc/PID/mountinfo that are looked at */
#define MOUNT_DATA_MAX     4095U       /* a page, with the NUL */
#define MOUNT_PROPAGATIONS (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

struct mount_options {
	unsigned long flags;       /* MS_RDONLY, MS_BIND | MS_REC …, without propagation */
	unsigned long cleared;     /* flags that were asked for to be off ("rw", "dev" …) */
	unsigned long propagation; /* MS_PRIVATE … with or without MS_REC; 0: leave */
	uint64_t recursive_set;    /* MOUNT_ATTR_ of "rro", "rnosuid" … for mount_setattr(2) */
	uint64_t recursive_clear;
	bool tmpcopyup;   /* "tmpcopyup": the caller's to do */
	struct strv data; /* what the file system itself understands */
};

/*
 * mount_options_parse: n option strings. Returns 0; -EOPNOTSUPP for those that would have to be
 * enforced and are not ("idmap", "ridmap"); -E2BIG when the data does not fit in a page. On success
 * the caller calls mount_options_fini().
 */
int mount_options_parse(char *const *options, size_t n, struct mount_options *ret);
void mount_options_fini(struct mount_options *options);
/* mount_option_name: the i-th option that is not the file system's own; NULL behind the last. */
const char *mount_option_name(size_t i);

/*
 * mount_make: mount(2) with everything that takes further calls: the remount that a bind mount
 * needs for its flags (keeping those of the source that a user namespace has locked), recursive
 * attributes, propagation. fstype may be NULL or "" for a bind mount. Returns 0 or -errno; a mount
 * whose later step fails is taken away again.
 */
int mount_make(const char *source, const char *target, const char *fstype,
	       const struct mount_options *options);
/* mount_simple: the same for flags and data known at compile time. */
int mount_simple(const char *source, const char *target, const char *fstype, unsigned long flags,
		 const char *data);

struct mountinfo {
	uint64_t id, parent;
	char *root;  /* within its file system */
	char *point; /* where it is */
	char *fstype;
	char *source;
};

/* mountinfo_read: all mounts of /proc/<pid>/mountinfo (0: self), oldest first. */
int mountinfo_read(int pid, struct mountinfo **ret, size_t *ret_n);
/* mountinfo_parse: the same from text, which is changed in place; bad lines are -EBADMSG. */
int mountinfo_parse(char *text, struct mountinfo **ret, size_t *ret_n);
void mountinfo_free(struct mountinfo *mounts, size_t n);
/* mount_is_point: 1 when something is mounted exactly at path, 0 when not, or -errno. */
int mount_is_point(const char *path);
/*
 * mount_umount_below: unmount everything at and below dir, newest first, lazily where it is busy.
 * Returns 0 or the first -errno, having unmounted what it could. May block on a dead file server.
 */
int mount_umount_below(const char *dir);
