/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A file tree in memory: what goes into a guest image, before it has a format. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct tree_node {
	char *path;  /* "lib/modules/kata.list": no slash at either end */
	mode_t mode; /* with its type */
	dev_t device;
	char *data; /* content, or a symlink's target; owned */
	size_t len;
};

struct tree {
	struct tree_node *nodes;
	size_t n;
};

/* All add functions take absolute or relative paths, make missing parents (0755, root's) and
 * replace what is there under the same path. */
void tree_add_dir(struct tree *t, const char *path, mode_t mode);
/* tree_add_file: data becomes the tree's. */
void tree_add_file(struct tree *t, const char *path, mode_t mode, char *data, size_t len);
void tree_add_symlink(struct tree *t, const char *path, const char *target);
/* tree_add_device: mode says S_IFCHR or S_IFBLK. */
void tree_add_device(struct tree *t, const char *path, mode_t mode, unsigned major, unsigned minor);
/* tree_sort: by path, so that parents come before what is in them and equal trees are equal. */
void tree_sort(struct tree *t);
/* tree_extract: write the tree below dir (which exists): for tools that pack a folder. Device nodes
 * are left out without the right to make them. Everything gets the time `mtime`. */
int tree_extract(const struct tree *t, const char *dir, int64_t mtime, struct err *err);
void tree_fini(struct tree *t);
