/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"

#define CURRENT         "current"
#define BUILDING_PREFIX ".build-"
#define LINK_PREFIX     ".link-"

static const char *const names[] = {STORE_KERNEL, STORE_INITRD, STORE_IMAGE, STORE_IMAGE_INITRD};

/* The folder that DIR/current points to, when it is one of ours (a plain name below DIR). */
static char *read_current(const char *dir)
{
	_cleanup_(freep) char *link = path_join(dir, CURRENT);
	char target[256];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n <= 0)
		return NULL;
	target[n] = '\0';
	if (strchr(target, '/') || target[0] == '.')
		return NULL;
	return path_join(dir, target);
}

int store_open(const char *dir, struct store *ret, struct err *err)
{
	_cleanup_(freep) char *here = NULL, *absolute = NULL;

	if (dir[0] == '/') {
		absolute = xstrdup(dir);
	} else {
		here = getcwd(NULL, 0);
		if (!here)
			return err_set(err, -errno, "find the current folder");
		absolute = path_join(here, dir);
	}
	*ret = (struct store){.current = read_current(absolute), .lock = -1};
	ret->dir = TAKE_PTR(absolute);
	return 0;
}

/* What a crashed builder left: unfinished generations and links. */
static void remove_leftovers(const char *dir)
{
	_cleanup_(closedirp) DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (str_has_prefix(entry->d_name, BUILDING_PREFIX) ||
		    str_has_prefix(entry->d_name, LINK_PREFIX)) {
			_cleanup_(freep) char *path = path_join(dir, entry->d_name);

			fs_remove_all(path);
		}
}

int store_lock(struct store *s, struct err *err)
{
	_cleanup_(freep) char *path = path_join(s->dir, ".lock");
	int r = fs_mkdir_all(s->dir, 0755);

	if (r < 0)
		return err_set(err, r, "make %s", s->dir);
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0)
		return err_set(err, -errno, "open %s", path);
	while (flock(s->lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_set(err, -errno, "lock %s", path);
	remove_leftovers(s->dir);
	free(s->current);
	s->current = read_current(s->dir);
	return 0;
}

int store_begin(struct store *s, char **ret, struct err *err)
{
	_cleanup_(freep) char *path = xasprintf("%s/" BUILDING_PREFIX "XXXXXX", s->dir);

	if (!mkdtemp(path) || chmod(path, 0755) < 0)
		return err_set(err, -errno, "make a folder in %s", s->dir);
	*ret = TAKE_PTR(path);
	return 0;
}

int store_write(const char *dir, const char *name, const void *p, size_t n, struct err *err)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
					0644);
	int r;

	if (fd < 0)
		return err_set(err, -errno, "write %s", path);
	r = fd_write_all(fd, p, n);
	if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0))
		r = -errno;
	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}

int store_link(const struct store *s, const char *dir, const char *name)
{
	_cleanup_(freep) char *from = NULL, *to = path_join(dir, name);

	if (!s->current)
		return -ENOENT;
	from = path_join(s->current, name);
	return link(from, to) < 0 ? -errno : 0;
}

static int sync_dir(const char *path)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* DIR/name → target, replacing whatever link is there in one step. */
static int set_link(const char *dir, const char *name, const char *target)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	_cleanup_(freep) char *tmp = xasprintf("%s/" LINK_PREFIX "%s", dir, name);

	unlink(tmp);
	if (symlink(target, tmp) < 0)
		return -errno;
	if (rename(tmp, path) < 0) {
		int r = -errno;

		unlink(tmp);
		return r;
	}
	return 0;
}

static int remove_link(const char *dir, const char *name)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISLNK(st.st_mode))
		return 0;
	return unlink(path) < 0 ? -errno : 0;
}

/* The links at the top: one for each file that the generation has. */
static int set_top_links(const struct store *s, const char *generation)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *file = path_join(generation, names[i]);
		_cleanup_(freep) char *target = path_join(CURRENT, names[i]);

		r = fs_exists(file) ? set_link(s->dir, names[i], target)
				    : remove_link(s->dir, names[i]);
	}
	return r;
}

/* A generation is a folder with a manifest; others in DIR are not ours to touch. */
static void remove_old_generations(const struct store *s, const char *previous)
{
	_cleanup_(closedirp) DIR *d = opendir(s->dir);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		_cleanup_(freep) char *path = path_join(s->dir, entry->d_name);
		_cleanup_(freep) char *manifest = path_join(path, MANIFEST_FILE);

		if (entry->d_name[0] == '.' || streq(entry->d_name, CURRENT) ||
		    streq(path, s->current) || streq(path, previous) || !fs_exists(manifest))
			continue;
		fs_remove_all(path);
	}
}

/* `name`, or with a number where that is taken: an older folder may be what a sandbox has resolved
 * a moment ago, and cannot be exchanged everywhere (an overlay without redirect_dir, NFS). */
static char *free_name(const char *dir, const char *name)
{
	char *found = xstrdup(name);

	for (int i = 2;; i++) {
		_cleanup_(freep) char *path = path_join(dir, found);
		struct stat st;

		if (lstat(path, &st) < 0)
			return found;
		free(found);
		found = xasprintf("%s.%d", name, i);
	}
}

int store_commit(struct store *s, const char *building, const char *name, struct err *err)
{
	_cleanup_(freep) char *own = free_name(s->dir, name), *target = path_join(s->dir, own);
	_cleanup_(freep) char *previous = NULL;
	int r = sync_dir(building);

	if (r == 0 && rename(building, target) < 0)
		r = -errno;
	if (r == 0)
		r = set_link(s->dir, CURRENT, own);
	if (r == 0)
		r = set_top_links(s, target);
	if (r == 0)
		r = sync_dir(s->dir);
	if (r < 0)
		return err_set(err, r, "make %s the current image", target);
	previous = TAKE_PTR(s->current);
	s->current = TAKE_PTR(target);
	remove_old_generations(s, previous);
	return 0;
}

void store_abort(const char *building)
{
	if (building)
		fs_remove_all(building);
}

void store_fini(struct store *s)
{
	free(s->dir);
	free(s->current);
	fd_close(s->lock);
	*s = (struct store){.lock = -1};
}
