/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/probe_cache.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: the file has three lines, the key, the end of its time on the monotonic clock, and
 * the answer, and is replaced as a whole.
 */

#define CACHE_MAX 1024
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"

const char *probe_cache_dir = "/run/kata-containers";

char *probe_cache_key(const char *about)
{
	_cleanup_(freep) char *boot_id = NULL;
	struct stat st;

	if (stat(about, &st) < 0 || fs_read(BOOT_ID, 64, &boot_id, NULL) < 0)
		return NULL;
	return xasprintf("%s %llx:%llu %lld.%09ld\n", str_chomp(boot_id),
			 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
			 (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

bool probe_cache_read(const char *name, const char *key, char *ret, size_t n)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(freep) char *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};
	uint64_t until;
	const char *rest;

	if (!probe_cache_dir || !key)
		return false;
	path = path_join(probe_cache_dir, name);
	if (fs_read(path, CACHE_MAX, &text, NULL) < 0)
		return false;
	rest = str_skip_prefix(str_chomp(text), key);
	if (!rest)
		return false;
	strv_split(&lines, rest, "\n");
	if (lines.n != 2 || parse_u64(lines.v[0], &until) < 0 || clock_now() >= until)
		return false;
	snprintf(ret, n, "%s", lines.v[1]);
	return true;
}

void probe_cache_write(const char *name, const char *key, const char *answer, uint64_t usec)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(freep) char *text = NULL;

	if (!probe_cache_dir || !key)
		return;
	path = path_join(probe_cache_dir, name);
	text = xasprintf("%s%llu\n%s\n", key, (unsigned long long)clock_after(usec), answer);
	if (fs_mkdir_all(probe_cache_dir, 0755) == 0)
		(void)fs_replace(path, text, strlen(text), 0644, false);
}
