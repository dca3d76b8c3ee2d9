/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "agent/container.h"
#include "agent/init/init.h"
#include "agent/oom.h"
#include "agent/resources.h"
#include "agent/spec_check.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/seccomp.h"

/*
 * How it works: the specification is checked and turned into a plan (init/stage.h): a control
 * group, namespaces to make or to join, streams; then the first process is cloned, and waits.
 *
 * Namespaces. The guest is the sandbox: without a user namespace its IPC and UTS namespaces are
 * shared by all containers, so that an entry of these types without a path stays in the agent's, as
 * with Kata's agent; those with one have others in common (pod_user.h). Its network is shared by a
 * specification without an entry for it, which is what runtimes send; an entry without a path is a
 * new, empty one, as the specification says. PID is the container's own, or, for one that asks for
 * a shared one, that of the pod's first container. An entry with a path is joined.
 */

struct creation {
	struct stage_plan plan;
	struct ns_maps maps;
	int fds[STAGE_JOINS_MAX];
	size_t n_fds;
};

static void creation_fini(struct creation *cr)
{
	for (size_t i = 0; i < cr->n_fds; i++)
		close(cr->fds[i]);
	ns_maps_fini(&cr->maps);
}

/* --- namespaces --- */

static struct ns_mapping *parse_mappings(Grpc__LinuxIDMapping *const *list, size_t n)
{
	struct ns_mapping *maps = xcalloc(n + 1, sizeof(*maps));

	for (size_t i = 0; i < n; i++)
		maps[i] = (struct ns_mapping){list[i]->containerid, list[i]->hostid, list[i]->size};
	return maps;
}

static int plan_user(struct creation *cr, const struct pod_user *pod, const Grpc__Linux *l,
		     struct err *err)
{
	struct stage_plan *plan = &cr->plan;

	if (!l->n_uidmappings || !l->n_gidmappings)
		return err_setx(err, -EINVAL, "a user namespace needs uidMappings and gidMappings");
	if (l->n_uidmappings > NS_MAPPINGS_MAX || l->n_gidmappings > NS_MAPPINGS_MAX)
		return err_setx(err, -E2BIG, "more than %u id mappings", NS_MAPPINGS_MAX);
	cr->maps = (struct ns_maps){
		.uids = parse_mappings(l->uidmappings, l->n_uidmappings),
		.gids = parse_mappings(l->gidmappings, l->n_gidmappings),
		.n_uids = l->n_uidmappings,
		.n_gids = l->n_gidmappings,
	};
	plan->maps = &cr->maps;
	plan->in_user_namespace = true;
	if (!pod_user_join(pod, &cr->maps, plan))
		plan->new_namespaces |= CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS;
	return 0;
}

static int plan_join(struct creation *cr, const Grpc__LinuxNamespace *ns, unsigned int flag,
		     struct err *err)
{
	struct stage_plan *plan = &cr->plan;
	int fd = ns_open(ns->path, flag);

	if (fd < 0)
		return err_set(err, fd, "%s namespace %s", ns->type, ns->path);
	cr->fds[cr->n_fds++] = fd;
	if (flag == CLONE_NEWPID) {
		plan->pid_namespace = fd;
		return 0;
	}
	/* The user namespace first: it is the one that gives rights over the others (clone.c). */
	if (flag == CLONE_NEWUSER && plan->n_joins) {
		plan->joins[plan->n_joins] = plan->joins[0];
		plan->joins[0].flag = flag;
		plan->joins[0].fd = fd;
	} else {
		plan->joins[plan->n_joins].flag = flag;
		plan->joins[plan->n_joins].fd = fd;
	}
	plan->n_joins++;
	plan->in_user_namespace |= flag == CLONE_NEWUSER;
	return 0;
}

static int plan_namespace(struct creation *cr, const struct pod_user *pod, const Grpc__Linux *l,
			  const Grpc__LinuxNamespace *ns, unsigned int *seen, struct err *err)
{
	unsigned int flag = ns_parse(ns->type);

	if (!flag)
		return err_setx(err, -EINVAL, "namespace type \"%s\" is not known", ns->type);
	if (*seen & flag && flag != CLONE_NEWPID)
		return err_setx(err, -EINVAL, "namespace type %s is there twice", ns->type);
	*seen |= flag;
	if (!str_empty(ns->path)) {
		if (flag == CLONE_NEWNS || cr->n_fds >= STAGE_JOINS_MAX)
			return err_setx(err, -ENOSYS, "joining a %s namespace is not supported",
					ns->type);
		return plan_join(cr, ns, flag, err);
	}
	if (flag == CLONE_NEWUSER)
		return plan_user(cr, pod, l, err);
	if (flag & (CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWTIME))
		cr->plan.new_namespaces |= flag;
	return 0;
}

static int plan_namespaces(struct container *c, struct creation *cr, const Grpc__Spec *spec,
			   bool shared_pidns, struct err *err)
{
	struct agent_sandbox *sandbox = &c->agent->sandbox;
	struct stage_plan *plan = &cr->plan;
	unsigned int seen = 0;

	plan->new_namespaces = CLONE_NEWNS;
	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		int r = plan_namespace(cr, &sandbox->user, spec->linux, spec->linux->namespaces[i],
				       &seen, err);

		if (r < 0)
			return r;
	}
	if (plan->pid_namespace < 0 && shared_pidns && sandbox->pidns_fd >= 0)
		plan->pid_namespace = sandbox->pidns_fd;
	if (plan->pid_namespace < 0)
		plan->new_namespaces |= CLONE_NEWPID;
	c->own_pid_namespace = plan->new_namespaces & CLONE_NEWPID;
	c->in_user_namespace = plan->in_user_namespace;
	c->namespaces = plan->new_namespaces & ~(unsigned int)CLONE_NEWPID;
	for (size_t i = 0; i < plan->n_joins; i++)
		c->namespaces |= plan->joins[i].flag;
	return 0;
}

/* --- control group --- */

static int set_devices(struct container *c, const struct resources *res, struct err *err)
{
	int r = cgroup_set_devices(&c->cgroup, res->rules, res->n_rules);

	if (r < 0 && !c->agent->is_init) {
		log_warn("container %s: device filter: %s", c->id, strerror(-r));
		return 0;
	}
	return r < 0 ? err_set(err, r, "device filter") : 0;
}

/* cgroupsPath is a place in the host's hierarchy. The guest has one of its own, and a flat one is
 * the cheapest. */
static char *group_path(const struct container *c)
{
	static uint64_t unique;

	if (c->agent->is_init)
		return xasprintf("/%s", c->id);
	if (!unique)
		unique = clock_realtime();
	return xasprintf("/kata-agent-%" PRIu64 "/%s", unique, c->id);
}

static int create_cgroup(struct container *c, const Grpc__Spec *spec, struct err *err)
{
	const Grpc__Linux *l = spec->linux;
	_cleanup_(freep) char *path = group_path(c);
	_cleanup_(resources_fini) struct resources res = {0};
	_cleanup_(freep) char *file = NULL;
	int r = resources_parse(&res, l ? l->resources : NULL, err);

	if (r == 0)
		r = resources_add_devices(&res, l ? l->resources : NULL, l ? l->devices : NULL,
					  l ? l->n_devices : 0, err);
	if (r < 0)
		return err_wrap(err, r, "resources");
	r = cgroup_create(&c->cgroup, path, c->agent->is_init);
	if (r < 0 && !c->agent->is_init) {
		log_warn("container %s runs without a control group: %s", c->id, strerror(-r));
		return 0;
	}
	if (r < 0)
		return err_set(err, r, "control group %s", path);
	c->has_cgroup = true;
	r = cgroup_apply(&c->cgroup, &res.limits, &file);
	if (r < 0)
		return err_set(err, r, "control group %s: set %s", path, file ? file : "limits");
	if (c->cgroup.missing.n) {
		_cleanup_(freep) char *list = strv_join(&c->cgroup.missing, " ");

		log_warn("container %s: not limited, no controller for: %s", c->id, list);
	}
	return set_devices(c, &res, err);
}

/* --- the rest of the plan --- */

static void keep_process_rules(struct container *c, const Grpc__Spec *spec)
{
	const Grpc__LinuxSeccomp *s = spec->linux ? spec->linux->seccomp : NULL;

	if (spec->linux && spec->linux->personality &&
	    streq(spec->linux->personality->domain, "LINUX32"))
		c->personality = PER_LINUX32;
	if (!s || !s->bpf.len)
		return;
	c->bpf = xmemdup(s->bpf.data, s->bpf.len);
	c->n_bpf = s->bpf.len;
	for (size_t i = 0; i < s->n_flags; i++)
		(void)seccomp_parse_flag(s->flags[i], &c->bpf_flags);
}

/* The guest's file that is mounted at Kubernetes' terminationMessagePath. */
static void keep_termination_log(struct container *c, const Grpc__Spec *spec)
{
	const char *path = spec_annotation(spec, "io.kubernetes.container.terminationMessagePath");

	for (size_t i = 0; path && i < spec->n_mounts && !c->termination_log; i++)
		if (streq(spec->mounts[i]->destination, path))
			c->termination_log = xstrdup(spec->mounts[i]->source);
}

static void plan_from_container(struct stage_plan *plan, const struct container *c,
				const Grpc__Process *process)
{
	plan->id = c->id;
	plan->process = process;
	plan->cgroup_fd = c->has_cgroup ? c->cgroup.dir : -1;
	plan->personality = c->personality;
	plan->bpf = c->bpf;
	plan->n_bpf = c->n_bpf;
	plan->bpf_flags = c->bpf_flags;
}

/* Keeps the PID namespace for processes that come later, and for the pod when it is shared. */
static int keep_pid_namespace(struct container *c, bool shared, struct err *err)
{
	struct agent_sandbox *sandbox = &c->agent->sandbox;
	char path[64];
	bool first;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)c->init->stage.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open %s", path);
	c->pid_namespace = fd;
	/* The first container is the pod's sandbox: whether others will join, nobody knows yet. */
	first = c->agent->containers.n == 1;
	if ((shared || first) && c->own_pid_namespace && sandbox->pidns_fd < 0) {
		sandbox->pidns_fd = fd_dup(fd);
		c->gave_pid_namespace = true;
	}
	return 0;
}

/* A user namespace has no power over the network of the guest, which it has nonetheless. */
static int prepare_network(struct container *c, struct stage_plan *plan, const Grpc__Spec *spec,
			   struct err *err)
{
	struct agent_sandbox *sandbox = &c->agent->sandbox;
	int r = 0;

	if (!plan->in_user_namespace || (plan->new_namespaces | c->namespaces) & CLONE_NEWNET)
		return 0;
	plan->sysctls = SYSCTL_OTHER;
	/* Else it is the host's. */
	if (c->agent->is_init && !sandbox->network_opened)
		r = sysctl_open_network(err);
	sandbox->network_opened |= r == 0;
	return r < 0 ? r : sysctl_apply(spec, SYSCTL_NETWORK, err);
}

static int start_init(struct container *c, struct creation *cr, const char *exec_id, bool shared,
		      uint64_t deadline, struct err *err)
{
	struct process *p;
	int r = process_new(c, str_empty(exec_id) ? c->id : exec_id, &cr->plan, &p, err);

	if (r < 0)
		return r;
	p->is_init = true;
	c->init = p;
	r = process_clone(p, &cr->plan, deadline, err);
	if (r == 0)
		r = keep_pid_namespace(c, shared, err);
	if (r == 0 && cr->plan.new_namespaces & CLONE_NEWUSER)
		r = pod_user_keep(&c->agent->sandbox.user, &cr->maps, p->stage.pid, err);
	if (r == 0)
		r = hooks_run(c, HOOK_PRESTART, err);
	return r;
}

int container_create(struct container *c, const Grpc__Spec *spec, const char *exec_id,
		     bool shared_pidns, uint64_t deadline, struct err *err)
{
	_cleanup_(creation_fini) struct creation cr = {0};
	int r = hooks_load(c, spec->hooks, err);

	stage_plan_init(&cr.plan);
	if (r == 0)
		r = plan_namespaces(c, &cr, spec, shared_pidns, err);
	if (r == 0)
		r = prepare_network(c, &cr.plan, spec, err);
	if (r == 0)
		r = create_cgroup(c, spec, err);
	if (r < 0)
		return r;
	keep_process_rules(c, spec);
	keep_termination_log(c, spec);
	c->bundle = path_dir(spec->root->path);
	plan_from_container(&cr.plan, c, spec->process);
	cr.plan.spec = spec;
	if (cr.plan.in_user_namespace)
		r = devices_provide(c->id, spec, &cr.maps, err);
	if (r == 0)
		r = start_init(c, &cr, exec_id, shared_pidns, deadline, err);
	if (cr.plan.in_user_namespace)
		devices_withdraw(c->id);
	if (r < 0)
		return r;
	if (c->init->exited)
		return err_setx(err, -EIO, "the first process ended before the start");
	r = container_move(c, CONTAINER_READY, err);
	if (r == 0)
		oom_watch(c);
	return r;
}

/* --- one more process --- */

/* A container that has made groups inside its own (systemd) cannot have processes at its top: the
 * new one goes where the first is. Returns an fd. */
static int group_of_init(const struct container *c)
{
	_cleanup_(freep) char *text = NULL;
	char path[64], *group;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)c->init->stage.pid);
	if (fs_read(path, 4096, &text, NULL) < 0)
		return -ENOENT;
	group = strstr(text, "0::/");
	if (!group)
		return -ENOENT;
	group += strlen("0::/");
	group[strcspn(group, "\n")] = '\0';
	return path_open_in_root(c->cgroup.root, group, O_RDONLY | O_DIRECTORY, 0);
}

static int clone_exec(struct container *c, struct process *p, struct stage_plan *plan,
		      uint64_t deadline, struct err *err)
{
	_cleanup_(closep) int group = -1;
	if (c->has_cgroup && cgroup_has_children(&c->cgroup))
		group = group_of_init(c);
	if (group >= 0)
		plan->cgroup_fd = group;
	return process_clone(p, plan, deadline, err);
}

int container_exec(struct container *c, const char *exec_id, const Grpc__Process *process,
		   uint64_t deadline, struct err *err)
{
	struct stage_plan plan;
	struct process *p;
	int r = container_check(c, CONTAINER_EXEC, err);

	if (r < 0)
		return r;
	stage_plan_init(&plan);
	plan_from_container(&plan, c, process);
	plan.target_pidfd = c->init->stage.pidfd;
	plan.target_namespaces = c->namespaces;
	plan.pid_namespace = c->pid_namespace;
	plan.in_user_namespace = c->in_user_namespace;
	r = process_new(c, exec_id, &plan, &p, err);
	if (r < 0)
		return r;
	r = clone_exec(c, p, &plan, deadline, err);
	if (r == 0)
		r = process_go(p, deadline, err);
	if (r < 0)
		process_free(p);
	return r;
}
