/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/cgroup.h"

#include <errno.h>

#include "base/path.h"

/* What has no file: numbers and names of version 1 turned into version 2's. */

#define SHARES_MIN    2U
#define SHARES_MAX    262144U
#define WEIGHT_MAX    10000U
#define IO_WEIGHT_MIN 10U
#define IO_WEIGHT_MAX 1000U
#define SLICE         ".slice"

uint64_t cgroup_weight_of_shares(uint64_t shares)
{
	if (!shares)
		return 0;
	shares = MIN(MAX(shares, SHARES_MIN), SHARES_MAX);
	return 1 + (shares - SHARES_MIN) * (WEIGHT_MAX - 1) / (SHARES_MAX - SHARES_MIN);
}

uint64_t cgroup_io_weight(uint32_t weight)
{
	if (!weight)
		return 0;
	weight = MIN(MAX(weight, IO_WEIGHT_MIN), IO_WEIGHT_MAX);
	return 1 + (uint64_t)(weight - IO_WEIGHT_MIN) * (WEIGHT_MAX - 1) /
			   (IO_WEIGHT_MAX - IO_WEIGHT_MIN);
}

int cgroup_swap_max(int64_t memory_and_swap, int64_t memory, int64_t *ret)
{
	if (!memory_and_swap && memory != -1)
		return 0;
	if (memory_and_swap == -1 || (memory == -1 && !memory_and_swap)) {
		*ret = -1;
		return 1;
	}
	if (memory_and_swap < 0 || memory <= 0 || memory_and_swap < memory)
		return -EINVAL;
	*ret = memory_and_swap - memory;
	return 1;
}

int cgroup_parse_access(const char *access)
{
	int flags = 0;

	for (; *access; access++) {
		switch (*access) {
		case 'r':
			flags |= (int)CGROUP_ACCESS_READ;
			break;
		case 'w':
			flags |= (int)CGROUP_ACCESS_WRITE;
			break;
		case 'm':
			flags |= (int)CGROUP_ACCESS_MKNOD;
			break;
		default:
			return -EINVAL;
		}
	}
	return flags;
}

/*
 * Where systemd has a slice: "a-b.slice" is in "a.slice", "-.slice" is the root. NULL: not a name
 * of one.
 */
static char *slice_path(const char *name)
{
	_cleanup_(buf_fini) struct buf path = {0};
	_cleanup_(freep) char *stem = NULL;

	if (streq(name, "-" SLICE))
		return xstrdup("");
	if (!str_has_suffix(name, SLICE) || !path_is_id(name))
		return NULL;
	stem = xstrdup(name);
	stem[strlen(name) - strlen(SLICE)] = '\0';
	if (!*stem || *stem == '-' || str_has_suffix(stem, "-") || strstr(stem, "--"))
		return NULL;
	for (char *p = strchr(stem, '-'); p; p = strchr(p + 1, '-'))
		buf_addf(&path, "/%.*s" SLICE, (int)(p - stem), stem);
	buf_addf(&path, "/%s", name);
	return buf_take(&path);
}

/* systemd's notation: "slice:prefix:name", whose unit is the scope "prefix-name". */
static char *systemd_path(const char *text)
{
	_cleanup_(strv_fini) struct strv parts = {0};
	_cleanup_(freep) char *slice = NULL;

	if (*text == ':')
		strv_add(&parts, "system" SLICE);
	strv_split(&parts, text, ":");
	if (parts.n != 3 || !path_is_id(parts.v[1]) || !path_is_id(parts.v[2]))
		return NULL;
	slice = slice_path(parts.v[0]);
	return slice ? xasprintf("%s/%s-%s.scope", slice, parts.v[1], parts.v[2]) : NULL;
}

char *cgroup_normalize_path(const char *cgroups_path, const char *fallback)
{
	char *path = NULL;
	size_t depth = 0;

	if (!str_empty(cgroups_path) && strlen(cgroups_path) < CGROUP_PATH_MAX) {
		for (const char *s = cgroups_path; *s; s++)
			depth += *s == '/';
		if (path_is_clean(cgroups_path) && cgroups_path[1] && depth <= CGROUP_DEPTH_MAX &&
		    !str_has_suffix(cgroups_path, "/"))
			path = xstrdup(cgroups_path);
		else
			path = systemd_path(cgroups_path);
	}
	return path ? path : xasprintf("/%s", fallback);
}
