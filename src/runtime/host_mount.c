/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/host_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/path.h"
#include "kernel/ns.h"
#include "runtime/blocking.h"
#include "runtime/host_mount_child.h"

/*
 * How it works: a bind mount is made with the new mount calls: open_tree(2) clones it, detached,
 * mount_setattr(2) makes the clone private, read-only where it is to be, without devices and set-id
 * programs, and move_mount(2) puts it in place. So there is no moment at which it is there but not
 * yet read-only, and the copies that propagate to virtiofsd's namespace are read-only as well: a
 * later remount would not reach them. The same goes for the mapping of ids that a container in a
 * user namespace needs: virtiofsd passes numbers on as they are, so that the guest's kernel has
 * nothing to do for it.
 *
 * The clone is made where the source is, in the mount namespace of whoever has started us: not all
 * that is mounted there later propagates to ours. A detached clone can be attached anywhere.
 */

#define UNDO_TIMEOUT (2 * USEC_PER_SEC)

/* -1: our own. Like that one, it is the process's, not a sandbox's. */
static int sources_in = -1;

static char **strings_copy(char **strings)
{
	struct strv copy = {0};

	for (; strings && *strings; strings++)
		strv_add(&copy, *strings);
	return copy.v;
}

static void strings_free(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

void host_mounts_add(struct host_mounts *m, const struct host_mount *entry)
{
	struct host_mount *copy;

	m->v = xreallocarray(m->v, m->n + 1, sizeof(*m->v));
	copy = &m->v[m->n++];
	*copy = *entry;
	copy->type = xstrdup(entry->type);
	copy->source = xstrdup(entry->source);
	copy->target = xstrdup(entry->target);
	copy->root = entry->root ? xstrdup(entry->root) : NULL;
	copy->options = strings_copy(entry->options);
	copy->folders = strings_copy(entry->folders);
	copy->idmap = ns_maps_copy(&entry->idmap);
	if (copy->users) {
		copy->users->n++;
		copy->others = copy->users->mounted;
	}
}

/* One list less; the others keep the mount. */
static void drop_users(struct host_mount *m)
{
	struct mount_users *users = TAKE_PTR(m->users);

	if (!users || --users->n)
		return;
	list_remove(&users->link);
	users->free(users);
}

void host_mounts_fini(struct host_mounts *m)
{
	for (size_t i = 0; i < m->n; i++) {
		drop_users(&m->v[i]);
		free(m->v[i].type);
		free(m->v[i].source);
		free(m->v[i].target);
		free(m->v[i].root);
		strings_free(m->v[i].options);
		strings_free(m->v[i].folders);
		ns_maps_fini(&m->v[i].idmap);
	}
	free(m->v);
	*m = (struct host_mounts){0};
}

void host_mounts_sources_in(int mount_namespace)
{
	sources_in = mount_namespace;
}

/* --- in the child --- */

int host_mounts_enter_sources(void)
{
	return sources_in >= 0 && setns(sources_in, CLONE_NEWNS) < 0 ? -errno : 0;
}

static int make_target(const struct host_mount *m, bool is_dir)
{
	_cleanup_(freep) char *parent = path_dir(m->target);
	int r, fd;

	r = fs_mkdir_all(is_dir ? m->target : parent, 0755);
	if (r < 0 || is_dir)
		return r;
	fd = open(m->target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int restrict_clone(int tree, const struct host_mount *m)
{
	unsigned int recursive = m->flags & MS_REC ? AT_RECURSIVE : 0;
	/* The guest's kernel opens its device nodes itself; through our mounts nobody can, whatever
	 * the guest asks virtiofsd for. */
	struct mount_attr common = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
		.propagation = m->flags & (MS_SLAVE | MS_SHARED) ? MS_SLAVE : MS_PRIVATE,
	};
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

	if (mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &common, sizeof(common)) < 0)
		return -errno;
	if (!(m->flags & MS_RDONLY))
		return 0;
	if (!m->recursive_read_only)
		recursive = 0;
	return mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &read_only, sizeof(read_only)) < 0
		       ? -errno
		       : 0;
}

static int map_ids(int tree, const struct host_mount *m, struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int user = -1;

	snprintf(outcome->step, sizeof(outcome->step), "make a user namespace");
	user = ns_open_new_user(&m->idmap);
	return user < 0 ? user
			: host_mount_idmap(tree, user, m->recursive_idmap, m->source, outcome);
}

static int bind(const struct host_mount *m, struct host_mount_kernels *kernels,
		struct host_mount_outcome *outcome)
{
	_cleanup_(closep) int tree = -1;
	struct stat st;
	int r;

	snprintf(outcome->step, sizeof(outcome->step), "open");
	tree = host_mount_clone(m, kernels, outcome);
	if (tree < 0)
		return tree;
	if (fstat(tree, &st) < 0)
		return -errno;
	snprintf(outcome->step, sizeof(outcome->step), "restrict");
	r = restrict_clone(tree, m);
	if (r >= 0 && m->idmap.n_uids)
		r = map_ids(tree, m, outcome);
	if (r < 0)
		return r;
	if (m->make_target) {
		snprintf(outcome->step, sizeof(outcome->step), "make the mount point");
		r = make_target(m, S_ISDIR(st.st_mode));
		if (r < 0)
			return r;
	}
	snprintf(outcome->step, sizeof(outcome->step), "attach");
	return move_mount(tree, "", AT_FDCWD, m->target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Whether the source of entry i was mounted by one before it. */
static bool is_made_here(const struct host_mounts *m, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		const char *rest = str_skip_prefix(m->v[i].source, m->v[k].target);

		/* Those with a root of their own lie below one that has none. */
		if (!m->v[k].root && rest && (!*rest || *rest == '/'))
			return true;
	}
	return false;
}

static int mount_one(struct host_mount *m, struct host_mount_kernels *kernels,
		     struct host_mount_outcome *outcome)
{
	int r;

	if (m->others)
		return 0;
	if (!m->type)
		return bind(m, kernels, outcome);
	if (m->make_target) {
		snprintf(outcome->step, sizeof(outcome->step), "make the mount point");
		r = make_target(m, true);
		if (r < 0)
			return r;
	}
	for (char **folder = m->folders; folder && *folder; folder++) {
		snprintf(outcome->step, sizeof(outcome->step), "make the folders of it");
		r = fs_mkdir_all(*folder, 0755);
		if (r < 0)
			return r;
	}
	snprintf(outcome->step, sizeof(outcome->step), "mount");
	return host_mount_typed(m, outcome);
}

/* The folder that was made for it alone goes as well; one that others use is not empty. */
static void remove_target(const char *target)
{
	_cleanup_(freep) char *parent = path_dir(target);

	if (rmdir(target) < 0 && errno == ENOTDIR)
		unlink(target);
	rmdir(parent);
}

static void umount_one(const struct host_mount *m)
{
	if (m->others)
		return;
	if (m->root) {
		host_mount_umount_in_root(m);
		return;
	}
	umount2(m->target, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (m->make_target)
		remove_target(m->target);
}

static void kernels_fini(struct host_mount_kernels *kernels)
{
	strv_fini(&kernels->points);
}

static int apply_in_child(void *arg, void *reply)
{
	_cleanup_(kernels_fini) struct host_mount_kernels kernels = {0};
	struct host_mount_outcome *outcome = reply;
	struct host_mounts *m = arg;

	for (size_t i = m->n_done; i < m->n; i++) {
		int r = mount_one(&m->v[i], is_made_here(m, i) ? NULL : &kernels, outcome);

		if (r < 0) {
			outcome->n_done = i;
			if (m->v[i].make_target && !m->v[i].others)
				remove_target(m->v[i].target);
			while (i-- > m->n_done)
				umount_one(&m->v[i]);
			return r;
		}
	}
	outcome->n_done = m->n;
	return 0;
}

static bool is_done(const struct host_mounts *m, size_t i)
{
	return i < m->n_done || (m->v[i].users && m->v[i].users->mounted);
}

static int undo_in_child(void *arg, void *reply)
{
	struct host_mounts *m = arg;

	(void)reply;
	for (size_t i = m->n; i-- > 0;)
		if (is_done(m, i))
			umount_one(&m->v[i]);
	return 0;
}

/* --- */

static int explain(const struct host_mount *bad, const struct host_mount_outcome *outcome, int r,
		   struct err *err)
{
	if (*outcome->kernel_fs)
		return err_setx(err, -EPERM,
				"mount %s: it is %s of the host's kernel, which no guest is shown; "
				"/proc, /sys and /dev stand for the guest's own",
				bad->source, outcome->kernel_fs);
	if (*outcome->fstype)
		return err_setx(err, -ENOTSUP,
				"mount %s (%s) on %s: %s of this kernel cannot show files with "
				"other owners (idmapped mounts): put them on another file system, "
				"or run without a user namespace (hostUsers: true)",
				bad->source, bad->type ? bad->type : "bind", bad->target,
				outcome->fstype);
	return err_set(err, r, "mount %s (%s) on %s: %s", bad->source,
		       bad->type ? bad->type : "bind", bad->target, outcome->step);
}

static int apply(struct host_mounts *m, uint64_t deadline, struct err *err)
{
	struct host_mount_outcome outcome = {0};
	const struct host_mount *bad;
	int r;

	if (m->n > HOST_MOUNT_MAX)
		return err_setx(err, -E2BIG, "more than %d mounts", HOST_MOUNT_MAX);
	if (m->n_done == m->n)
		return 0;
	r = blocking_run(apply_in_child, m, &outcome, sizeof(outcome), deadline);
	if (r >= 0) {
		m->n_done = m->n;
		for (size_t i = 0; i < m->n; i++)
			if (m->v[i].users)
				m->v[i].users->mounted = true;
		return 0;
	}
	bad = &m->v[MIN(outcome.n_done, m->n - 1)];
	/* A child that was killed may have left any of them. */
	if (r == -ETIMEDOUT || r == -EIO) {
		size_t before = m->n_done;

		m->n_done = m->n;
		blocking_run(undo_in_child, m, NULL, 0, clock_after(UNDO_TIMEOUT));
		m->n_done = before;
	}
	return explain(bad, &outcome, r, err);
}

int host_mounts_apply(struct host_mounts *m, uint64_t deadline, struct err *err)
{
	struct host_mounts own = *m;
	int r;

	*m = (struct host_mounts){0};
	r = apply(&own, deadline, err);
	*m = own;
	return r;
}

/* Before anybody waits: who is the last one, and that nobody joins any more. */
static bool claim(struct host_mounts *m)
{
	bool any = false;

	for (size_t i = 0; i < m->n; i++) {
		struct host_mount *entry = &m->v[i];

		entry->others = entry->users && entry->users->n > 1;
		if (entry->others)
			drop_users(entry);
		else if (entry->users)
			list_remove(&entry->users->link);
		any |= !entry->others && is_done(m, i);
	}
	return any;
}

void host_mounts_undo(struct host_mounts *m)
{
	struct host_mounts own = *m;

	*m = (struct host_mounts){0};
	if (claim(&own))
		blocking_run(undo_in_child, &own, NULL, 0, clock_after(UNDO_TIMEOUT));
	host_mounts_fini(&own);
}
