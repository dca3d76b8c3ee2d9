/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The parts of the child, in the order in which stage.c calls them. They run between fork and exec,
 * with the agent's memory and all its rights, in a place that the image more and more controls:
 * every path inside the container is resolved below its root by the kernel (openat2), nothing is
 * opened there that could block or act, and what fails ends the child.
 */

#include "agent/init/stage.h"

/* namespaces.c: join what the plan names, then a new cgroup namespace and a session keyring. */
int namespaces_enter(const struct stage_plan *plan, struct err *err);
/* namespaces_set_oom_score: of the process (0: the caller). The agent calls it for a process in a
 * new user namespace, which has no right to lower its own, and does not own its undumpable files.
 */
int namespaces_set_oom_score(pid_t pid, const Grpc__Process *process, struct err *err);
/* namespaces_join: the namespaces that the plan names, one after the other. */
int namespaces_join(const struct stage_plan *plan, struct err *err);
/* namespaces_set_names: host and domain name. In a UTS namespace that others share, what is set
 * already stays, with a warning. */
int namespaces_set_names(const struct stage_plan *plan, struct err *err);

/* clone.c: the child, with all new namespaces but that of cgroups. Returns its pid, 0 in it, or
 * -errno. */
long stage_clone(const struct stage_plan *plan, int *pidfd, struct err *err);

/* sysctl.c: is a sysctl one of a namespace, and not of the whole guest? 0, -EINVAL or -EPERM. */
int sysctl_check(const char *key, struct err *err);
/* sysctl_apply: write those of the specification's that are of a kind in `which`, through the
 * agent's /proc. */
int sysctl_apply(const Grpc__Spec *spec, unsigned int which, struct err *err);
/*
 * sysctl_open_network: give everybody in the guest what of root's power over the network does not
 * reach a user namespace, and can be given: all port numbers, and ping.
 */
int sysctl_open_network(struct err *err);

/* rootfs.c: mount everything, make devices, and make the tree the root of the process. */
int rootfs_enter(const struct stage_plan *plan, struct err *err);
/* rootfs_finish: what must come last: read-only root, propagation. */
int rootfs_finish(const Grpc__Spec *spec, struct err *err);

/* inner_hooks.c: the specification's hooks that run inside of the container, one after the other;
 * the first that fails ends it. createContainer: mounts are made, the root is still the guest's.
 * startContainer: everything is as the program will find it. */
enum inner_hook { HOOK_CREATE_CONTAINER, HOOK_START_CONTAINER };
int inner_hooks_run(const struct stage_plan *plan, enum inner_hook kind, struct err *err);

/* devices.c: nodes and symbolic links below /dev of `root`, for container `id`. */
int devices_create(int root, const char *id, const Grpc__Spec *spec, bool user_namespace,
		   struct err *err);
/* devices_provide: called by the agent before, for a user namespace: the specification's nodes.
 * devices_withdraw: after it, whatever has come of it. */
int devices_provide(const char *id, const Grpc__Spec *spec, const struct ns_maps *maps,
		    struct err *err);
void devices_withdraw(const char *id);

/* masks.c: hide paths, and make paths read-only, below `root`. */
int masks_apply(int root, const Grpc__Spec *spec, struct err *err);

/* copyup.c: copy the tree at `from` to the folder `to` (owners, modes, links; no devices). */
int copyup(int from, int to, struct err *err);

/*
 * terminal.c: open a pty in the container, make it standard streams and controlling terminal
 * (setsid() has been called), with `console` also /dev/console. *ret_master is the other side.
 */
int terminal_open(const Grpc__Process *process, bool console, int *ret_master, struct err *err);

/* user.c: everything about who the process is, up to and without seccomp; in two parts, around the
 * point where a filter is loaded that needs the rights. */
int user_limits(const Grpc__Process *process, struct err *err);
int user_become(const Grpc__Process *process, bool user_namespace, struct err *err);

/*
 * exec.c: the file that the first argument names, as PATH of the environment has it; runs as the
 * process' user. The error has runc's wording. *ret is to be freed.
 */
int program_find(const Grpc__Process *process, char **ret, struct err *err);
/* program_environment: the environment, each name once, HOME added when there is none. */
char **program_environment(const Grpc__Process *process);
/* passwd_home: the home folder (sixth field) of a user in the text of an /etc/passwd, "/" without
 * one; the caller frees. */
char *passwd_home(const char *text, uid_t uid);
/* program_exec: only returns on error. */
int program_exec(const char *path, char *const *args, char *const *env, struct err *err);
