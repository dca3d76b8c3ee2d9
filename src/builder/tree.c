/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"

static struct tree_node *find(struct tree *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++)
		if (streq(t->nodes[i].path, path))
			return &t->nodes[i];
	return NULL;
}

static struct tree_node *add(struct tree *t, const char *path, mode_t mode)
{
	_cleanup_(freep) char *parent = NULL;
	struct tree_node *node;
	const char *slash;

	while (*path == '/')
		path++;
	slash = strrchr(path, '/');
	if (slash) {
		parent = xstrndup(path, (size_t)(slash - path));
		if (!find(t, parent))
			tree_add_dir(t, parent, 0755);
	}
	node = find(t, path);
	if (!node) {
		t->nodes = xreallocarray(t->nodes, t->n + 1, sizeof(*t->nodes));
		node = &t->nodes[t->n++];
		*node = (struct tree_node){.path = xstrdup(path)};
	}
	free(node->data);
	node->mode = mode;
	node->data = NULL;
	node->len = 0;
	return node;
}

void tree_add_dir(struct tree *t, const char *path, mode_t mode)
{
	add(t, path, S_IFDIR | mode);
}

void tree_add_file(struct tree *t, const char *path, mode_t mode, char *data, size_t len)
{
	struct tree_node *node = add(t, path, S_IFREG | mode);

	node->data = data;
	node->len = len;
}

void tree_add_symlink(struct tree *t, const char *path, const char *target)
{
	struct tree_node *node = add(t, path, S_IFLNK | 0777);

	node->data = xstrdup(target);
	node->len = strlen(target);
}

void tree_add_device(struct tree *t, const char *path, mode_t mode, unsigned major_,
		     unsigned minor_)
{
	add(t, path, mode)->device = makedev(major_, minor_);
}

static int compare_nodes(const void *a, const void *b)
{
	return strcmp(((const struct tree_node *)a)->path, ((const struct tree_node *)b)->path);
}

void tree_sort(struct tree *t)
{
	if (t->n)
		qsort(t->nodes, t->n, sizeof(*t->nodes), compare_nodes);
}

static int write_file(const struct tree_node *node, const char *path)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, node->data, node->len);
	if (r == 0 && fchmod(fd, node->mode & 07777) < 0)
		r = -errno;
	return r;
}

static int extract_node(const struct tree_node *node, const char *path)
{
	switch (node->mode & S_IFMT) {
	case S_IFDIR:
		return mkdir(path, node->mode & 07777) < 0 ? -errno : 0;
	case S_IFLNK:
		return symlink(node->data, path) < 0 ? -errno : 0;
	case S_IFREG:
		return write_file(node, path);
	default:
		if (mknod(path, node->mode, node->device) < 0 && errno != EPERM)
			return -errno;
		return 0;
	}
}

int tree_extract(const struct tree *t, const char *dir, int64_t mtime, struct err *err)
{
	const struct timespec times[2] = {{.tv_sec = mtime}, {.tv_sec = mtime}};

	for (size_t i = 0; i < t->n; i++) {
		_cleanup_(freep) char *path = path_join(dir, t->nodes[i].path);
		int r = extract_node(&t->nodes[i], path);

		if (r < 0)
			return err_set(err, r, "write %s", path);
	}
	/* Backwards: a folder's time comes after what was written into it. */
	for (size_t i = t->n; i-- > 0;) {
		_cleanup_(freep) char *path = path_join(dir, t->nodes[i].path);

		if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
			return err_set(err, -errno, "set the time of %s", path);
	}
	if (utimensat(AT_FDCWD, dir, times, 0) < 0)
		return err_set(err, -errno, "set the time of %s", dir);
	return 0;
}

void tree_fini(struct tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->nodes[i].path);
		free(t->nodes[i].data);
	}
	free(t->nodes);
	*t = (struct tree){0};
}
