/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files and folders as wholes. Paths are the program's own here; see path.h for a hostile peer's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * fs_read: the whole file at path (relative to dirfd, AT_FDCWD otherwise), at most `max` bytes,
 * NUL-terminated. *ret is the caller's; ret_len may be NULL. Returns 0, -EFBIG when it is longer,
 * or -errno. Works on files without a size (/proc, /sys, cgroups).
 */
int fs_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);
int fs_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* fs_write: open for writing (no create), one write(2): for /proc, /sys and cgroup files. */
int fs_write(const char *path, const char *text);
int fs_write_at(int dirfd, const char *path, const char *text);
/* fs_replace: write a temporary file in the same folder, fsync if `sync`, rename it over path. */
int fs_replace(const char *path, const void *p, size_t n, mode_t mode, bool sync);
/* fs_mkdir_all: path and its missing parents; an existing folder is fine. */
int fs_mkdir_all(const char *path, mode_t mode);
/* fs_remove_all: the tree at path, never across a mount point and never through a symlink. A
 * missing path is success. Returns 0 or the first -errno, having removed what it could. */
int fs_remove_all(const char *path);
bool fs_exists(const char *path);
