/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The way from a message to a running process: the agent clones a child into its namespaces, the
 * child makes a container of itself step by step and says over a socket how far it is, or why it
 * failed, in words.
 *
 * The child is a copy of the agent with the same memory, so the plan needs no encoding: it points
 * to the messages of the request, which stay until the child has executed the program or ended.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "kernel/ns.h"
#include "oci.pb-c.h"

#define STAGE_JOINS_MAX   8U
#define STAGE_TEXT_MAX    4096U /* of an error that the child reports */
#define STAGE_TIMEOUT_SEC 60U   /* for one part of the way, when the caller has no deadline */

/* Sysctls of the network, and of all other kinds. */
enum sysctl_kind { SYSCTL_NETWORK = 1, SYSCTL_OTHER = 2 };

struct stage_plan {
	const char *id;
	const Grpc__Process *process;
	/* The first process of a container has all of these, one more has none. */
	const Grpc__Spec *spec;
	const struct ns_maps *maps; /* of a new user namespace */

	int stdio[3];                /* the child's ends; -1 each with a terminal */
	unsigned int new_namespaces; /* CLONE_NEW* made for the child */
	/* Namespaces to join, by descriptor. With a user namespace, which is first, what is new
	   belongs to that. */
	struct {
		unsigned int flag;
		int fd;
	} joins[STAGE_JOINS_MAX];
	size_t n_joins;
	/* For one more process: those of this process (pidfd), all at once. */
	int target_pidfd;
	unsigned int target_namespaces;
	int pid_namespace; /* to be born in; -1: ours or, by new_namespaces, a new one */
	int cgroup_fd;     /* folder of the group to be born in; -1: ours */
	bool in_user_namespace;
	unsigned int sysctls;      /* the kinds that the child sets */
	unsigned long personality; /* of personality(2) */
	/* The filter, checked by seccomp_check(); n 0: none. */
	const void *bpf;
	size_t n_bpf;
	unsigned int bpf_flags;
};

/* A child on its way. */
struct stage {
	pid_t pid;
	int pidfd;
	int sock;     /* our end; -1 once the program runs */
	int terminal; /* the pty's master, with a terminal; taken by the caller */
	bool waits;   /* for stage_go(): the first process of a container */
};

/* stage_plan_init: a plan without anything. */
void stage_plan_init(struct stage_plan *plan);
/* stage_joins_user: the child is born in a user namespace that is there already. */
bool stage_joins_user(const struct stage_plan *plan);
/* stage_start: clone the child. The caller watches stage->pid and ends with stage_fini(). */
int stage_start(struct stage *ret, const struct stage_plan *plan, struct err *err);
/*
 * stage_wait_ready: wait (in a coroutine, until the monotonic deadline) until the child has done
 * all there is to do before its program runs. On an error the child has been sent SIGKILL.
 */
int stage_wait_ready(struct stage *stage, const struct stage_plan *plan, uint64_t deadline,
		     struct err *err);
/*
 * stage_go: let a ready child execute its program, and wait until it does (one that is not the
 * first of its container does not need to be told). The error is the exec's or of what comes right
 * before it.
 */
int stage_go(struct stage *stage, uint64_t deadline, struct err *err);
/* stage_fini: close what is open; a child that has not executed its program ends by itself. */
void stage_fini(struct stage *stage);

/* --- for the parts of the child --- */

/* stage_warn: a line for the agent's log. */
void stage_warn(const char *fmt, ...) _printf_(1, 2);
