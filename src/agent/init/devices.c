/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "agent/init/mounts.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"

/*
 * Device nodes. What is asked for is made in the container's /dev, which is a tmpfs of its own; a
 * /dev that the runtime has bound in (a privileged container) is left alone. A user namespace may
 * not make nodes: the guest's are bound there, and those that are asked for are made by the agent,
 * in a folder of its /dev, for as long as it takes to bind them.
 */

#define PROVIDED_DIR "/dev/.provided"

struct node {
	const char *path;
	mode_t type, mode;
	unsigned int major, minor;
	uid_t uid;
	gid_t gid;
};

static const struct node defaults[] = {
	{"/dev/null", S_IFCHR, 0666, 1, 3, 0, 0},    {"/dev/zero", S_IFCHR, 0666, 1, 5, 0, 0},
	{"/dev/full", S_IFCHR, 0666, 1, 7, 0, 0},    {"/dev/random", S_IFCHR, 0666, 1, 8, 0, 0},
	{"/dev/urandom", S_IFCHR, 0666, 1, 9, 0, 0}, {"/dev/tty", S_IFCHR, 0666, 5, 0, 0, 0},
};

static const struct {
	const char *path, *target;
} links[] = {
	{"dev/fd", "/proc/self/fd"},       {"dev/stdin", "/proc/self/fd/0"},
	{"dev/stdout", "/proc/self/fd/1"}, {"dev/stderr", "/proc/self/fd/2"},
	{"dev/ptmx", "pts/ptmx"},
};

static int bind_node(int root, const char *source, const struct node *node, struct err *err)
{
	_cleanup_(closep) int tree = open_tree(AT_FDCWD, source,
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	_cleanup_(closep) int place = -1;
	struct stat st;

	if (tree < 0 || fstat(tree, &st) < 0)
		return err_set(err, -errno, "guest's %s", source);
	if ((st.st_mode & S_IFMT) != node->type || st.st_rdev != makedev(node->major, node->minor))
		return err_setx(err, -ENOTSUP, "guest's %s is another device", source);
	place = mounts_place(root, node->path, false, NULL, err);
	if (place < 0)
		return place;
	if (move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set(err, -errno, "bind %s", node->path);
	return 0;
}

/* The node at `name` of the folder: an O_PATH descriptor, and what it is. No link is followed. */
static int open_node(int parent, const char *name, const struct node *node, dev_t rdev,
		     struct stat *ret, struct err *err)
{
	_cleanup_(closep) int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, ret) < 0)
		return err_set(err, -errno, "device %s", node->path);
	if ((ret->st_mode & S_IFMT) != node->type || ret->st_rdev != rdev)
		return err_setx(err, -EEXIST, "device %s: something else is there", node->path);
	return TAKE_FD(fd);
}

/*
 * The folder may be in a volume, where other containers can put a link in the node's place at any
 * time. So nothing is changed by its name: a new node is born with its mode, and one that was there
 * with another is replaced.
 */
static int make_node(int root, const struct node *node, struct err *err)
{
	_cleanup_(freep) char *dir = path_dir(node->path);
	const char *name = path_name(node->path);
	_cleanup_(closep) int parent = path_mkdir_in_root(root, dir, 0755);
	_cleanup_(closep) int fd = -1;
	dev_t rdev = node->type == S_IFIFO ? 0 : makedev(node->major, node->minor);
	struct stat st = {0};
	int r;

	if (parent < 0)
		return err_set(err, parent, "device %s", node->path);
	r = mknodat(parent, name, node->type | node->mode, rdev);
	if (r < 0 && errno == EEXIST) {
		fd = open_node(parent, name, node, rdev, &st, err);
		if (fd < 0)
			return fd;
		if ((st.st_mode & 07777U) == node->mode && st.st_uid == node->uid &&
		    st.st_gid == node->gid)
			return 0;
		fd = fd_close(fd);
		r = unlinkat(parent, name, 0);
		if (r == 0)
			r = mknodat(parent, name, node->type | node->mode, rdev);
	}
	if (r < 0)
		return err_set(err, -errno, "device %s", node->path);
	fd = open_node(parent, name, node, rdev, &st, err);
	if (fd < 0)
		return fd;
	if (fchownat(fd, "", node->uid, node->gid, AT_EMPTY_PATH) < 0)
		return err_set(err, -errno, "owner of device %s", node->path);
	return 0;
}

static int parse_node(const Grpc__LinuxDevice *d, struct node *ret, struct err *err)
{
	*ret = (struct node){
		.path = d->path,
		.mode = d->filemode ? d->filemode & 07777U : 0666,
		.major = (unsigned int)d->major,
		.minor = (unsigned int)d->minor,
		.uid = d->uid,
		.gid = d->gid,
	};
	if (streq(d->type, "c") || streq(d->type, "u"))
		ret->type = S_IFCHR;
	else if (streq(d->type, "b"))
		ret->type = S_IFBLK;
	else if (streq(d->type, "p"))
		ret->type = S_IFIFO;
	else
		return err_setx(err, -EINVAL, "device %s has no type \"%s\"", d->path, d->type);
	if (*d->path != '/' || str_has_suffix(d->path, "/") || d->major < 0 || d->minor < 0 ||
	    d->major > UINT32_MAX || d->minor > UINT32_MAX)
		return err_setx(err, -EINVAL, "device \"%s\" is not valid", d->path);
	return 0;
}

static int make_links(int root, struct err *err)
{
	_cleanup_(closep) int dev = path_mkdir_in_root(root, "/dev", 0755);
	_cleanup_(closep) int core = path_open_in_root(root, "/proc/kcore", O_PATH, 0);

	if (dev < 0)
		return err_set(err, dev, "/dev");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		const char *name = links[i].path + strlen("dev/");

		if (symlinkat(links[i].target, dev, name) < 0 && errno != EEXIST)
			return err_set(err, -errno, "link /%s", links[i].path);
	}
	if (core >= 0 && symlinkat("/proc/kcore", dev, "core") < 0 && errno != EEXIST)
		return err_set(err, -errno, "link /dev/core");
	return 0;
}

static bool is_bind(const Grpc__Mount *m)
{
	for (size_t i = 0; i < m->n_options; i++)
		if (streq(m->options[i], "bind") || streq(m->options[i], "rbind"))
			return true;
	return streq(m->type, "bind");
}

static bool dev_is_bound(const Grpc__Spec *spec)
{
	for (size_t i = 0; i < spec->n_mounts; i++)
		if (streq(spec->mounts[i]->destination, "/dev") && is_bind(spec->mounts[i]))
			return true;
	return false;
}

/* Spec devices come first: a default does not replace one with the same path. */
static bool is_in_spec(const Grpc__Spec *spec, const char *path)
{
	for (size_t i = 0; spec->linux && i < spec->linux->n_devices; i++)
		if (streq(spec->linux->devices[i]->path, path))
			return true;
	return false;
}

static char *provided_path(const char *id, size_t i)
{
	return xasprintf(PROVIDED_DIR "/%s/%zu", id, i);
}

static int provide(const struct node *node, const char *path, const struct ns_maps *maps,
		   struct err *err)
{
	if (mknod(path, node->type, makedev(node->major, node->minor)) < 0 ||
	    chmod(path, node->mode) < 0 ||
	    lchown(path, ns_map_id(maps->uids, maps->n_uids, node->uid),
		   ns_map_id(maps->gids, maps->n_gids, node->gid)) < 0)
		return err_set(err, -errno, "device %s for a user namespace", node->path);
	return 0;
}

int devices_provide(const char *id, const Grpc__Spec *spec, const struct ns_maps *maps,
		    struct err *err)
{
	_cleanup_(freep) char *dir = path_join(PROVIDED_DIR, id);
	int r;

	if (dev_is_bound(spec) || !spec->linux || !spec->linux->n_devices)
		return 0;
	r = fs_mkdir_all(dir, 0711);
	if (r < 0)
		return err_set(err, r, "make %s", dir);
	for (size_t i = 0; i < spec->linux->n_devices && r == 0; i++) {
		_cleanup_(freep) char *path = provided_path(id, i);
		struct node node;

		r = parse_node(spec->linux->devices[i], &node, err);
		if (r == 0 && node.type != S_IFIFO)
			r = provide(&node, path, maps, err);
	}
	return r;
}

void devices_withdraw(const char *id)
{
	_cleanup_(freep) char *dir = path_join(PROVIDED_DIR, id);

	(void)fs_remove_all(dir);
	(void)rmdir(PROVIDED_DIR);
}

static int make_nodes(int root, const char *id, const Grpc__Spec *spec, bool user_namespace,
		      struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		int r;

		if (is_in_spec(spec, defaults[i].path))
			continue;
		r = user_namespace ? bind_node(root, defaults[i].path, &defaults[i], err)
				   : make_node(root, &defaults[i], err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; spec->linux && i < spec->linux->n_devices; i++) {
		_cleanup_(freep) char *provided = provided_path(id, i);
		struct node node;
		int r = parse_node(spec->linux->devices[i], &node, err);

		if (r == 0)
			r = user_namespace && node.type != S_IFIFO
				    ? bind_node(root, provided, &node, err)
				    : make_node(root, &node, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int devices_create(int root, const char *id, const Grpc__Spec *spec, bool user_namespace,
		   struct err *err)
{
	mode_t mask;
	int r;

	if (dev_is_bound(spec))
		return 0;
	mask = umask(0);
	r = make_nodes(root, id, spec, user_namespace, err);
	umask(mask);
	return r < 0 ? r : make_links(root, err);
}
