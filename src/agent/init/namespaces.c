/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "base/fs.h"
#include "base/str.h"

/*
 * New namespaces come with the clone, those to join are joined here, unless a user namespace is
 * among them (clone.c). The cgroup namespace is made last of all: its root is the
 * group that the process is in at that moment.
 */

#define NAME_UNSET "(none)" /* the kernel's word */

int namespaces_set_oom_score(pid_t pid, const Grpc__Process *process, struct err *err)
{
	char path[64], text[32];
	int r;

	if (!process->oomscoreadj)
		return 0;
	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	else
		snprintf(path, sizeof(path), "/proc/self/oom_score_adj");
	snprintf(text, sizeof(text), "%lld", (long long)process->oomscoreadj);
	r = fs_write(path, text);
	return r < 0 ? err_set(err, r, "set oom_score_adj to %s", text) : 0;
}

int namespaces_join(const struct stage_plan *plan, struct err *err)
{
	for (size_t i = 0; i < plan->n_joins; i++)
		if (setns(plan->joins[i].fd, (int)plan->joins[i].flag) < 0)
			return err_set(err, -errno, "join the %s namespace",
				       ns_proc_name(plan->joins[i].flag));
	return 0;
}

static int join_all(const struct stage_plan *plan, struct err *err)
{
	int r = stage_joins_user(plan) ? 0 : namespaces_join(plan, err);

	if (r < 0)
		return r;
	if (plan->target_pidfd >= 0 && plan->target_namespaces &&
	    setns(plan->target_pidfd, (int)plan->target_namespaces) < 0)
		return errno == ESRCH ? err_setx(err, -ESRCH, "the container is not running")
				      : err_set(err, -errno, "join the container's namespaces");
	if (plan->in_user_namespace && !(plan->new_namespaces & CLONE_NEWUSER) &&
	    (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_set(err, -errno, "become root of the user namespace");
	return 0;
}

int namespaces_enter(const struct stage_plan *plan, struct err *err)
{
	int r = 0;

	/* The agent's /proc is still there; behind the pivot it would be the image's word. */
	if (!(plan->new_namespaces & CLONE_NEWUSER) && !stage_joins_user(plan))
		r = namespaces_set_oom_score(0, plan->process, err);
	if (r == 0)
		r = join_all(plan, err);
	if (r < 0)
		return r;
	if (plan->new_namespaces & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
		return err_set(err, -errno, "make a cgroup namespace");
	/* Without keyrings in the kernel there is nothing to be kept apart. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan->id) < 0 && errno != ENOSYS &&
	    errno != EPERM && errno != EDQUOT)
		return err_set(err, -errno, "make a session keyring");
	return 0;
}

/* A namespace that others share keeps the name it has; without one it gets the first that comes. */
static int set_name(const char *what, const char *name, const char *current, bool own,
		    int (*set)(const char *name, size_t n), struct err *err)
{
	if (str_empty(name) || streq(name, current))
		return 0;
	if (!own && !streq(current, NAME_UNSET)) {
		stage_warn("%s \"%s\" is not set: the pod has \"%s\" for all of its containers",
			   what, name, current);
		return 0;
	}
	return set(name, strlen(name)) < 0 ? err_set(err, -errno, "set %s %s", what, name) : 0;
}

int namespaces_set_names(const struct stage_plan *plan, struct err *err)
{
	bool own = plan->new_namespaces & CLONE_NEWUTS;
	struct utsname now;
	int r;

	if (uname(&now) < 0)
		return err_set(err, -errno, "uname");
	r = set_name("host name", plan->spec->hostname, now.nodename, own, sethostname, err);
	return r < 0 ? r
		     : set_name("domain name", plan->spec->domainname, now.domainname, own,
				setdomainname, err);
}
