/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"

/*
 * The program. Its wording of errors is runc's, since docker and podman derive exit codes 126 and
 * 127 from it.
 */

#define PASSWD_MAX ((size_t)1 << 20)

/* May it be executed? 0 or -errno; a folder is -EISDIR. */
static int check(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!(st.st_mode & 0111) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return -EACCES;
	return 0;
}

/* The last value of a name, as for any program that sets it again and again. */
static const char *environment_get(const Grpc__Process *p, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = p->n_env; i > 0; i--)
		if (strncmp(p->env[i - 1], name, n) == 0 && p->env[i - 1][n] == '=')
			return p->env[i - 1] + n + 1;
	return NULL;
}

static int find_by_path(const char *name, int r, char **ret, struct err *err)
{
	switch (r) {
	case 0:
		*ret = xstrdup(name);
		return 0;
	case -EISDIR:
		return err_setx(err, -EISDIR, "exec: \"%s\": is a directory", name);
	case -EACCES:
		return err_setx(err, -EACCES, "exec: \"%s\": permission denied", name);
	case -ENOENT:
		return err_setx(err, r, "exec: \"%s\": stat %s: no such file or directory", name,
				name);
	case -ENOTDIR:
		return err_setx(err, r, "exec: \"%s\": stat %s: not a directory", name, name);
	default:
		return err_set(err, r, "exec: \"%s\": stat %s", name, name);
	}
}

int program_find(const Grpc__Process *p, char **ret, struct err *err)
{
	const char *name = p->n_args ? p->args[0] : "";
	const char *path = environment_get(p, "PATH");
	_cleanup_(strv_fini) struct strv dirs = {0};
	bool denied = false;

	if (strchr(name, '/'))
		return find_by_path(name, check(name), ret, err);
	strv_split(&dirs, *name && path ? path : "", ":");
	for (size_t i = 0; i < dirs.n; i++) {
		_cleanup_(freep) char *candidate = path_join(dirs.v[i], name);
		int r = check(candidate);

		if (r == 0 && *dirs.v[i] == '/') {
			*ret = TAKE_PTR(candidate);
			return 0;
		}
		denied |= r == -EACCES;
	}
	if (denied)
		return err_setx(err, -EACCES, "exec: \"%s\": permission denied", name);
	return err_setx(err, -ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

char *passwd_home(const char *text, uid_t uid)
{
	_cleanup_(strv_fini) struct strv lines = {0};

	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n; i++) {
		char *field = lines.v[i], *fields[6] = {0};
		uint32_t id;

		for (size_t f = 0; f < ARRAY_SIZE(fields) && field; f++)
			fields[f] = strsep(&field, ":");
		if (fields[5] && parse_u32(fields[2], &id) == 0 && id == uid && *fields[5])
			return xstrdup(fields[5]);
	}
	return xstrdup("/");
}

/* Of the container's /etc/passwd. */
static char *home_of(uid_t uid)
{
	_cleanup_(closep) int fd = open("/etc/passwd",
					O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return xstrdup("/");
	text = xcalloc(1, MIN((size_t)st.st_size, PASSWD_MAX) + 1);
	n = fd_read_full(fd, text, MIN((size_t)st.st_size, PASSWD_MAX));
	if (n < 0)
		return xstrdup("/");
	return passwd_home(text, uid);
}

char **program_environment(const Grpc__Process *p)
{
	struct strv env = {0};
	struct map seen = {0};
	char **result = xcalloc(p->n_env + 2, sizeof(*result));
	size_t n = 0;

	/* From the end: the last one wins, and is all that is kept. */
	for (size_t i = p->n_env; i > 0; i--) {
		const char *entry = p->env[i - 1], *equals = strchr(entry, '=');
		_cleanup_(freep) char *name = NULL;

		if (!equals || equals == entry)
			continue;
		name = xstrndup(entry, (size_t)(equals - entry));
		if (!map_put(&seen, name, p->env[i - 1]))
			strv_add(&env, entry);
	}
	for (size_t i = env.n; i > 0; i--)
		result[n++] = env.v[i - 1];
	if (!map_get(&seen, "HOME")) {
		_cleanup_(freep) char *home = home_of(p->user ? p->user->uid : 0);

		result[n++] = xasprintf("HOME=%s", home);
	}
	map_fini(&seen);
	free(env.v);
	return result;
}

int program_exec(const char *path, char *const *args, char *const *env, struct err *err)
{
	int r;

	execve(path, args, env);
	r = -errno;
	switch (r) {
	case -ENOENT:
		/* The file is there, its interpreter is not. */
		return err_setx(err, r, "exec %s: no such file or directory", path);
	case -EACCES:
		return err_setx(err, r, "exec %s: permission denied", path);
	case -ENOEXEC:
		return err_setx(err, r, "exec %s: exec format error", path);
	default:
		return err_set(err, r, "exec %s", path);
	}
}
