/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Paths, and opening below a folder that a hostile peer can write (design decision 12). */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* path_join: "a/b" with exactly one slash between them; the caller frees. */
char *path_join(const char *a, const char *b);
/* path_name: the part behind the last slash. */
const char *path_name(const char *path);
/* path_dir: the part before the last slash ("." or "/" when there is none); the caller frees. */
char *path_dir(const char *path);
/* path_is_id: a name that is safe as one path component: [A-Za-z0-9][A-Za-z0-9_.-]*, at most 128.
 */
bool path_is_id(const char *s);
/* path_new_id: "<prefix>-" and 16 random digits, a name that nobody else has; the caller frees. */
char *path_new_id(const char *prefix);
/* path_is_clean: absolute, without empty, "." or ".." components. */
bool path_is_clean(const char *path);
/*
 * path_open_in_root: openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: `path` is resolved as
 * if rootfd were "/", symlinks included. flags and mode as for open(2), O_CLOEXEC is added. Returns
 * the fd or -errno.
 */
int path_open_in_root(int rootfd, const char *path, uint64_t flags, mode_t mode);
/*
 * path_mkdir_in_root: make `path` and its missing parents below rootfd, resolving as above;
 * existing folders are fine. Returns an O_PATH fd of the last one or -errno.
 */
int path_mkdir_in_root(int rootfd, const char *path, mode_t mode);
