/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/sha256.h"

#define NEW_PREFIX    ".new"
#define FAILED_PREFIX ".failed-"
#define RETRY_USEC    (3600 * USEC_PER_SEC)
#define LOCK_NAME     "lock"
#define INFO_MAX      1024U
#define STATE_MAX     (64U << 20) /* of 100 to 500 KiB */
#define INFO_FORMAT                                                                              \
	"kata-c template 1\nmemory %" PRIu64 "\nstate %" PRIu64 " %64[0-9a-f]\ncreated %" PRIu64 \
	"\n"

void template_init(struct template *t)
{
	*t = (struct template){.memory_fd = -1, .state_fd = -1};
}

void template_fini(struct template *t)
{
	fd_close(t->memory_fd);
	fd_close(t->state_fd);
	template_init(t);
}

/* --- reading --- */

/* The digest of a whole file, whose offset is 0 afterwards. */
static int digest_of(int fd, char ret[SHA256_HEX_SIZE], uint64_t *ret_size)
{
	_cleanup_(freep) char *data = NULL;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)STATE_MAX)
		return -EBADMSG;
	data = xmalloc((size_t)st.st_size + 1);
	n = pread(fd, data, (size_t)st.st_size, 0);
	if (n < 0)
		return -errno;
	sha256_hex(data, (size_t)n, ret);
	*ret_size = (uint64_t)n;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int open_part(int folder, const char *name, int *ret, struct err *err)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0) {
		*ret = fd;
		return 0;
	}
	if (errno == ENOENT)
		return err_setx(err, -EBADMSG, "the template has no file \"%s\"", name);
	return err_set(err, -errno, "open the template's %s", name);
}

static int check_parts(struct template *t, const char *info, struct err *err)
{
	char wanted[SHA256_HEX_SIZE], digest[SHA256_HEX_SIZE] = "";
	uint64_t state_size = 0;
	struct stat st;
	int r;

	if (sscanf(info, INFO_FORMAT, &t->memory_size, &t->state_size, wanted, &t->created_at) != 4)
		return err_setx(err, -EBADMSG, "the template's info cannot be read");
	if (fstat(t->memory_fd, &st) < 0)
		return err_set(err, -errno, "the template's memory");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != t->memory_size)
		return err_setx(err, -EBADMSG,
				"the template's memory has %jd bytes instead of %" PRIu64,
				(intmax_t)st.st_size, t->memory_size);
	t->memory_used = (uint64_t)st.st_blocks * 512;
	r = digest_of(t->state_fd, digest, &state_size);
	if (r < 0 && r != -EBADMSG)
		return err_set(err, r, "read the template's state");
	if (r < 0 || state_size != t->state_size || !streq(digest, wanted))
		return err_setx(err, -EBADMSG, "the template's state was changed");
	memcpy(t->state_digest, digest, sizeof(digest));
	return 0;
}

int template_open_at(const char *folder, struct template *ret, struct err *err)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_(freep) char *info = NULL;
	_cleanup_(closep) int fd = -1;
	int r;

	template_init(&t);
	fd = open(folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, -errno, "template %s", folder);
	r = fs_read_at(fd, "info", INFO_MAX, &info, NULL);
	if (r < 0)
		return err_setx(err, -EBADMSG, "the template has no readable info: %s",
				strerror(-r));
	r = open_part(fd, "memory", &t.memory_fd, err);
	if (r == 0)
		r = open_part(fd, "state", &t.state_fd, err);
	if (r == 0)
		r = check_parts(&t, info, err);
	if (r < 0)
		return r;
	*ret = t;
	template_init(&t);
	return 0;
}

int template_open(const char *root, const char *key, struct template *ret, struct err *err)
{
	_cleanup_(freep) char *folder = path_join(root, key);
	int r = template_open_at(folder, ret, err);

	if (r == 0)
		snprintf(ret->key, sizeof(ret->key), "%s", key);
	return r;
}

int template_list(const char *root, struct strv *ret, struct err *err)
{
	_cleanup_(closedirp) DIR *dir = opendir(root);

	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, -errno, "read %s", root);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		if (sha256_is_hex(entry->d_name))
			strv_add(ret, entry->d_name);
	return 0;
}

/* --- writing --- */

int template_lock(const char *root, bool try, struct err *err)
{
	_cleanup_(freep) char *path = path_join(root, LOCK_NAME);
	_cleanup_(closep) int fd = -1;
	int r = fs_mkdir_all(root, 0700);

	if (r < 0)
		return err_set(err, r, "make %s", root);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, -errno, "open %s", path);
	if (flock(fd, LOCK_EX | (try ? LOCK_NB : 0)) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		return err_set(err, r, "lock %s", path);
	}
	return TAKE_FD(fd);
}

/* One that is found half removed would look damaged: it gets another name first. */
static int remove_named(const char *root, const char *name, struct err *err)
{
	_cleanup_(freep) char *path = path_join(root, name), *gone = NULL;
	int r;

	gone = xasprintf("%s/" NEW_PREFIX "-gone-%s-%d", root, name, getpid());
	if (rename(path, gone) < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "remove %s", path);
	r = fs_remove_all(gone);
	return r < 0 ? err_set(err, r, "remove %s", path) : 0;
}

static int remove_beginning(const char *root, const char *prefix, struct err *err)
{
	_cleanup_(closedirp) DIR *dir = opendir(root);
	int r = 0;

	if (!dir)
		return err_set(err, -errno, "read %s", root);
	for (const struct dirent *entry = readdir(dir); entry && r == 0; entry = readdir(dir)) {
		_cleanup_(freep) char *path = path_join(root, entry->d_name);

		if (!str_has_prefix(entry->d_name, prefix))
			continue;
		r = fs_remove_all(path);
		if (r < 0)
			err_set(err, r, "remove %s", path);
	}
	return r;
}

int template_remove(const char *root, const char *key, struct err *err)
{
	_cleanup_(strv_fini) struct strv keys = {0};
	int r = 0;

	if (key)
		return remove_named(root, key, err);
	r = template_list(root, &keys, err);
	for (size_t i = 0; r == 0 && i < keys.n; i++)
		r = remove_named(root, keys.v[i], err);
	if (r == 0)
		r = remove_beginning(root, FAILED_PREFIX, err);
	return r < 0 ? r : remove_beginning(root, NEW_PREFIX, err);
}

static char *failure_path(const char *root, const char *key)
{
	return xasprintf("%s/" FAILED_PREFIX "%s", root, key);
}

void template_note_failure(const char *root, const char *key)
{
	_cleanup_(freep) char *path = failure_path(root, key);
	int r = fs_replace(path, "", 0, 0600, false);

	if (r < 0)
		log_warn("note in %s that the template could not be made: %s", path, strerror(-r));
}

bool template_has_failed(const char *root, const char *key)
{
	_cleanup_(freep) char *path = failure_path(root, key);
	uint64_t at, now = clock_realtime();
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	at = (uint64_t)st.st_mtim.tv_sec * USEC_PER_SEC;
	return at <= now && now - at < RETRY_USEC;
}

int template_begin(const char *root, char **ret, struct err *err)
{
	_cleanup_(freep) char *name = path_new_id(NEW_PREFIX), *folder = path_join(root, name);
	int r = remove_beginning(root, NEW_PREFIX, err);

	if (r < 0)
		return r;
	if (mkdir(folder, 0700) < 0)
		return err_set(err, -errno, "make %s", folder);
	*ret = TAKE_PTR(folder);
	return 0;
}

int template_create_state(const char *folder, struct err *err)
{
	_cleanup_(freep) char *path = path_join(folder, "state");
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? err_set(err, -errno, "make %s", path) : fd;
}

/* What is there, when there was not enough. */
static int no_room(const char *folder, int r, struct err *err)
{
	struct statvfs fs;

	if (r != -ENOSPC || statvfs(folder, &fs) < 0)
		return err_set(err, r, "write the template's memory to %s", folder);
	return err_setx(
		err, r,
		"%s has no room for the template's memory, only %ju MiB are free: make room, or "
		"set template_path to a file system that has it",
		folder, (uintmax_t)fs.f_bavail * fs.f_frsize >> 20);
}

int template_write(const char *folder, int memory_fd, uint64_t memory_size, struct err *err)
{
	_cleanup_(freep) char *path = path_join(folder, "memory"), *info_path = NULL, *info = NULL;
	_cleanup_(freep) char *state_path = path_join(folder, "state");
	_cleanup_(closep) int to = -1, state = -1;
	char digest[SHA256_HEX_SIZE] = "";
	uint64_t copied, state_size = 0;
	int r;

	to = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (to < 0)
		return err_set(err, -errno, "make %s", path);
	r = template_copy_memory(memory_fd, to, memory_size, true, &copied);
	if (r < 0)
		return no_room(folder, r, err);
	state = open(state_path, O_RDONLY | O_CLOEXEC);
	if (state < 0)
		return err_set(err, -errno, "open %s", state_path);
	r = digest_of(state, digest, &state_size);
	if (r < 0)
		return err_set(err, r, "read %s", state_path);
	info = xasprintf("kata-c template 1\nmemory %" PRIu64 "\nstate %" PRIu64
			 " %s\ncreated %" PRIu64 "\n",
			 memory_size, state_size, digest, clock_realtime());
	info_path = path_join(folder, "info");
	r = fs_replace(info_path, info, strlen(info), 0600, false);
	return r < 0 ? err_set(err, r, "write %s", info_path) : 0;
}

int template_commit(const char *root, const char *folder, const char *key, struct err *err)
{
	_cleanup_(freep) char *path = path_join(root, key), *failure = failure_path(root, key);
	int r = remove_named(root, key, err);

	if (r < 0)
		return r;
	(void)unlink(failure);
	return rename(folder, path) < 0 ? err_set(err, -errno, "publish %s", path) : 0;
}
