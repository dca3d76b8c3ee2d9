/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/host_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/path.h"
#include "kernel/cgroup.h"
#include "runtime/blocking.h"
#include "runtime/systemd_scope.h"

/*
 * How it works: /proc/self/cgroup names our group in each hierarchy: "0::/path" for version 2,
 * "4:cpu,cpuacct:/path" for version 1. For each of them the plan has the folder to make and the one
 * that this process came from, where it goes back to: a group can only be removed once it is empty.
 * The plan is on disk before anything is made, so that a crash between the two leaves nothing.
 *
 * Where systemd manages the groups (config.json names "slice:prefix:name" then), the group is a
 * scope that it makes for us. It ends, and its folder with it, with its last process; that we
 * remove the folder ourselves does not confuse it.
 */

#define CGROUP_ROOT    "/sys/fs/cgroup"
#define CPUSET_ROOT    CGROUP_ROOT "/cpuset"
#define PREFIX         "kata_"
#define SCOPE          ".scope"
#define PROC_MAX       65536
#define EVENTS_MAX     4096
#define LEAVE_TIMEOUT  (3 * USEC_PER_SEC)
#define REMOVE_TIMEOUT (2500 * USEC_PER_MSEC) /* a killed QEMU gives its memory back in 2 s */
#define REMOVE_EVICT   (300 * USEC_PER_MSEC)  /* before the end of that: move who is stuck */
#define REMOVE_PATIENT 40                     /* tries without killing */
#define MAKE_TIME      (2 * USEC_PER_SEC)     /* what is kept for doing without systemd */
#define REMOVE_PAUSE   5000                   /* µs */

/* One line of /proc/self/cgroup. */
struct membership {
	char root[256];   /* where the hierarchy is mounted */
	const char *path; /* our group in it */
};

static bool is_mounted(const char *dir, long magic)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (long)fs.f_type == magic;
}

/* Of version 1: each costs some ms, so only those that account or limit. */
static bool is_wanted(const char *controllers)
{
	static const char *const wanted[] = {"cpu",    "cpuacct", "cpu,cpuacct", "cpuset",
					     "memory", "blkio",   "pids"};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (streq(controllers, wanted[i]))
			return true;
	return false;
}

/* false: nothing for us in this line. */
static bool parse_membership(char *line, struct membership *ret)
{
	char *controllers = strchr(line, ':'), *path;

	if (!controllers)
		return false;
	*controllers++ = '\0';
	path = strchr(controllers, ':');
	if (!path)
		return false;
	*path++ = '\0';
	*ret = (struct membership){.path = path};
	if (!*controllers) {
		snprintf(ret->root, sizeof(ret->root), CGROUP_ROOT);
		return is_mounted(ret->root, CGROUP2_SUPER_MAGIC);
	}
	if (!is_wanted(controllers))
		return false;
	snprintf(ret->root, sizeof(ret->root), CGROUP_ROOT "/%s", controllers);
	return is_mounted(ret->root, CGROUP_SUPER_MAGIC);
}

static int move_to(const char *dir, pid_t pid)
{
	_cleanup_(freep) char *procs = path_join(dir, "cgroup.procs");
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return fs_write(procs, text);
}

/* A new cpuset is empty, and nobody may enter it; it gets what the one above has. */
static void inherit_cpuset(const char *dir)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	_cleanup_(freep) char *parent = path_dir(dir);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(freep) char *from = path_join(parent, files[i]);
		_cleanup_(freep) char *to = path_join(dir, files[i]);
		_cleanup_(freep) char *text = NULL;

		if (fs_read(from, PROC_MAX, &text, NULL) == 0)
			fs_write(to, str_chomp(text));
	}
}

/* Version 2: a new group has the controllers that the one above passes on. */
static void pass_controllers(const char *path)
{
	_cleanup_(freep) char *parent = path_dir(path);
	_cleanup_(closep) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : cgroup_pass_controllers(fd, false);

	if (r < 0)
		log_debug("control group %s passes no controllers on: %s", parent, strerror(-r));
}

/* Makes dir, which is below a hierarchy's root, and its missing parents. */
static int make_group(const char *dir)
{
	_cleanup_(freep) char *path = xstrdup(dir);
	bool unified = is_mounted(CGROUP_ROOT, CGROUP2_SUPER_MAGIC);
	bool cpuset = str_has_prefix(dir, CPUSET_ROOT "/");
	size_t skip = strlen(CGROUP_ROOT "/");

	for (char *p = path + skip; p; p = strchr(p + 1, '/')) {
		char *end = strchr(p + 1, '/');

		if (end)
			*end = '\0';
		if (unified)
			pass_controllers(path);
		if (mkdir(path, 0755) == 0) {
			if (cpuset)
				inherit_cpuset(path);
		} else if (errno != EEXIST) {
			return -errno;
		}
		if (!end)
			break;
		*end = '/';
	}
	return 0;
}

/* In a child: moving into a version 1 group waits for the kernel, some ms for each hierarchy. */
struct job {
	pid_t pid;
	const struct host_cgroup *cgroup;
	uint64_t deadline;
};

/* Returns whether systemd has put the process where it belongs. */
static bool join_scope(const struct job *job)
{
	_cleanup_(freep) char *slice = NULL, *parent = NULL, *error = NULL;
	const char *dir = job->cgroup->dirs.v[0];
	int r;

	parent = path_dir(dir);
	slice = xstrdup(str_has_suffix(parent, ".slice") ? path_name(parent) : "-.slice");
	r = systemd_scope_start(path_name(dir), slice, job->pid, job->deadline - MAKE_TIME, &error);
	if (r < 0)
		log_warn("systemd makes no %s in %s: %s; the sandbox makes the group itself",
			 path_name(dir), slice, error ? error : strerror(-r));
	return r == 0;
}

static int join_in_child(void *arg, void *reply)
{
	const struct job *job = arg;

	(void)reply;
	/* With version 1 systemd fills some hierarchies only. */
	if (job->cgroup->scope && job->cgroup->dirs.n && join_scope(job) &&
	    is_mounted(CGROUP_ROOT, CGROUP2_SUPER_MAGIC))
		return 0;
	for (size_t i = 0; i < job->cgroup->dirs.n; i++) {
		const char *dir = job->cgroup->dirs.v[i];
		int r = make_group(dir);

		if (r >= 0)
			r = move_to(dir, job->pid);
		if (r < 0)
			log_warn("control group %s: %s; the sandbox is not accounted there", dir,
				 strerror(-r));
	}
	return 0;
}

int host_cgroup_plan(struct host_cgroup *cgroup, const char *cgroups_path, const char *id,
		     struct err *err)
{
	_cleanup_(freep) char *group = NULL, *parent = NULL, *ours = NULL, *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};
	int r;

	group = cgroup_normalize_path(cgroups_path, id);
	parent = path_dir(group);
	cgroup->scope = !str_empty(cgroups_path) && *cgroups_path != '/' &&
			str_has_suffix(group, SCOPE) && systemd_is_running();
	ours = cgroup->scope ? xstrdup(path_name(group)) : xasprintf(PREFIX "%s", id);
	r = fs_read("/proc/self/cgroup", PROC_MAX, &text, NULL);
	if (r < 0)
		return err_set(err, r, "read /proc/self/cgroup");
	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n; i++) {
		_cleanup_(freep) char *dir = NULL, *home = NULL;
		struct membership m;

		if (!parse_membership(lines.v[i], &m))
			continue;
		dir = xasprintf("%s%s/%s", m.root, streq(parent, "/") ? "" : parent, ours);
		home = xasprintf("%s%s", m.root, streq(m.path, "/") ? "" : m.path);
		strv_add(&cgroup->dirs, dir);
		strv_add(&cgroup->home, home);
	}
	return 0;
}

int host_cgroup_join(const struct host_cgroup *cgroup, uint64_t deadline, struct err *err)
{
	struct job job = {.pid = getpid(), .cgroup = cgroup, .deadline = deadline};
	int r = blocking_run(join_in_child, &job, NULL, 0, deadline);

	return r < 0 ? err_set(err, r, "join the sandbox's control group") : 0;
}

struct move {
	struct job job; /* of this process, which goes first */
	const struct host_cgroup *from;
	const pid_t *pids;
	size_t n_pids;
};

static void move_all(const struct move *m, const char *dir)
{
	for (size_t i = 0; i < m->n_pids; i++)
		(void)move_to(dir, m->pids[i]);
	/* This child is in the old group as well. */
	(void)move_to(dir, getpid());
}

static int move_in_child(void *arg, void *reply)
{
	const struct move *m = arg;
	int r = join_in_child((void *)&m->job, reply);

	for (size_t i = 0; i < m->job.cgroup->dirs.n; i++)
		move_all(m, m->job.cgroup->dirs.v[i]);
	for (size_t i = 0; i < m->from->dirs.n; i++)
		if (rmdir(m->from->dirs.v[i]) < 0 && errno != ENOENT)
			log_debug("remove control group %s: %s", m->from->dirs.v[i],
				  strerror(errno));
	return r;
}

int host_cgroup_move(const struct host_cgroup *from, struct host_cgroup *to, const pid_t *pids,
		     size_t n_pids, uint64_t deadline, struct err *err)
{
	struct move move = {{getpid(), to, deadline}, from, pids, n_pids};
	int r;

	strv_fini(&to->home);
	for (size_t i = 0; i < from->home.n; i++)
		strv_add(&to->home, from->home.v[i]);
	r = blocking_run(move_in_child, &move, NULL, 0, deadline);
	/* Who is still in one of them, or has come since, leaves with us. */
	for (size_t i = 0; i < from->dirs.n; i++) {
		if (!fs_exists(from->dirs.v[i]))
			continue;
		strv_add(&to->dirs, from->dirs.v[i]);
		strv_add(&to->home, from->home.v[i]);
	}
	return r < 0 ? err_set(err, r, "join the sandbox's control group") : 0;
}

const char *host_cgroup_out_of_memory(const struct host_cgroup *cgroup)
{
	/* Of version 2 and 1; the other hierarchies have neither. */
	static const char *const files[] = {"memory.events", "memory.oom_control"};

	for (size_t i = 0; i < cgroup->dirs.n * ARRAY_SIZE(files); i++) {
		const char *dir = cgroup->dirs.v[i / ARRAY_SIZE(files)];
		_cleanup_(freep) char *path = path_join(dir, files[i % ARRAY_SIZE(files)]);
		_cleanup_(freep) char *text = NULL;

		if (fs_read(path, EVENTS_MAX, &text, NULL) == 0 &&
		    cgroup_stat_field(text, "oom_kill") > 0)
			return dir;
	}
	return NULL;
}

void host_cgroup_fini(struct host_cgroup *cgroup)
{
	strv_fini(&cgroup->dirs);
	strv_fini(&cgroup->home);
}

/* This process' own group in the hierarchy of dir; NULL: it is in none. */
static char *own_group(const char *dir)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(strv_fini) struct strv lines = {0};
	char *own = NULL;
	size_t longest = 0;

	if (fs_read("/proc/self/cgroup", PROC_MAX, &text, NULL) < 0)
		return NULL;
	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n; i++) {
		struct membership m;
		size_t n;

		if (!parse_membership(lines.v[i], &m))
			continue;
		n = strlen(m.root);
		if (n <= longest || !str_has_prefix(dir, m.root) || dir[n] != '/')
			continue;
		longest = n;
		free(own);
		own = xasprintf("%s%s", m.root, streq(m.path, "/") ? "" : m.path);
	}
	return own;
}

/* Kills the members; with `home` also moves them there, since who is stuck in the kernel (an
 * unmount that writes, a device that does not answer) is there until that is over. */
static void kill_members(const char *dir, pid_t spare, const char *home)
{
	_cleanup_(freep) char *procs = path_join(dir, "cgroup.procs"), *text = NULL;
	_cleanup_(strv_fini) struct strv pids = {0};

	if (fs_read(procs, PROC_MAX, &text, NULL) < 0)
		return;
	strv_split(&pids, text, "\n");
	for (size_t i = 0; i < pids.n; i++) {
		uint32_t pid;

		if (parse_u32(pids.v[i], &pid) < 0 || pid <= 1 || pid == (uint32_t)getpid() ||
		    pid == (uint32_t)spare)
			continue;
		kill((pid_t)pid, SIGKILL);
		if (home)
			(void)move_to(home, (pid_t)pid);
	}
}

/* A process that ends leaves its group some ms after it was reaped; what stays longer is killed,
 * and what even then stays is moved to our own group shortly before the deadline. -EBUSY: somebody
 * is still in it; one that was never made, or is not ours to remove, is none. */
static int remove_group(const char *dir, pid_t spare, uint64_t deadline)
{
	for (int n = 0; rmdir(dir) < 0 && errno == EBUSY; n++) {
		bool late = clock_now() + REMOVE_EVICT >= deadline;
		_cleanup_(freep) char *home = late ? own_group(dir) : NULL;

		if (clock_now() >= deadline)
			return -EBUSY;
		if (n >= REMOVE_PATIENT || late)
			kill_members(dir, spare, home);
		usleep(REMOVE_PAUSE);
	}
	return 0;
}

int host_cgroup_remove(const struct strv *dirs)
{
	uint64_t deadline = clock_after(REMOVE_TIMEOUT);
	int result = 0;

	for (size_t i = 0; i < dirs->n; i++)
		/* What is read from disk must look like what we have written. */
		if (str_has_prefix(dirs->v[i], CGROUP_ROOT "/") && path_is_clean(dirs->v[i]) &&
		    (str_has_prefix(path_name(dirs->v[i]), PREFIX) ||
		     str_has_suffix(dirs->v[i], SCOPE)) &&
		    remove_group(dirs->v[i], getppid(), deadline) < 0)
			result = -EBUSY;
	return result;
}

void host_cgroup_expel(const struct host_cgroup *cgroup, pid_t pid)
{
	for (size_t i = 0; i < cgroup->home.n; i++)
		move_to(cgroup->home.v[i], pid);
}

static int leave_in_child(void *arg, void *reply)
{
	const struct job *job = arg;
	uint64_t deadline = clock_after(REMOVE_TIMEOUT);
	int result = 0;

	(void)reply;
	for (size_t i = 0; i < job->cgroup->dirs.n; i++)
		move_to(job->cgroup->home.v[i], job->pid);
	/* This child is in them as well. */
	for (size_t i = 0; i < job->cgroup->dirs.n; i++)
		move_to(job->cgroup->home.v[i], getpid());
	for (size_t i = 0; i < job->cgroup->dirs.n; i++)
		if (remove_group(job->cgroup->dirs.v[i], job->pid, deadline) < 0)
			result = -EBUSY;
	return result;
}

int host_cgroup_close(struct host_cgroup *cgroup)
{
	int r = 0;

	if (cgroup->dirs.n)
		r = blocking_run(leave_in_child, &(struct job){.pid = getpid(), .cgroup = cgroup},
				 NULL, 0, clock_after(LEAVE_TIMEOUT));
	host_cgroup_fini(cgroup);
	*cgroup = (struct host_cgroup){0};
	return r;
}
