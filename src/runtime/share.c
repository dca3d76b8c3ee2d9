/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/share.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/path.h"
#include "kernel/mount.h"
#include "runtime/blocking.h"

#define CLOSE_TIMEOUT (3 * USEC_PER_SEC)
#define CLOSE_TRIES   3

struct outcome {
	char step[128];
};

/* A volume that the guest sees. */
struct volume {
	struct mount_users users;
	struct host_file source;
	struct host_mount bind; /* how it is mounted: its source, flags and mapping */
	char name[NAME_MAX + 1];
};

static const struct {
	const char *tag, *guest_dir;
	const char *folder; /* below the share's; NULL: that itself */
} kinds[] = {
	[SHARE_VOLUMES] = {"kataShared", "/run/kata-containers/shared/containers", NULL},
	[SHARE_ROOTS] = {"kataRootfs", "/run/kata-containers/shared/rootfs", "rootfs"},
};

void share_init(struct share *share, const char *id, size_t n_views)
{
	*share = (struct share){.dir = path_join(SHARE_ROOT, id), .n_views = n_views};
	list_init(&share->volumes);
	for (size_t i = 0; i < share->n_views; i++) {
		const char *folder = kinds[i].folder;
		_cleanup_(freep) char *dir = folder ? path_join(share->dir, folder)
						    : xstrdup(share->dir);

		share->views[i] = (struct share_view){
			.tag = kinds[i].tag,
			.guest_dir = kinds[i].guest_dir,
			.mounts = path_join(dir, "mounts"),
			.shared = path_join(dir, "shared"),
		};
	}
}

void share_fini(struct share *share)
{
	free(share->dir);
	for (size_t i = 0; i < share->n_views; i++) {
		free(share->views[i].mounts);
		free(share->views[i].shared);
	}
	/* They are their mounts'. */
	while (list_pop(&share->volumes))
		;
	*share = (struct share){0};
}

/* What lies above is root's alone. The folder itself is the top of what the guest sees, where root
 * of a user namespace, who is nobody special there, has to pass too. */
static int make_folder(const char *path, struct outcome *outcome)
{
	int r;

	snprintf(outcome->step, sizeof(outcome->step), "make %s", path);
	r = fs_mkdir_all(path, 0700);
	return r < 0 || chmod(path, 0711) == 0 ? r : -errno;
}

static int do_mount(const char *source, const char *target, unsigned long flags,
		    struct outcome *outcome)
{
	snprintf(outcome->step, sizeof(outcome->step), "mount %s", target);
	return mount(source, target, NULL, flags, NULL) < 0 ? -errno : 0;
}

/*
 * `mounts` becomes a peer group of its own and `shared` its slave: what is mounted in the first
 * appears in the second and in virtiofsd's namespace, nothing comes back.
 */
static int open_view(const struct share_view *view, struct outcome *outcome)
{
	int r;

	r = make_folder(view->mounts, outcome);
	if (r >= 0)
		r = make_folder(view->shared, outcome);
	if (r >= 0)
		r = do_mount(view->mounts, view->mounts, MS_BIND, outcome);
	if (r >= 0)
		r = do_mount(NULL, view->mounts, MS_PRIVATE, outcome);
	if (r >= 0)
		r = do_mount(NULL, view->mounts, MS_SHARED, outcome);
	if (r >= 0)
		r = do_mount(view->mounts, view->shared, MS_BIND, outcome);
	if (r >= 0)
		r = do_mount(NULL, view->shared, MS_SLAVE, outcome);
	if (r >= 0)
		r = do_mount(NULL, view->shared,
			     MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, outcome);
	return r;
}

static int open_in_child(void *arg, void *reply)
{
	const struct share *share = arg;
	int r = 0;

	for (size_t i = 0; i < share->n_views && r >= 0; i++)
		r = open_view(&share->views[i], reply);
	return r;
}

int share_open(struct share *share, uint64_t deadline, struct err *err)
{
	struct outcome outcome = {0};
	int r;

	r = blocking_run(open_in_child, share, &outcome, sizeof(outcome), deadline);
	return r < 0 ? err_set(err, r, "%s", outcome.step) : 0;
}

int share_move(struct share *share, const char *id, struct err *err)
{
	struct share moved;
	int r = 0;

	share_init(&moved, id, share->n_views);
	if (share->n_views &&
	    renameat2(AT_FDCWD, share->dir, AT_FDCWD, moved.dir, RENAME_NOREPLACE) < 0) {
		r = err_set(err, -errno, "rename %s to %s", share->dir, moved.dir);
		share_fini(&moved);
		return r;
	}
	share_fini(share);
	*share = moved;
	list_init(&share->volumes);
	return 0;
}

/* A Create that was under way may still mount something: what it does is the host's, and stays. */
static int close_in_child(void *arg, void *reply)
{
	const struct share *share = arg;
	int r = -EBUSY;

	(void)reply;
	for (int i = 0; i < CLOSE_TRIES && r == -EBUSY; i++) {
		r = mount_umount_below(share->dir);
		if (r < 0)
			return r;
		r = fs_remove_all(share->dir);
	}
	return r == -ENOENT ? 0 : r;
}

int share_close(struct share *share, struct err *err)
{
	int r;

	r = blocking_run(close_in_child, share, NULL, 0, clock_after(CLOSE_TIMEOUT));
	return r < 0 ? err_set(err, r, "remove %s", share->dir) : 0;
}

static char *add(const struct share_view *view, struct host_mounts *m,
		 const struct host_mount *bind, const char *name, struct mount_users *users)
{
	_cleanup_(freep) char *target = path_join(view->mounts, name);
	struct host_mount entry = *bind;

	entry.target = target;
	entry.make_target = true;
	entry.users = users;
	host_mounts_add(m, &entry);
	return path_join(view->guest_dir, name);
}

char *share_add(const struct share *share, enum share_kind kind, struct host_mounts *m,
		const struct host_mount *bind, const char *name)
{
	return add(&share->views[kind < share->n_views ? kind : SHARE_VOLUMES], m, bind, name,
		   NULL);
}

static void volume_free(struct mount_users *users)
{
	struct volume *v = container_of(users, struct volume, users);

	free(v->bind.source);
	ns_maps_fini(&v->bind.idmap);
	free(v);
}

static bool is_same(const struct host_mount *a, const struct host_mount *b)
{
	return streq(a->source, b->source) && a->flags == b->flags &&
	       a->recursive_read_only == b->recursive_read_only &&
	       a->recursive_idmap == b->recursive_idmap && ns_maps_equal(&a->idmap, &b->idmap);
}

/* Of those that are mounted: nobody waits for another's mount. */
static struct volume *find(const struct share *share, const struct host_mount *bind,
			   const struct host_file *source)
{
	for (struct list *l = share->volumes.next; l != &share->volumes; l = l->next) {
		struct volume *v = list_entry(l, struct volume, users.link);

		if (v->users.mounted && host_file_equal(v->source, *source) &&
		    is_same(&v->bind, bind))
			return v;
	}
	return NULL;
}

char *share_add_volume(struct share *share, struct host_mounts *m, const struct host_mount *bind,
		       const struct host_file *source, const char *name)
{
	struct volume *v = find(share, bind, source);

	if (!v) {
		v = xcalloc(1, sizeof(*v));
		v->users.free = volume_free;
		v->source = *source;
		v->bind = *bind;
		v->bind.source = xstrdup(bind->source);
		v->bind.idmap = ns_maps_copy(&bind->idmap);
		snprintf(v->name, sizeof(v->name), "%s", name);
		list_add_tail(&share->volumes, &v->users.link);
	}
	return add(&share->views[SHARE_VOLUMES], m, bind, v->name, &v->users);
}
