/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Containers of the guest. A container is in agent->containers from the moment its creation begins;
 * who works on it over a wait holds it with container_enter(), and its removal waits for them.
 */

#include "agent/agent.h"
#include "agent/hooks.h"
#include "agent/process.h"
#include "kernel/cgroup.h"

#define CONTAINER_TERMINATION_LOG_MAX 4096U
#define CONTAINER_PROCESSES_MAX       1024U
#define CONTAINER_KILL_USEC           (10 * USEC_PER_SEC) /* from SIGKILL until all are gone */

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_STOPPED,
	CONTAINER_REMOVING,
	_CONTAINER_STATE_MAX,
};

enum container_event {
	CONTAINER_READY, /* its first process waits for the start */
	CONTAINER_START,
	CONTAINER_EXEC,
	CONTAINER_PAUSE,
	CONTAINER_RESUME,
	CONTAINER_EXIT, /* the first process has ended */
	CONTAINER_REMOVE,
	_CONTAINER_EVENT_MAX,
};

struct container {
	struct agent *agent;
	char *id;
	enum container_state state;
	bool undestroyable; /* containers_destroy() has tried */
	unsigned int busy;  /* coroutines at work on it */
	struct co_cond changed;
	struct list processes;
	size_t n_processes;
	struct process *init; /* NULL until it is cloned */
	bool has_cgroup;
	struct cgroup cgroup;
	int oom_watch; /* inotify's number, -1: none */
	uint64_t oom_kills;
	struct list storages; /* storage_ref */
	/* For processes that come later. */
	unsigned int namespaces; /* that differ from the agent's */
	int pid_namespace;       /* fd; -1 before the clone */
	bool own_pid_namespace;  /* init is process 1 of it */
	bool gave_pid_namespace; /* the sandbox shares it */
	bool in_user_namespace;
	unsigned long personality;
	void *bpf;
	size_t n_bpf;
	unsigned int bpf_flags;
	char *termination_log; /* the guest's file behind Kubernetes' terminationMessagePath, or
				  NULL */
	char *bundle;          /* the folder above the root file system */
	struct list hooks[_HOOK_KIND_MAX];
};

/* container_next: the state after an event, or -1 when it may not happen. Pure. */
int container_next(enum container_state state, enum container_event event);
const char *container_state_name(enum container_state state);
/* container_check: may the event happen now? 0, or -EBUSY with the state in the text. */
int container_check(const struct container *c, enum container_event event, struct err *err);
/* container_move: check, and enter the next state. */
int container_move(struct container *c, enum container_event event, struct err *err);

/* container_new: a container in state CREATING, in the agent's map. */
int container_new(struct agent *agent, const char *id, struct container **ret, struct err *err);
/* container_find: by id; -ENOENT otherwise. */
struct container *container_find(struct agent *agent, const char *id, struct err *err);
/* container_find_process: the process; an empty exec_id, or the container's own id, is init. */
struct process *container_find_process(struct agent *agent, const char *id, const char *exec_id,
				       struct err *err);
/* container_check_stays: 0, or -EBUSY when it is being removed. */
int container_check_stays(const struct container *c, struct err *err);
/* container_enter, container_leave: around work on it that waits. Nobody enters what is being
 * removed: container_check(), or container_check_stays(), comes before. */
void container_enter(struct container *c);
void container_leave(struct container *c);
/* containers_close_streams: in a child that was forked: close the agent's ends of all pipes, and
 * forget their numbers, which the child's own may be given. */
void containers_close_streams(struct agent *agent);
/* container_kill: SIGKILL to everything in it. */
int container_kill(struct container *c);
/* container_init_exited: called by process.c. */
void container_init_exited(struct container *c);
/*
 * container_destroy: (coroutine) kill, wait for the end of all processes, remove the group and the
 * storages, and free. The container must have entered REMOVING. On an error it stays, and the call
 * can be repeated.
 */
int container_destroy(struct container *c, uint64_t deadline, struct err *err);

/*
 * container_read_termination_log: (coroutine) up to CONTAINER_TERMINATION_LOG_MAX bytes of the file
 * where Kubernetes lets a container leave its last words; "" when it left none. *ret is to be
 * freed.
 */
int container_read_termination_log(struct container *c, char **ret, struct err *err);

/* container_create.c: make the container of the specification up to its waiting first process. */
int container_create(struct container *c, const Grpc__Spec *spec, const char *exec_id,
		     bool shared_pidns, uint64_t deadline, struct err *err);
/* container_exec: one more process, running. */
int container_exec(struct container *c, const char *exec_id, const Grpc__Process *process,
		   uint64_t deadline, struct err *err);
