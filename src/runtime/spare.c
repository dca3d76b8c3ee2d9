/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/sha256.h"

#define PLACES_MAX   64 /* as many as the configuration may ask for */
#define DIGITS_SHOWN 16

#define DISMISSED_NAME "dismissed"

static char *folder_of(const char *config_file)
{
	char digest[SHA256_HEX_SIZE];

	sha256_hex(config_file, strlen(config_file), digest);
	digest[DIGITS_SHOWN] = '\0';
	return path_join(SPARE_ROOT, digest);
}

static int try_lock(const char *folder, unsigned int place)
{
	_cleanup_(freep) char *path = xasprintf("%s/%u.lock", folder, place);
	_cleanup_(closep) int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static char *socket_of(const char *folder, unsigned int place)
{
	return xasprintf("%s/%u.sock", folder, place);
}

/* Zero: never. */
static struct timespec last_dismissed(const char *folder)
{
	_cleanup_(freep) char *path = path_join(folder, DISMISSED_NAME);
	struct stat st = {0};

	(void)stat(path, &st);
	return st.st_mtim;
}

int spare_claim(const char *config_file, unsigned int n, struct spare_place *ret, struct err *err)
{
	_cleanup_(freep) char *folder = folder_of(config_file);
	int r = fs_mkdir_all(folder, 0700);

	if (r < 0)
		return err_set(err, r, "make %s", folder);
	for (unsigned int i = 0; i < n; i++) {
		int fd = try_lock(folder, i);

		if (fd == -EWOULDBLOCK)
			continue;
		if (fd < 0)
			return err_set(err, fd, "lock place %u in %s", i, folder);
		*ret = (struct spare_place){fd, -1, xstrdup(folder), socket_of(folder, i),
					    last_dismissed(folder)};
		return 0;
	}
	return err_setx(err, -EEXIST, "there are %u spares", n);
}

void spare_release(struct spare_place *place)
{
	/* While the place is still ours. */
	if (place->listener >= 0)
		(void)unlink(place->socket);
	fd_close(place->listener);
	fd_close(place->lock);
	free(place->folder);
	free(place->socket);
	*place = (struct spare_place){.lock = -1, .listener = -1};
}

int spare_offer(struct spare_place *place, struct err *err)
{
	struct timespec now;

	(void)unlink(place->socket);
	place->listener = fd_unix_listen(place->socket, 0600);
	if (place->listener < 0)
		return err_set(err, place->listener, "listen on %s", place->socket);
	/* Whoever dismisses now finds it. */
	now = last_dismissed(place->folder);
	if (memcmp(&now, &place->dismissed, sizeof(now)) != 0)
		return err_setx(err, -ECANCELED, "all spares were dismissed");
	return 0;
}

bool spare_missing(const char *config_file, unsigned int n)
{
	_cleanup_(freep) char *folder = folder_of(config_file);

	if (n && !fs_exists(folder))
		return true;
	for (unsigned int i = 0; i < n; i++) {
		_cleanup_(closep) int fd = try_lock(folder, i);

		if (fd >= 0)
			return true;
	}
	return false;
}

int spare_connect(const char *config_file, unsigned int *next)
{
	_cleanup_(freep) char *folder = folder_of(config_file);

	if (!fs_exists(folder))
		return -ENOENT;
	while (*next < PLACES_MAX) {
		_cleanup_(freep) char *path = socket_of(folder, (*next)++);
		int fd = fd_unix_connect(path);

		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

/* Whoever connects without an order is no taker: a spare goes on then, and listens again. */
unsigned int spare_count(const char *config_file)
{
	unsigned int n = 0;

	for (unsigned int next = 0;; n++) {
		int fd = spare_connect(config_file, &next);

		if (fd < 0)
			return n;
		close(fd);
	}
}

unsigned int spare_dismiss(const char *config_file)
{
	_cleanup_(freep) char *folder = folder_of(config_file);
	_cleanup_(freep) char *note = path_join(folder, DISMISSED_NAME);
	unsigned int n = 0;

	/* Without the folder there are none. */
	(void)fs_replace(note, "", 0, 0600, false);
	for (unsigned int next = 0;;) {
		_cleanup_(closep) int fd = spare_connect(config_file, &next);

		if (fd < 0)
			return n;
		if (fd_send(fd, SPARE_DISMISSED, sizeof(SPARE_DISMISSED), NULL, 0) > 0)
			n++;
	}
}
