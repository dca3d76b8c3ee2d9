/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/init/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "agent/init/mount_spec.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: a mount is first made detached (fsmount, or open_tree for a bind), gets its
 * attributes there, and then moves to its place. The place is a descriptor found by openat2 below
 * the container's root: no path is resolved twice, and no symbolic link of the image leads out.
 * Needs mount_setattr(2), Linux 5.12.
 */

#define TMPFS_FALLBACK_MODE 0755U
#define FSCONFIG_VALUE_MAX  256U
#define LINKS_MAX           40U /* as the kernel's */

/* What lxcfs and the like may replace below /proc. */
static const char *const proc_allowed[] = {
	"/proc/cpuinfo",
	"/proc/diskstats",
	"/proc/meminfo",
	"/proc/stat",
	"/proc/swaps",
	"/proc/uptime",
	"/proc/loadavg",
	"/proc/slabinfo",
	"/proc/net/dev",
	"/proc/sys/kernel/ns_last_pid",
	"/proc/sys/crypto/fips_enabled",
};

int mounts_check_proc(int fd, const char *path, struct err *err)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return err_set(err, -errno, "statfs %s", path);
	if (fs.f_type != PROC_SUPER_MAGIC)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(proc_allowed); i++)
		if (streq(path, proc_allowed[i]))
			return 0;
	return err_setx(err, -EPERM, "%s is inside /proc", path);
}

static void truncate_to(struct buf *b, size_t n)
{
	b->len = n;
	if (b->data)
		b->data[n] = '\0';
}

/* One step of resolve(): the next component of `rest` onto `at`. Returns 1 for a link, whose target
 * is then in front of *rest. */
static int step(int root, struct buf *at, char **rest)
{
	char *name = *rest + strspn(*rest, "/"), target[PATH_MAX];
	size_t n = strcspn(name, "/");
	_cleanup_(freep) char *component = xstrndup(name, n);
	_cleanup_(closep) int parent = path_open_in_root(root, at->len ? at->data : "/", O_PATH, 0);
	ssize_t length = -1;
	char *joined;

	if (streq(component, "..")) {
		char *slash = at->len ? strrchr(at->data, '/') : NULL;

		if (slash)
			truncate_to(at, (size_t)(slash - at->data));
	} else if (n && !streq(component, ".")) {
		if (parent >= 0)
			length = readlinkat(parent, component, target, sizeof(target) - 1);
		if (length < 0)
			buf_addf(at, "/%s", component);
	}
	joined = xasprintf("%.*s%s", (int)MAX(length, 0), target, name + n);
	if (length > 0 && *target == '/')
		truncate_to(at, 0);
	free(*rest);
	*rest = joined;
	return length >= 0;
}

/*
 * The path without symbolic links, of which the last may dangle (an image's /etc/resolv.conf often
 * points to a file below /run that only exists while it runs). What is missing is taken as it is.
 * The caller frees; NULL: too many links. The result is only a path again: what is made there is
 * resolved below the root once more.
 */
static char *resolve(int root, const char *path)
{
	_cleanup_(freep) char *rest = xstrdup(path);
	struct buf at = {0};
	unsigned int links = 0;

	while (*rest && links <= LINKS_MAX)
		links += step(root, &at, &rest) == 1;
	if (!*rest)
		return buf_take(&at);
	buf_fini(&at);
	return NULL;
}

static int make_file(int root, const char *path)
{
	_cleanup_(freep) char *dir = path_dir(path);
	_cleanup_(closep) int parent = path_mkdir_in_root(root, dir, 0755);
	int fd;

	if (parent < 0)
		return parent;
	fd = path_open_in_root(root, path, O_RDONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0644);
	if (fd < 0)
		return fd;
	close(fd);
	return path_open_in_root(root, path, O_PATH, 0);
}

static int make_place(int root, const char *path, bool folder)
{
	_cleanup_(freep) char *real = resolve(root, path);

	if (!real)
		return -ELOOP;
	return folder ? path_mkdir_in_root(root, real, 0755) : make_file(root, real);
}

int mounts_place(int root, const char *path, bool folder, bool *ret_made, struct err *err)
{
	_cleanup_(closep) int fd = path_open_in_root(root, path, O_PATH, 0);
	bool made = false;
	struct stat st;

	if (fd == -ENOENT) {
		fd = make_place(root, path, folder);
		made = true;
	}
	if (fd < 0)
		return err_set(err, fd, "mount point %s", path);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "mount point %s", path);
	if (S_ISDIR(st.st_mode) != folder)
		return err_setx(err, folder ? -ENOTDIR : -EISDIR,
				"mount point %s is %sa folder, what is mounted is %sone", path,
				folder ? "not " : "", folder ? "" : "not ");
	if (ret_made)
		*ret_made = made;
	return TAKE_FD(fd);
}

/*
 * Where the kernel shows itself (proc, sysfs) must be a folder of the image's own: with a link into
 * a volume, another container could move what is mounted there away before its files are masked.
 */
static int plain_place(int root, const char *path, struct err *err)
{
	int fd = path_open_in_root(root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd == -ENOENT)
		return mounts_place(root, path, true, NULL, err);
	return fd < 0 ? err_set(err, fd, "mount point %s, which may not be a link,", path) : fd;
}

static int attach(int tree, int place, struct err *err)
{
	if (move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set(err, -errno, "attach");
	return 0;
}

static int set_attributes(int tree, unsigned int flags, uint64_t set, uint64_t clear,
			  uint64_t propagation, struct err *err)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};

	if (!set && !clear && !propagation)
		return 0;
	if (mount_setattr(tree, "", flags | AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, -errno, "set mount attributes");
	return 0;
}

static int apply_attributes(int tree, const struct mount_spec *o, struct err *err)
{
	int r = set_attributes(tree, 0, o->attr_set, o->attr_clear, 0, err);

	if (r == 0)
		r = set_attributes(tree, AT_RECURSIVE, o->recursive_set, o->recursive_clear, 0,
				   err);
	if (r == 0)
		r = set_attributes(tree, o->propagation_recursive ? AT_RECURSIVE : 0, 0, 0,
				   o->propagation, err);
	return r;
}

/* --- binds --- */

static int add_bind(int root, const Grpc__Mount *m, const struct mount_spec *o, struct err *err)
{
	unsigned int recursive = o->recursive || !o->bind ? AT_RECURSIVE : 0;
	_cleanup_(closep) int tree = open_tree(AT_FDCWD, m->source,
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
	_cleanup_(closep) int place = -1;
	struct stat st;
	int r;

	if (tree < 0)
		return err_set(err, -errno, "source %s", m->source);
	if (fstat(tree, &st) < 0)
		return err_set(err, -errno, "stat %s", m->source);
	place = mounts_place(root, m->destination, S_ISDIR(st.st_mode), NULL, err);
	if (place < 0)
		return place;
	r = mounts_check_proc(place, m->destination, err);
	if (r == 0)
		r = apply_attributes(tree, o, err);
	return r < 0 ? r : attach(tree, place, err);
}

/* --- file systems --- */

/* The kernel's own explanation, which it keeps in the context. */
static int fs_error(int fs, int r, const char *what, struct err *err)
{
	char text[256];
	ssize_t n = read(fs, text, sizeof(text) - 1);

	if (n <= 0)
		return err_set(err, r, "%s", what);
	text[n] = '\0';
	str_chomp(text);
	return err_set(err, r, "%s (%s)", what, text);
}

static int configure(int fs, const Grpc__Mount *m, const struct mount_spec *o, struct err *err)
{
	if (!str_empty(m->source) && fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0) < 0)
		return fs_error(fs, -errno, m->source, err);
	for (size_t i = 0; i < o->superblock.n; i++)
		if (fsconfig(fs, FSCONFIG_SET_FLAG, o->superblock.v[i], NULL, 0) < 0)
			return fs_error(fs, -errno, o->superblock.v[i], err);
	for (size_t i = 0; i < o->data.n; i++) {
		_cleanup_(freep) char *key = xstrdup(o->data.v[i]);
		char *value = strchr(key, '=');
		int r;

		if (value)
			*value++ = '\0';
		if (value && strlen(value) >= FSCONFIG_VALUE_MAX)
			return err_setx(err, -ENAMETOOLONG,
					"the value of option %s is longer than fsconfig(2) takes",
					key);
		r = value ? fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0)
			  : fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
		if (r < 0)
			return fs_error(fs, -errno, o->data.v[i], err);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_error(fs, -errno, m->type, err);
	return 0;
}

/* A new mount of the type, detached. */
static int make_mount(const char *type, const Grpc__Mount *m, const struct mount_spec *o,
		      struct err *err)
{
	_cleanup_(closep) int fs = fsopen(type, FSOPEN_CLOEXEC);
	int tree, r;

	if (fs < 0)
		return err_set(err, -errno, "file system type %s", type);
	r = configure(fs, m, o, err);
	if (r < 0)
		return r;
	/* The attributes come afterwards: content may be copied in first. */
	tree = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return tree < 0 ? fs_error(fs, -errno, "mount", err) : tree;
}

static bool has_mode(const struct mount_spec *o)
{
	for (size_t i = 0; i < o->data.n; i++)
		if (str_has_prefix(o->data.v[i], "mode="))
			return true;
	return false;
}

/* tmpfs over a folder of the image: with its mode unless one is given, and its content on request.
 */
static int fill_tmpfs(int tree, int place, bool made, const struct mount_spec *o, struct err *err)
{
	struct stat st;

	if (!has_mode(o)) {
		if (fstat(place, &st) < 0)
			return err_set(err, -errno, "stat mount point");
		if (fchmodat(tree, ".", made ? TMPFS_FALLBACK_MODE : st.st_mode & 07777U, 0) < 0)
			return err_set(err, -errno, "set mode");
	}
	return o->tmpcopyup && !made ? copyup(place, tree, err) : 0;
}

/*
 * What a user namespace may only mount when it owns what the file system shows: a cgroup namespace,
 * the network namespace. Without one it gets a bind of what the agent sees.
 */
static int make_or_bind(const char *type, const char *path, const Grpc__Mount *m,
			const struct mount_spec *o, struct err *err)
{
	int tree = make_mount(type, m, o, err);

	if (tree != -EPERM && tree != -EBUSY)
		return tree;
	err_clear(err);
	tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	return tree < 0 ? err_set(err, -errno, "bind %s", path) : tree;
}

static int make_filesystem(const Grpc__Mount *m, const struct mount_spec *o, struct err *err)
{
	static const struct mount_spec none;

	if (streq(m->type, "cgroup") || streq(m->type, "cgroup2"))
		return make_or_bind("cgroup2", "/sys/fs/cgroup", m, &none, err);
	if (streq(m->type, "sysfs"))
		return make_or_bind("sysfs", "/sys", m, o, err);
	return make_mount(m->type, m, o, err);
}

static int add_filesystem(int root, const Grpc__Mount *m, const struct mount_spec *o,
			  struct err *err)
{
	bool is_proc = streq(m->type, "proc"), made = false;
	bool plain = is_proc || streq(m->type, "sysfs");
	_cleanup_(closep) int tree = -1;
	_cleanup_(closep) int place = plain ? plain_place(root, m->destination, err)
					    : mounts_place(root, m->destination, true, &made, err);
	int r = 0;

	if (place < 0)
		return place;
	if (!is_proc)
		r = mounts_check_proc(place, m->destination, err);
	if (r < 0)
		return r;
	tree = make_filesystem(m, o, err);
	if (tree < 0)
		return tree;
	if (streq(m->type, "tmpfs"))
		r = fill_tmpfs(tree, place, made, o, err);
	if (r == 0)
		r = apply_attributes(tree, o, err);
	return r < 0 ? r : attach(tree, place, err);
}

/* Other attributes for what is mounted there already. */
static int remount(int root, const Grpc__Mount *m, const struct mount_spec *o, struct err *err)
{
	_cleanup_(closep) int place = path_open_in_root(root, m->destination, O_PATH, 0);

	if (place < 0)
		return err_set(err, place, "mount point %s", m->destination);
	return apply_attributes(place, o, err);
}

int mounts_add(int root, const Grpc__Mount *m, struct err *err)
{
	_cleanup_(mount_spec_fini) struct mount_spec o = {0};
	int r;

	if (strlen(m->destination) >= PATH_MAX)
		return err_setx(err, -ENAMETOOLONG, "the destination is too long");
	if (*m->destination != '/')
		return err_setx(err, -EINVAL, "the destination is not an absolute path");
	if (m->n_uidmappings || m->n_gidmappings)
		return err_setx(err, -ENOTSUP, "ids are mapped by the host, not by the guest");
	r = mount_spec_parse(&o, m->options, m->n_options, err);
	if (r < 0)
		return r;
	if (o.remount)
		return remount(root, m, &o, err);
	if (o.bind || streq(m->type, "bind"))
		return add_bind(root, m, &o, err);
	return add_filesystem(root, m, &o, err);
}
