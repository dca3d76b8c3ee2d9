/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/str.h"

static const struct {
	const char *type; /* runtime specification */
	const char *proc; /* /proc/PID/ns/ */
	unsigned int flag;
} table[] = {
	{"pid", "pid", CLONE_NEWPID},          {"network", "net", CLONE_NEWNET},
	{"mount", "mnt", CLONE_NEWNS},         {"ipc", "ipc", CLONE_NEWIPC},
	{"uts", "uts", CLONE_NEWUTS},          {"user", "user", CLONE_NEWUSER},
	{"cgroup", "cgroup", CLONE_NEWCGROUP}, {"time", "time", CLONE_NEWTIME},
};

unsigned int ns_parse(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (streq(type, table[i].type))
			return table[i].flag;
	return 0;
}

const char *ns_proc_name(unsigned int flag)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (flag == table[i].flag)
			return table[i].proc;
	return NULL;
}

int ns_open(const char *path, unsigned int flag)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int type;

	if (fd < 0)
		return -errno;
	type = ioctl(fd, NS_GET_NSTYPE);
	if (type < 0 || (unsigned int)type != flag)
		return -EINVAL;
	return TAKE_FD(fd);
}

int ns_enter(const char *path, unsigned int flag)
{
	_cleanup_(closep) int fd = ns_open(path, flag);

	if (fd < 0)
		return fd;
	return setns(fd, (int)flag) < 0 ? -errno : 0;
}

static int write_map(pid_t pid, const char *file, const struct ns_mapping *maps, size_t n)
{
	_cleanup_(buf_fini) struct buf text = {0};
	char path[64];

	if (n > NS_MAPPINGS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < n; i++)
		buf_addf(&text, "%u %u %u\n", maps[i].inside, maps[i].outside, maps[i].size);
	if (!text.len)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return fs_write(path, text.data);
}

int ns_write_maps(pid_t pid, const struct ns_maps *maps)
{
	int r = write_map(pid, "uid_map", maps->uids, maps->n_uids);

	return r < 0 ? r : write_map(pid, "gid_map", maps->gids, maps->n_gids);
}

/* --- mappings --- */

/* One number, and past its `end`, which for a comma may be that of the text. */
static int parse_id(const char **text, char end, uint32_t *ret)
{
	size_t n = strcspn(*text, ":,");
	_cleanup_(freep) char *number = xstrndup(*text, n);

	if ((*text)[n] != end && !(end == ',' && !(*text)[n]))
		return -EINVAL;
	*text += n + ((*text)[n] != '\0');
	return parse_u32(number, ret) < 0 ? -EINVAL : 0;
}

static int parse_list(const char *text, struct ns_mapping **ret, size_t *ret_n)
{
	do {
		struct ns_mapping m;

		if (*ret_n >= NS_MAPPINGS_MAX)
			return -E2BIG;
		if (parse_id(&text, ':', &m.inside) < 0 || parse_id(&text, ':', &m.outside) < 0 ||
		    parse_id(&text, ',', &m.size) < 0)
			return -EINVAL;
		*ret = xreallocarray(*ret, *ret_n + 1, sizeof(**ret));
		(*ret)[(*ret_n)++] = m;
	} while (text[-1] == ',');
	return 0;
}

int ns_maps_parse(const char *uids, const char *gids, struct ns_maps *ret)
{
	int r;

	*ret = (struct ns_maps){0};
	r = parse_list(uids, &ret->uids, &ret->n_uids);
	if (r == 0)
		r = parse_list(gids, &ret->gids, &ret->n_gids);
	if (r < 0)
		ns_maps_fini(ret);
	return r;
}

static struct ns_mapping *copy_list(const struct ns_mapping *list, size_t n)
{
	return n ? xmemdup(list, n * sizeof(*list)) : NULL;
}

struct ns_maps ns_maps_copy(const struct ns_maps *maps)
{
	return (struct ns_maps){
		.uids = copy_list(maps->uids, maps->n_uids),
		.gids = copy_list(maps->gids, maps->n_gids),
		.n_uids = maps->n_uids,
		.n_gids = maps->n_gids,
	};
}

static bool equal_lists(const struct ns_mapping *a, size_t n_a, const struct ns_mapping *b,
			size_t n_b)
{
	for (size_t i = 0; n_a == n_b && i < n_a; i++)
		if (a[i].inside != b[i].inside || a[i].outside != b[i].outside ||
		    a[i].size != b[i].size)
			return false;
	return n_a == n_b;
}

bool ns_maps_equal(const struct ns_maps *a, const struct ns_maps *b)
{
	return equal_lists(a->uids, a->n_uids, b->uids, b->n_uids) &&
	       equal_lists(a->gids, a->n_gids, b->gids, b->n_gids);
}

uint32_t ns_map_id(const struct ns_mapping *list, size_t n, uint32_t inside)
{
	for (size_t i = 0; i < n; i++)
		if (inside >= list[i].inside && inside - list[i].inside < list[i].size)
			return list[i].outside + (inside - list[i].inside);
	return n ? NS_NOBODY : inside;
}

void ns_maps_fini(struct ns_maps *maps)
{
	free(maps->uids);
	free(maps->gids);
	*maps = (struct ns_maps){0};
}

/* --- a user namespace --- */

static int open_user_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return ns_open(path, CLONE_NEWUSER);
}

int ns_open_new_user(const struct ns_maps *maps)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	int fd, r;

	if (pid < 0)
		return -errno;
	/* It does nothing but be there, and goes with its parent. */
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			pause();
	}
	r = fd = open_user_of((pid_t)pid);
	if (fd >= 0)
		r = ns_write_maps((pid_t)pid, maps);
	kill((pid_t)pid, SIGKILL);
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		fd_close(fd);
	return r < 0 ? r : fd;
}
