/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"

#define PATH_ID_MAX 128

char *path_join(const char *a, const char *b)
{
	size_t n = strlen(a);

	while (n && a[n - 1] == '/')
		n--;
	while (*b == '/')
		b++;
	return xasprintf("%.*s/%s", (int)n, a, b);
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

bool path_is_id(const char *s)
{
	if (!s || !isalnum((unsigned char)*s) || strlen(s) > PATH_ID_MAX)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
			return false;
	return true;
}

char *path_new_id(const char *prefix)
{
	uint64_t number = 0;

	/* A kernel without random numbers has process numbers. */
	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		number = (uint64_t)getpid();
	return xasprintf("%s-%016" PRIx64, prefix, number);
}

bool path_is_clean(const char *path)
{
	if (*path != '/')
		return false;
	while (*path) {
		size_t n;

		path++;
		n = strcspn(path, "/");
		if ((n == 0 && *path) || (n == 1 && path[0] == '.') ||
		    (n == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		path += n;
	}
	return true;
}

int path_open_in_root(int rootfd, const char *path, uint64_t flags, mode_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* RESOLVE_IN_ROOT answers EAGAIN when a rename elsewhere raced with "..". */
	for (int tries = 0; tries < 32; tries++) {
		fd = syscall(SYS_openat2, rootfd, *path ? path : "/", &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int path_mkdir_in_root(int rootfd, const char *path, mode_t mode)
{
	_cleanup_(freep) char *copy = xstrdup(path);
	_cleanup_(closep) int parent = path_open_in_root(rootfd, "/", O_PATH | O_DIRECTORY, 0);
	char *s = copy;

	if (parent < 0)
		return parent;
	for (;;) {
		size_t n;
		char saved;
		int child;

		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (!n)
			return TAKE_FD(parent);
		saved = s[n];
		s[n] = '\0';
		/* The prefix up to here is resolved afresh, so that symlinks in it stay in the
		 * root. */
		child = path_open_in_root(rootfd, copy, O_PATH | O_DIRECTORY, 0);
		if (child == -ENOENT) {
			if (streq(s, "..") || streq(s, "."))
				return -ENOENT;
			if (mkdirat(parent, s, mode) < 0 && errno != EEXIST)
				return -errno;
			child = path_open_in_root(rootfd, copy, O_PATH | O_DIRECTORY, 0);
		}
		if (child < 0)
			return child;
		close(parent);
		parent = child;
		s[n] = saved;
		s += n;
	}
}
