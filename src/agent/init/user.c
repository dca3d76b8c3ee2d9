/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "base/fs.h"
#include "base/str.h"
#include "kernel/caps.h"
#include "kernel/rlimit.h"

/*
 * Who the process is. The order matters: limits while there are rights to raise them, the bounding
 * set before the user changes, the other sets after it (kept over the change by PR_SET_KEEPCAPS),
 * the working directory before that, and with the user's permissions where root's are not enough.
 */

#define DEFAULT_UMASK 0022U

static int set_rlimits(const Grpc__Process *p, struct err *err)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const Grpc__POSIXRlimit *limit = p->rlimits[i];
		struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
		int resource = rlimit_parse(limit->type);

		if (resource < 0)
			return err_setx(err, -EINVAL, "rlimit \"%s\" is not known", limit->type);
		if (setrlimit((__rlimit_resource_t)resource, &value) < 0)
			return err_set(err, -errno, "set %s", limit->type);
	}
	return 0;
}

static const struct {
	const char *name;
	int value;
} schedulers[] =
	{
		{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},       {"SCHED_BATCH", 3},
		{"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6},
},
  scheduler_flags[] =
	  {
		  {"SCHED_FLAG_RESET_ON_FORK", 0x01},  {"SCHED_FLAG_RECLAIM", 0x02},
		  {"SCHED_FLAG_DL_OVERRUN", 0x04},     {"SCHED_FLAG_KEEP_POLICY", 0x08},
		  {"SCHED_FLAG_KEEP_PARAMS", 0x10},    {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
		  {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
},
  io_classes[] = {
	  {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
	  {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
	  {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
};

#define LOOKUP(table, text)                                       \
	({                                                        \
		int _value = -1;                                  \
		for (size_t _i = 0; _i < ARRAY_SIZE(table); _i++) \
			if (streq((table)[_i].name, (text)))      \
				_value = (table)[_i].value;       \
		_value;                                           \
	})

/* struct sched_attr of the kernel, first version; glibc 2.36 has none. */
struct scheduler_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int set_scheduler(const Grpc__Scheduler *s, struct err *err)
{
	struct scheduler_attributes attr = {
		.size = sizeof(attr),
		.nice = s->nice,
		.priority = (uint32_t)s->priority,
		.runtime = s->runtime,
		.deadline = s->deadline,
		.period = s->period,
	};
	int policy = LOOKUP(schedulers, s->policy);

	if (policy < 0)
		return err_setx(err, -EINVAL, "scheduler policy \"%s\" is not known", s->policy);
	attr.policy = (uint32_t)policy;
	for (size_t i = 0; i < s->n_flags; i++) {
		int flag = LOOKUP(scheduler_flags, s->flags[i]);

		if (flag < 0)
			return err_setx(err, -EINVAL, "scheduler flag \"%s\" is not known",
					s->flags[i]);
		attr.flags |= (uint64_t)flag;
	}
	if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		return err_set(err, -errno, "set the scheduler %s", s->policy);
	return 0;
}

static int set_io_priority(const Grpc__LinuxIOPriority *p, struct err *err)
{
	int class = LOOKUP(io_classes, p->class_);

	if (class < 0 || p->priority < 0 || p->priority > 7)
		return err_setx(err, -EINVAL, "I/O priority %s %d is not valid", p->class_,
				p->priority);
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		    IOPRIO_PRIO_VALUE((unsigned int)class, (unsigned int)p->priority)) < 0)
		return err_set(err, -errno, "set the I/O priority");
	return 0;
}

int user_limits(const Grpc__Process *p, struct err *err)
{
	int r = 0;

	if (p->scheduler)
		r = set_scheduler(p->scheduler, err);
	if (r == 0 && p->iopriority)
		r = set_io_priority(p->iopriority, err);
	return r < 0 ? r : set_rlimits(p, err);
}

/* A name that the table does not have is a newer kernel's: not having it takes nothing away from
 * anybody's safety. */
static uint64_t parse_set(char *const *names, size_t n)
{
	uint64_t set = 0;

	for (size_t i = 0; i < n; i++) {
		int cap = caps_parse(names[i]);

		if (cap < 0)
			stage_warn("capability \"%s\" is not known and left out", names[i]);
		else
			set |= 1ULL << cap;
	}
	return set;
}

static void parse_caps(const Grpc__LinuxCapabilities *c, struct caps *ret)
{
	*ret = (struct caps){0};
	if (!c)
		return;
	ret->bounding = parse_set(c->bounding, c->n_bounding);
	ret->effective = parse_set(c->effective, c->n_effective);
	ret->permitted = parse_set(c->permitted, c->n_permitted);
	ret->inheritable = parse_set(c->inheritable, c->n_inheritable);
	ret->ambient = parse_set(c->ambient, c->n_ambient);
}

/* The streams become the user's, so that /dev/stdout can be opened again. A shared null device and
 * what cannot change hands (a read-only or foreign file system) stay as they are. */
static int own_streams(uid_t uid, struct err *err)
{
	for (int i = 0; i < 3; i++) {
		struct stat st;

		if (fstat(i, &st) < 0)
			return err_set(err, -errno, "standard stream %d", i);
		if (st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
			continue;
		if (fchown(i, uid, st.st_gid) < 0 && errno != EINVAL && errno != EPERM &&
		    errno != EROFS)
			return err_set(err, -errno, "own standard stream %d", i);
	}
	return 0;
}

static int set_user(const Grpc__User *u, bool user_namespace, struct err *err)
{
	size_t n = u->n_additionalgids;
	_cleanup_(freep) gid_t *groups = xcalloc(n + 1, sizeof(*groups));

	for (size_t i = 0; i < n; i++)
		groups[i] = u->additionalgids[i];
	/* A user namespace may have setgroups(2) denied. */
	if (setgroups(n, groups) < 0 && !(user_namespace && errno == EPERM && !n))
		return err_set(err, -errno, "set %zu additional groups", n);
	if (setresgid(u->gid, u->gid, u->gid) < 0)
		return err_set(err, -errno, "set group %u", u->gid);
	if (setresuid(u->uid, u->uid, u->uid) < 0)
		return err_set(err, -errno, "set user %u", u->uid);
	return 0;
}

/*
 * The working directory, made when missing, and entered as root, as other runtimes do: a user may
 * have one that only root can enter. *ret_denied: root cannot (a file server that knows the user
 * better), so that it is tried again as the user.
 */
static int enter_cwd(const char *cwd, bool *ret_denied, struct err *err)
{
	if (chdir(cwd) == 0)
		return 0;
	if (ret_denied && (errno == EACCES || errno == EPERM)) {
		*ret_denied = true;
		return 0;
	}
	return err_set(err, -errno, "chdir to cwd (\"%s\") set in config.json failed", cwd);
}

/* Below the root: a path through a descriptor of the outside comes out as "(unreachable)". */
static int check_cwd(const char *cwd, struct err *err)
{
	_cleanup_(freep) char *at = getcwd(NULL, 0);

	if (!at || *at != '/')
		return err_setx(err, -EPERM, "working directory %s is outside of the container",
				cwd);
	return 0;
}

int user_become(const Grpc__Process *p, bool user_namespace, struct err *err)
{
	static const Grpc__User root = GRPC__USER__INIT;
	const Grpc__User *u = p->user ? p->user : &root;
	const char *cwd = str_empty(p->cwd) ? "/" : p->cwd;
	bool denied = false;
	struct caps caps;
	int r;

	if (*cwd != '/')
		return err_setx(err, -EINVAL, "working directory \"%s\" is not absolute", cwd);
	parse_caps(p->capabilities, &caps);
	umask(DEFAULT_UMASK);
	/* What cannot be made is told by the chdir. */
	(void)fs_mkdir_all(cwd, 0755);
	umask(u->opt_umask_case == GRPC__USER__OPT_UMASK_UMASK ? u->umask & 0777U : DEFAULT_UMASK);
	r = enter_cwd(cwd, &denied, err);
	if (r == 0)
		r = own_streams(u->uid, err);
	if (r < 0)
		return r;
	r = caps_set_bounding(caps.bounding);
	if (r < 0)
		return err_set(err, r, "set the bounding set of capabilities");
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "keep capabilities");
	r = set_user(u, user_namespace, err);
	if (r < 0)
		return r;
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	r = caps_apply(&caps);
	if (r < 0)
		return err_set(err, r, "set capabilities");
	if (denied)
		r = enter_cwd(cwd, NULL, err);
	return r < 0 ? r : check_cwd(cwd, err);
}
