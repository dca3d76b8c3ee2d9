/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/str.h"

/* include/linux/sched.h; proc(5) points there for the meaning of field 9. */
#define PF_EXITING 0x4

#define CHILDREN_MAX 256 /* of one process; its threads */

static void proc_path(char out[64], pid_t pid, const char *name)
{
	if (pid)
		snprintf(out, 64, "/proc/%d/%s", pid, name);
	else
		snprintf(out, 64, "/proc/self/%s", name);
}

int proc_stat_parse(const char *text, struct proc_stat *ret)
{
	/* Field numbers of proc(5), from 4 on, and where they go. */
	struct proc_stat stat = {0};
	uint64_t ppid = 0, flags = 0;
	const struct {
		unsigned int field;
		uint64_t *value;
	} wanted[] = {
		{4, &ppid},         {9, &flags},        {14, &stat.utime},   {15, &stat.stime},
		{16, &stat.cutime}, {17, &stat.cstime}, {20, &stat.threads}, {22, &stat.starttime},
		{23, &stat.vsize},  {24, &stat.rss},
	};
	/* The name is in parentheses and may hold parentheses and blanks itself. */
	const char *at = strrchr(text, ')');
	size_t next = 0;

	if (!at || at[1] != ' ' || !at[2] || at[3] != ' ')
		return -EBADMSG;
	stat.state = at[2];
	at += 4;
	for (unsigned int field = 4; next < ARRAY_SIZE(wanted); field++) {
		char *end;
		uint64_t value = strtoull(at, &end, 10); /* negative ones are not wanted */

		if (end == at)
			return -EBADMSG;
		if (field == wanted[next].field)
			*wanted[next++].value = value;
		at = end;
	}
	stat.ppid = (pid_t)ppid;
	stat.exiting = flags & PF_EXITING;
	*ret = stat;
	return 0;
}

int proc_stat_read(pid_t pid, struct proc_stat *ret)
{
	_cleanup_(freep) char *text = NULL;
	char path[64];
	int r;

	proc_path(path, pid, "stat");
	r = fs_read(path, PROC_FILE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	return proc_stat_parse(text, ret);
}

static void parse_pair(char *line, proc_pair_fn fn, void *arg)
{
	size_t n = strcspn(line, ": \t");
	char *at = line + n, *end;
	uint64_t value;

	if (!n || !*at)
		return;
	*at++ = '\0';
	at += strspn(at, ": \t");
	if (!isdigit((unsigned char)*at))
		return;
	value = strtoull(at, &end, 10);
	/* "0001f" (a mask) or "1,3" (a list) is not a number. */
	if (*end && !isspace((unsigned char)*end))
		return;
	fn(line, value, arg);
}

void proc_pairs_parse(char *text, proc_pair_fn fn, void *arg)
{
	while (text && *text) {
		char *end = strchr(text, '\n');

		if (end)
			*end++ = '\0';
		parse_pair(text, fn, arg);
		text = end;
	}
}

int proc_pairs(const char *path, proc_pair_fn fn, void *arg)
{
	_cleanup_(freep) char *text = NULL;
	int r;

	r = fs_read(path, PROC_FILE_MAX, &text, NULL);
	if (r < 0)
		return r;
	proc_pairs_parse(text, fn, arg);
	return 0;
}

size_t proc_numbers(const char *at, uint64_t *values, size_t max)
{
	size_t n = 0;

	while (n < max) {
		char *end;

		at += strspn(at, " \t");
		if (!isdigit((unsigned char)*at))
			break;
		values[n++] = strtoull(at, &end, 10);
		at = end;
	}
	return n;
}

int proc_fds(pid_t pid)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	char path[64];
	int n = 0;

	proc_path(path, pid, "fd");
	dir = opendir(path);
	if (!dir)
		return -errno;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
		n += d->d_name[0] != '.';
	/* Our own look at our own folder is one of them. */
	return pid ? n : n - 1;
}

size_t proc_threads(pid_t pid, pid_t *ret, size_t max)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *entry;
	char path[64];
	size_t n = 0;

	proc_path(path, pid, "task");
	dir = opendir(path);
	while (dir && n < max && (entry = readdir(dir))) {
		uint32_t thread;

		if (parse_u32(entry->d_name, &thread) == 0)
			ret[n++] = (pid_t)thread;
	}
	return n;
}

/* Of one thread: the kernel notes with each child which one has started it. */
static size_t add_children(pid_t pid, pid_t thread, pid_t *ret, size_t max)
{
	_cleanup_(freep) char *text = NULL;
	uint64_t numbers[CHILDREN_MAX];
	char path[64], name[40];
	size_t n;

	snprintf(name, sizeof(name), "task/%d/children", thread);
	proc_path(path, pid, name);
	if (fs_read(path, PROC_FILE_MAX, &text, NULL) < 0)
		return 0;
	n = proc_numbers(text, numbers, MIN(max, (size_t)CHILDREN_MAX));
	for (size_t i = 0; i < n; i++)
		ret[i] = (pid_t)numbers[i];
	return n;
}

size_t proc_descendants(pid_t pid, pid_t *ret, size_t max)
{
	size_t n = 0;

	for (size_t next = 0; next <= n; next++) {
		pid_t parent = next ? ret[next - 1] : pid, threads[CHILDREN_MAX];
		size_t n_threads = proc_threads(parent, threads, ARRAY_SIZE(threads));

		for (size_t i = 0; i < n_threads; i++)
			n += add_children(parent, threads[i], ret + n, max - n);
	}
	return n;
}
