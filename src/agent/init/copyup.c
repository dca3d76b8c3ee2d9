/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "agent/init/init.h"
#include "base/alloc.h"
#include "base/str.h"

/*
 * tmpcopyup: what the image has in a folder is copied to the tmpfs that is mounted over it. Links
 * are copied, not followed; devices and sockets are left out; depth and count are bounded, since an
 * image is nobody's friend.
 */

#define COPYUP_DEPTH_MAX 64U
#define COPYUP_COUNT_MAX 100000U

struct copy {
	unsigned int count;
};

static int copy_folder(struct copy *c, int from, int to, unsigned int depth, struct err *err);

static int set_owner(int dir, const char *name, const struct stat *st)
{
	struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode) && fchmodat(dir, name, st->st_mode & 07777U, 0) < 0)
		return -errno;
	return utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
	_cleanup_(closep) int from = openat(from_dir, name,
					    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_(closep) int to = -1;
	off_t left = st->st_size;

	if (from < 0)
		return -errno;
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	while (left > 0) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		left -= n;
	}
	return 0;
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_entry(struct copy *c, int from_dir, int to_dir, const char *name,
		      unsigned int depth, struct err *err)
{
	struct stat st;
	int r;

	if (++c->count > COPYUP_COUNT_MAX)
		return err_setx(err, -E2BIG, "tmpcopyup: more than %u files", COPYUP_COUNT_MAX);
	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, -errno, "tmpcopyup: stat %s", name);
	if (S_ISDIR(st.st_mode)) {
		_cleanup_(closep) int from = openat(
			from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		_cleanup_(closep) int to = -1;

		if (from < 0 || mkdirat(to_dir, name, 0700) < 0)
			return err_set(err, -errno, "tmpcopyup: folder %s", name);
		to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (to < 0)
			return err_set(err, -errno, "tmpcopyup: folder %s", name);
		r = copy_folder(c, from, to, depth + 1, err);
		if (r < 0)
			return r;
	} else if (S_ISREG(st.st_mode)) {
		r = copy_file(from_dir, to_dir, name, &st);
	} else if (S_ISLNK(st.st_mode)) {
		r = copy_link(from_dir, to_dir, name);
	} else {
		return 0;
	}
	if (r == 0)
		r = set_owner(to_dir, name, &st);
	return r < 0 ? err_set(err, r, "tmpcopyup: copy %s", name) : 0;
}

static int copy_folder(struct copy *c, int from, int to, unsigned int depth, struct err *err)
{
	int copy = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return err_set(err, -errno, "tmpcopyup: read folder");
	if (depth > COPYUP_DEPTH_MAX)
		return err_setx(err, -ELOOP, "tmpcopyup: folders nest deeper than %u",
				COPYUP_DEPTH_MAX);
	while (r == 0 && (entry = readdir(dir)))
		if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
			r = copy_entry(c, from, to, entry->d_name, depth, err);
	return r;
}

int copyup(int from, int to, struct err *err)
{
	struct copy c = {0};

	return copy_folder(&c, from, to, 0, err);
}
