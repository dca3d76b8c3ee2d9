/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as files of /proc and of control groups. Their writer is the kernel, but names in them
 * are other people's: of mounts, of programs.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "kernel/cgroup.h"
#include "kernel/mount.h"
#include "kernel/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_pair(const char *key, uint64_t value, void *arg)
{
	if (strchr(key, '\n') || (!*key && value))
		abort();
	++*(size_t *)arg;
}

static void mounts(const char *text)
{
	_cleanup_(freep) char *copy = xstrdup(text);
	struct mountinfo *mounts = NULL;
	size_t n = 0;

	if (mountinfo_parse(copy, &mounts, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (!mounts[i].root || !mounts[i].point || !mounts[i].fstype || !mounts[i].source)
			abort();
	mountinfo_free(mounts, n);
}

static void process(const char *text)
{
	_cleanup_(freep) char *copy = xstrdup(text);
	uint64_t numbers[8];
	struct proc_stat stat;
	size_t n = 0;

	proc_stat_parse(text, &stat);
	proc_pairs_parse(copy, on_pair, &n);
	if (n > strlen(text) ||
	    proc_numbers(text, numbers, ARRAY_SIZE(numbers)) > ARRAY_SIZE(numbers))
		abort();
}

static char folder[] = "/dev/shm/kata-fuzz-XXXXXX";

static void remove_folder(void)
{
	fs_remove_all(folder);
}

/* The same text in every file of a group. */
static void group(const char *text, size_t size)
{
	static const char *const files[] = {
		"cpu.stat",     "memory.events",       "memory.current",
		"memory.max",   "memory.stat",         "io.stat",
		"pids.current", "hugetlb.2MB.current", "hugetlb.2MB.events"};
	static struct cgroup group = {.dir = -1};
	struct cgroup_stats stats;

	if (group.dir < 0) {
		if (!mkdtemp(folder) || atexit(remove_folder) != 0)
			abort();
		group.dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int fd = openat(group.dir, files[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				0600);

		if (fd < 0 || write(fd, text, size) != (ssize_t)size)
			abort();
		close(fd);
	}
	cgroup_read_stats(&group, &stats);
	if (stats.n_io > CGROUP_IO_MAX || stats.n_huge > 1)
		abort();
	cgroup_stats_fini(&stats);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = xstrndup((const char *)data, size);

	mounts(text);
	process(text);
	cgroup_stat_field(text, "oom_kill");
	group(text, strlen(text));
	return 0;
}
