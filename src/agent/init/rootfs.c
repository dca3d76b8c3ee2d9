/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/init/init.h"
#include "agent/init/mounts.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: the child has a mount namespace of its own, a copy of the agent's. Propagation is
 * cut so that nothing goes back (or not cut, when the specification asks for a shared root), the
 * root file system is bound onto itself to be a mount, everything is mounted below it, and
 * pivot_root(2) with "." twice makes it the root and stacks the old one on top, from where it is
 * detached.
 */

static const struct {
	const char *name;
	unsigned long flags;
} propagations[] = {
	{"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
	{"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
	{"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
	{"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

/* The flags of the specification's word; 0: none given. -EINVAL (as long) has no meaning as flags,
 * so the error goes through r. */
static int parse_propagation(const Grpc__Spec *spec, unsigned long *ret, struct err *err)
{
	const char *name = spec->linux ? spec->linux->rootfspropagation : "";

	*ret = 0;
	if (str_empty(name))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
		if (streq(propagations[i].name, name)) {
			*ret = propagations[i].flags;
			return 0;
		}
	return err_setx(err, -EINVAL, "rootfsPropagation \"%s\" is not known", name);
}

/*
 * Where the root file system is mounted until it becomes the root. Mounting on a shared mount would
 * show in the agent's namespace too, and pivot_root(2) refuses one as the parent. With everything
 * slave any place will do; with a shared root, the mount of /proc is taken out of its peer group:
 * no volume is on it.
 */
static const char *choose_place(const Grpc__Spec *spec, bool shared, struct err *err)
{
	if (!shared)
		return spec->root->path;
	if (mount(NULL, "/proc", NULL, MS_PRIVATE, NULL) == 0)
		return "/proc";
	err_set(err, -errno, "make the agent's /proc private");
	return NULL;
}

/* The root file system as a mount of its own. Returns an fd of its root. */
static int bind_root(const Grpc__Spec *spec, bool shared, struct err *err)
{
	const char *path = spec->root->path, *place = choose_place(spec, shared, err);
	_cleanup_(closep) int tree = open_tree(AT_FDCWD, path,
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	struct mount_attr attr = {.propagation = MS_PRIVATE};

	if (!place)
		return -EINVAL;
	if (tree < 0)
		return err_set(err, -errno, "root file system %s", path);
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, -errno, "make the root file system's mount private");
	if (move_mount(tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, -errno, "mount the root file system %s", path);
	return TAKE_FD(tree);
}

static int pivot(int root, struct err *err)
{
	_cleanup_(closep) int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (old < 0 || fchdir(root) < 0)
		return err_set(err, -errno, "enter the root file system");
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_set(err, -errno, "pivot_root");
	/* The old root lies on top now. When it goes it must not take the agent's mounts along. */
	if (fchdir(old) < 0)
		return err_set(err, -errno, "enter the old root");
	if (mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0 || umount2(".", MNT_DETACH) < 0)
		return err_set(err, -errno, "detach the old root");
	if (chdir("/") < 0)
		return err_set(err, -errno, "enter the new root");
	return 0;
}

int rootfs_enter(const struct stage_plan *plan, struct err *err)
{
	const Grpc__Spec *spec = plan->spec;
	_cleanup_(closep) int root = -1;
	unsigned long flags;
	int r = parse_propagation(spec, &flags, err);

	if (r < 0)
		return r;
	/* Only a shared root may send mounts back to the agent: its copy stays as it is. */
	if (!(flags & MS_SHARED) && mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_set(err, -errno, "cut the propagation of mounts");
	root = bind_root(spec, flags & MS_SHARED, err);
	if (root < 0)
		return root;
	for (size_t i = 0; i < spec->n_mounts; i++) {
		r = mounts_add(root, spec->mounts[i], err);
		if (r < 0)
			return err_wrap(err, r, "mount %.255s", spec->mounts[i]->destination);
	}
	r = devices_create(root, plan->id, spec, plan->in_user_namespace, err);
	if (r < 0)
		return r;
	r = masks_apply(root, spec, err);
	if (r == 0)
		r = inner_hooks_run(plan, HOOK_CREATE_CONTAINER, err);
	return r < 0 ? r : pivot(root, err);
}

int rootfs_finish(const Grpc__Spec *spec, struct err *err)
{
	unsigned long flags;
	int r = parse_propagation(spec, &flags, err);

	if (r < 0)
		return r;
	if (spec->root->readonly) {
		struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};

		if (mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) < 0)
			return err_set(err, -errno, "make the root file system read-only");
	}
	if (flags & (MS_SHARED | MS_UNBINDABLE) && mount(NULL, "/", NULL, flags, NULL) < 0)
		return err_set(err, -errno, "set the propagation of the root file system");
	return 0;
}
