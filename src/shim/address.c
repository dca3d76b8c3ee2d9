/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/address.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/sha256.h"
#include "base/str.h"

#define DEFAULT_DIR "/run/containerd/s"
#define BOUND_MAX   (64U << 20)
/* The folder has the sockets of other runtimes, too, of the same kind of name: containerd's own
 * tools look for it. The bit says whose it is; others have 0600. */
#define MODE 0700

char *address_path(const char *dir, const char *containerd, const char *namespace, const char *id)
{
	_cleanup_(freep) char *key = xasprintf("%s/%s/%s", containerd, namespace, id);
	char digest[SHA256_HEX_SIZE];

	sha256_hex(key, strlen(key), digest);
	return path_join(str_empty(dir) ? DEFAULT_DIR : dir, digest);
}

bool address_is_served(const char *path)
{
	_cleanup_(closep) int fd = fd_unix_connect(path);

	return fd >= 0;
}

int address_listen(const char *path, struct err *err)
{
	_cleanup_(freep) char *dir = path_dir(path);
	int fd, r;

	/* The other end uses the path as it is. */
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(err, -ENAMETOOLONG, "listen on %s", path);
	r = fs_mkdir_all(dir, 0700);
	if (r < 0)
		return err_set(err, r, "make %s", dir);
	fd = fd_unix_listen(path, MODE);
	if (fd == -EADDRINUSE) {
		if (address_is_served(path))
			return err_set(err, -EADDRINUSE, "listen on %s", path);
		(void)unlink(path);
		fd = fd_unix_listen(path, MODE);
	}
	return fd < 0 ? err_set(err, fd, "listen on %s", path) : fd;
}

bool address_remove_stale(const char *path)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	if (!path_is_clean(path) || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return true;
	/* Whatever else goes wrong is no sign that nobody serves it. */
	fd = fd_unix_connect(path);
	return fd == -ECONNREFUSED && unlink(path) == 0;
}

static bool is_ours(const char *path)
{
	struct stat st;

	return sha256_is_hex(path_name(path)) && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       (st.st_mode & 07777) == MODE;
}

static void list_ours(const char *dir, struct strv *ret)
{
	_cleanup_(closedirp) DIR *stream = opendir(dir);
	const struct dirent *entry;

	if (!stream)
		return;
	while ((entry = readdir(stream))) {
		_cleanup_(freep) char *path = path_join(dir, entry->d_name);

		if (is_ours(path))
			strv_add(ret, path);
	}
}

void address_sweep(const char *dir)
{
	_cleanup_(strv_fini) struct strv paths = {0};
	_cleanup_(freep) char *bound = NULL;

	/* In this order: whatever is found and lives was bound when the kernel was asked. That
	 * spares the others a connection from each of us. */
	list_ours(dir, &paths);
	if (fs_read("/proc/net/unix", BOUND_MAX, &bound, NULL) < 0)
		return;
	for (size_t i = 0; i < paths.n; i++)
		if (!strstr(bound, paths.v[i]))
			(void)address_remove_stale(paths.v[i]);
}
