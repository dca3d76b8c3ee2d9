/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/fs.h"
#include "base/parse.h"
#include "kernel/cgroup.h"

/*
 * How it works: a group is a folder below the root of the hierarchy, made with its parents, each
 * of which passes the controllers on to its children (cgroup.subtree_control). The
 * group itself keeps them: processes live in it, so it may not pass them on.
 *
 * Every write goes through put(), which decides what a missing file means: an error where the
 * limits are promised (strict: the guest), a note where the hierarchy has no controllers at all (an
 * agent that runs as an ordinary process, for tests).
 */

#define LINE_MAX_BYTES 4096U

static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

int cgroup_root_open(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		_cleanup_(closep) int fd = open(roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct statfs fs;

		if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return TAKE_FD(fd);
	}
	return -ENOENT;
}

/* --- making and removing --- */

static const char *const controllers[] = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids"};

int cgroup_pass_controllers(int dir, bool strict)
{
	_cleanup_(freep) char *have = NULL, *passed = NULL;
	_cleanup_(strv_fini) struct strv names = {0}, already = {0}, wanted = {0};
	_cleanup_(freep) char *all = NULL;
	int r = fs_read_at(dir, "cgroup.controllers", LINE_MAX_BYTES, &have, NULL);

	if (r == 0)
		r = fs_read_at(dir, "cgroup.subtree_control", LINE_MAX_BYTES, &passed, NULL);
	if (r < 0)
		return r;
	strv_split(&names, have, " \n");
	strv_split(&already, passed, " \n");
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
		if (strv_contains(&names, controllers[i]) &&
		    !strv_contains(&already, controllers[i]))
			strv_addf(&wanted, "+%s", controllers[i]);
	all = wanted.n ? strv_join(&wanted, " ") : NULL;
	if (!all || fs_write_at(dir, "cgroup.subtree_control", all) == 0)
		return 0;
	/* The kernel takes all of a line or nothing: what can be had is found one by one. */
	for (size_t i = 0; i < wanted.n; i++) {
		r = fs_write_at(dir, "cgroup.subtree_control", wanted.v[i]);
		/* cpu refuses while realtime processes are about; others may be threaded. */
		if (r < 0 && strict && r != -EINVAL && r != -EOPNOTSUPP && r != -ENOENT)
			return r;
	}
	return 0;
}

int cgroup_create(struct cgroup *ret, const char *path, bool strict)
{
	_cleanup_(closep) int root = cgroup_root_open();
	_cleanup_(closep) int dir = -1;
	_cleanup_(strv_fini) struct strv parts = {0};
	int r;

	if (root < 0)
		return root;
	strv_split(&parts, path, "/");
	if (!parts.n || parts.n > CGROUP_DEPTH_MAX)
		return -EINVAL;
	dir = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < parts.n && dir >= 0; i++) {
		int child;

		r = cgroup_pass_controllers(dir, strict);
		if (r < 0)
			return r;
		if (mkdirat(dir, parts.v[i], 0755) < 0 && errno != EEXIST)
			return -errno;
		child = openat(dir, parts.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(dir);
		dir = child;
	}
	if (dir < 0)
		return -errno;
	*ret = (struct cgroup){.root = TAKE_FD(root), .dir = TAKE_FD(dir), .program = -1};
	ret->strict = strict;
	ret->path = xstrdup(path);
	if (cgroup_is_populated(ret) == 1) {
		cgroup_close(ret);
		return -EEXIST;
	}
	return 0;
}

void cgroup_close(struct cgroup *cg)
{
	if (!cg->path)
		return;
	fd_close(cg->root);
	fd_close(cg->dir);
	fd_close(cg->program);
	free(cg->path);
	strv_fini(&cg->missing);
	*cg = (struct cgroup){.root = -1, .dir = -1, .program = -1};
}

/* Groups that the container made inside its own, deepest first. */
static int remove_below(int dir, unsigned int depth)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!list)
		return fd_close(copy);
	if (depth > CGROUP_DEPTH_MAX)
		return -ELOOP;
	while ((entry = readdir(list))) {
		_cleanup_(closep) int child = -1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0)
			remove_below(child, depth + 1);
		if (unlinkat(dir, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

int cgroup_remove(struct cgroup *cg)
{
	_cleanup_(freep) char *path = xstrdup(cg->path);
	int r = 0;

	if (unlinkat(cg->root, path + 1, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		if (errno != EBUSY)
			return -errno;
		r = remove_below(cg->dir, 0);
		if (unlinkat(cg->root, path + 1, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return r < 0 ? r : -errno;
	}
	for (;;) {
		char *slash = strrchr(path, '/');

		*slash = '\0';
		if (slash == path || unlinkat(cg->root, path + 1, AT_REMOVEDIR) < 0)
			return 0;
	}
}

/* --- limits --- */

struct writer {
	struct cgroup *cg;
	char *file; /* where it went wrong */
};

static int put(struct writer *w, const char *file, const char *value)
{
	int r = fs_write_at(w->cg->dir, file, value);

	if (r == -ENOENT || (r == -EACCES && faccessat(w->cg->dir, file, F_OK, 0) < 0)) {
		if (!w->cg->strict) {
			if (!strv_contains(&w->cg->missing, file))
				strv_add(&w->cg->missing, file);
			return 0;
		}
		r = -EOPNOTSUPP;
	}
	if (r < 0 && !w->file)
		w->file = xstrdup(file);
	return r;
}

static int put_number(struct writer *w, const char *file, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, value);
	return put(w, file, value < 0 ? "max" : text);
}

static int apply_memory(struct writer *w, const struct cgroup_resources *res)
{
	int64_t swap;
	int r = cgroup_swap_max(res->memory_swap, res->memory_limit, &swap);

	if (r < 0) {
		w->file = xstrdup("memory.swap.max");
		return r;
	}
	if (res->memory_check && res->memory_limit > 0) {
		_cleanup_(freep) char *text = NULL;
		uint64_t used;

		if (fs_read_at(w->cg->dir, "memory.current", 64, &text, NULL) == 0 &&
		    parse_u64(str_chomp(text), &used) == 0 && used > (uint64_t)res->memory_limit) {
			w->file = xstrdup("memory.max");
			return -EBUSY;
		}
	}
	if (r == 1) {
		r = put_number(w, "memory.swap.max", swap);
		/* A guest kernel without swap has no file, and then nothing to limit. */
		if (r == -EOPNOTSUPP && faccessat(w->cg->dir, "memory.max", F_OK, 0) == 0) {
			freep(&w->file);
			w->file = NULL;
			r = 0;
		}
		if (r < 0)
			return r;
	}
	r = res->memory_limit ? put_number(w, "memory.max", res->memory_limit) : 0;
	if (r == 0 && res->memory_reservation)
		r = put_number(w, "memory.low", res->memory_reservation);
	return r;
}

static int apply_cpu(struct writer *w, const struct cgroup_resources *res)
{
	uint64_t weight = cgroup_weight_of_shares(res->cpu_shares);
	char text[64];
	int r = 0;

	if (res->has_cpu_idle)
		r = put_number(w, "cpu.idle", res->cpu_idle > 0);
	if (r == 0 && weight && !(res->has_cpu_idle && res->cpu_idle > 0))
		r = put_number(w, "cpu.weight", (int64_t)weight);
	if (r < 0)
		return r;
	/* A burst above the quota is refused: it goes down first and up last. */
	if (res->has_cpu_burst && !res->cpu_burst)
		r = put(w, "cpu.max.burst", "0");
	if (r == 0 && (res->cpu_quota || res->cpu_period)) {
		uint64_t period = res->cpu_period ? res->cpu_period : 100000;

		if (res->cpu_quota > 0)
			snprintf(text, sizeof(text), "%" PRId64 " %" PRIu64, res->cpu_quota,
				 period);
		else
			snprintf(text, sizeof(text), "max %" PRIu64, period);
		r = put(w, "cpu.max", text);
	}
	if (r == 0 && res->has_cpu_burst && res->cpu_burst)
		r = put_number(w, "cpu.max.burst", (int64_t)res->cpu_burst);
	if (r == 0 && !str_empty(res->cpus))
		r = put(w, "cpuset.cpus", res->cpus);
	if (r == 0 && !str_empty(res->mems))
		r = put(w, "cpuset.mems", res->mems);
	return r;
}

static int apply_io_max(struct writer *w, const char *key, const struct cgroup_io_limit *limits,
			size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		char text[96], value[32] = "max";

		if (limits[i].value)
			snprintf(value, sizeof(value), "%" PRIu64, limits[i].value);
		snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %s=%s", limits[i].major,
			 limits[i].minor, key, value);
		r = put(w, "io.max", text);
	}
	return r;
}

static int apply_io(struct writer *w, const struct cgroup_resources *res)
{
	bool bfq = faccessat(w->cg->dir, "io.bfq.weight", F_OK, 0) == 0;
	const char *file = bfq ? "io.bfq.weight" : "io.weight";
	char text[96];
	int r = 0;

	if (res->io_weight)
		r = put_number(w, file,
			       bfq ? res->io_weight : (int64_t)cgroup_io_weight(res->io_weight));
	for (size_t i = 0; i < res->n_io_weights && r == 0; i++) {
		uint32_t weight = (uint32_t)res->io_weights[i].value;

		snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %" PRIu64,
			 res->io_weights[i].major, res->io_weights[i].minor,
			 bfq ? weight : cgroup_io_weight(weight));
		r = put(w, file, text);
	}
	if (r == 0)
		r = apply_io_max(w, "rbps", res->io_rbps, res->n_io_rbps);
	if (r == 0)
		r = apply_io_max(w, "wbps", res->io_wbps, res->n_io_wbps);
	if (r == 0)
		r = apply_io_max(w, "riops", res->io_riops, res->n_io_riops);
	if (r == 0)
		r = apply_io_max(w, "wiops", res->io_wiops, res->n_io_wiops);
	return r;
}

static int apply_huge(struct writer *w, const struct cgroup_resources *res)
{
	for (size_t i = 0; i < res->n_huge; i++) {
		_cleanup_(freep) char *file = NULL, *text = NULL;
		int r;

		if (str_empty(res->huge[i].size) || strchr(res->huge[i].size, '/'))
			return -EINVAL;
		file = xasprintf("hugetlb.%s.max", res->huge[i].size);
		text = xasprintf("%" PRIu64, res->huge[i].limit);
		r = put(w, file, text);
		if (r < 0)
			return r;
		/* Reservations count too, where the kernel can (5.7). */
		free(file);
		file = xasprintf("hugetlb.%s.rsvd.max", res->huge[i].size);
		(void)fs_write_at(w->cg->dir, file, text);
	}
	return 0;
}

/* A key is one file of this folder; its lines are written one at a time, as the kernel wants. */
static int apply_unified(struct writer *w, const struct cgroup_resources *res)
{
	for (size_t i = 0; i < res->n_unified; i++) {
		_cleanup_(strv_fini) struct strv lines = {0};
		const char *file = res->unified[i].file;

		if (strchr(file, '/') || !strchr(file, '.') || file[0] == '.' ||
		    str_has_prefix(file, "cgroup.")) {
			w->file = xstrdup(file);
			return -EINVAL;
		}
		strv_split(&lines, res->unified[i].value, "\n");
		for (size_t l = 0; l < lines.n; l++) {
			int r = put(w, file, lines.v[l]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int cgroup_apply(struct cgroup *cg, const struct cgroup_resources *res, char **ret_file)
{
	struct writer w = {.cg = cg};
	int r = apply_memory(&w, res);

	if (r == 0)
		r = apply_cpu(&w, res);
	if (r == 0 && res->pids_limit)
		r = put_number(&w, "pids.max", res->pids_limit);
	if (r == 0)
		r = apply_io(&w, res);
	if (r == 0)
		r = apply_huge(&w, res);
	if (r == 0)
		r = apply_unified(&w, res);
	if (r < 0 && ret_file)
		*ret_file = TAKE_PTR(w.file);
	free(w.file);
	return r;
}

/* --- processes --- */

int cgroup_freeze(struct cgroup *cg, bool on)
{
	return fs_write_at(cg->dir, "cgroup.freeze", on ? "1" : "0");
}

static int read_event(const struct cgroup *cg, const char *key)
{
	_cleanup_(freep) char *text = NULL;
	int r = fs_read_at(cg->dir, "cgroup.events", LINE_MAX_BYTES, &text, NULL);

	return r < 0 ? r : cgroup_stat_field(text, key) != 0;
}

int cgroup_is_frozen(const struct cgroup *cg)
{
	return read_event(cg, "frozen");
}

int cgroup_is_populated(const struct cgroup *cg)
{
	return read_event(cg, "populated");
}

bool cgroup_has_children(const struct cgroup *cg)
{
	_cleanup_(freep) char *text = NULL;

	return fs_read_at(cg->dir, "cgroup.subtree_control", LINE_MAX_BYTES, &text, NULL) == 0 &&
	       *str_chomp(text);
}

int cgroup_kill(struct cgroup *cg)
{
	return fs_write_at(cg->dir, "cgroup.kill", "1");
}

int cgroup_attach(struct cgroup *cg, pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return fs_write_at(cg->dir, "cgroup.procs", text);
}
