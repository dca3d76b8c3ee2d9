/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tasks and processes as containerd sees them. The state here is what containerd has been told: a
 * process counts as stopped only when its output has been passed on and its exit been published.
 * So State, Wait and Kill never ask the guest and never wait for anybody else's call.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "loop/co.h"
#include "runtime/sandbox.h"
#include "shim/shim.h"
#include "wire/ttrpc/ttrpc.h"

struct io;
struct io_request;

/* Containers of a sandbox, and processes of a container, that a caller can make us hold. */
#define TASKS_MAX     1024
#define PROCESSES_MAX 4096

/* How long an exit waits for the output that came before it to be taken. */
#define DRAIN_USEC (2 * USEC_PER_SEC)
/* Of an exec: silence after which others, which it has left, hold its output; and how long its
 * Delete still waits for what they write. */
#define EXEC_QUIET_USEC (500 * USEC_PER_MSEC)
#define EXEC_DRAIN_USEC (10 * USEC_PER_SEC)

struct task_process {
	struct task *task;
	unsigned int refs;
	struct list link; /* in task->processes */
	char *exec_id;    /* "": the first process */
	char *in, *out, *err;
	bool terminal;
	struct io *io;
	enum process_state state;
	pid_t pid;
	uint32_t exit_status;
	uint64_t exited_at;     /* CLOCK_REALTIME µs, 0 before */
	bool starting;          /* Start is under way: its event comes first */
	bool exited;            /* the guest says so; containerd does not know yet */
	bool forsaken;          /* nobody will delete it when it has ended */
	bool deleted;           /* out of the table; kept by those who still use it */
	struct co_lock lock;    /* Start, Delete, Pause, Resume, Update: one at a time */
	struct co_cond changed; /* state, starting, deleted */
	struct list waiters;    /* struct waiter: Wait calls */
};

struct task {
	struct shim *shim;
	unsigned int refs;
	char *id, *bundle;
	struct list processes; /* the first process is the first */
	unsigned int n_processes;
	bool created;           /* Create has worked: visible to everything but Create */
	bool failed;            /* … has not */
	bool abandoned;         /* … shall not: nobody wants its result any more */
	bool stopping;          /* its sandbox is stopped for that */
	unsigned int n_callers; /* Create calls whose callers wait for it */
	struct co_cond changed; /* created, failed, stopping */
};

/* task_new: a task with its first process, in the table, not visible yet. -EEXIST, -EMFILE. */
int task_new(struct shim *shim, const char *id, const char *bundle, struct task **ret,
	     struct err *err);
/* task_first: its first process, borrowed. */
struct task_process *task_first(const struct task *task);
/* task_abandon: end a Create that is under way, by Delete, Shutdown or because nobody waits for it:
 * it fails and what it has made is undone. From a coroutine; waits for that, a few seconds. */
void task_abandon(struct task *task);
/* task_remove: out of the table; freed when nobody uses it any more. */
void task_remove(struct task *task);
/* task_is_sandbox: the sandbox was made for this container, or it is its last one: both end
 * together. */
bool task_is_sandbox(const struct task *task);
struct task *task_ref(struct task *task);
void task_unref(struct task *task);
DEFINE_CLEANUP(struct task *, task_unref)

/* task_process_new: a further process of a task, in state created. -EEXIST, -EMFILE. */
int task_process_new(struct task *task, const char *exec_id, struct task_process **ret,
		     struct err *err);
/* task_process_open: note and open its ends at containerd, from a coroutine (io_open). */
int task_process_open(struct task_process *process, const struct io_request *request,
		      struct err *err);
/* task_process_find: the process a request means, referenced; exec_id may be NULL. -ENOENT. */
int task_process_find(struct shim *shim, const char *id, const char *exec_id,
		      struct task_process **ret, struct err *err);
/* task_process_remove: out of its task; those who wait for it get -ENOENT. */
void task_process_remove(struct task_process *process);
struct task_process *task_process_ref(struct task_process *process);
void task_process_unref(struct task_process *process);
DEFINE_CLEANUP(struct task_process *, task_process_unref)

/* task_process_refuse: the error r for what needs a process that runs: "container c is not
 * running", and why its sandbox died, if it did. state: " is not running". */
int task_process_refuse(const struct task_process *process, int r, const char *state,
			struct err *err);
/* task_process_wait: answer the call when the process has stopped. Returns TTRPC_PARKED. */
int task_process_wait(struct task_process *process, struct ttrpc_call *call);
/* task_process_await_stop: the same for our own coroutines: 0 or -ETIMEDOUT. */
int task_process_await_stop(struct task_process *process, uint64_t deadline);

/* task_exited, task_oom: news from the sandbox (struct sandbox_listener). For CRI-O, which takes no
 * events, the latter leaves the file "oom" in the bundle, where it looks when a container failed.
 */
void task_exited(struct shim *shim, const char *id, const char *exec_id, uint32_t status,
		 uint64_t realtime_usec);
void task_oom(struct shim *shim, const char *id);
/* task_exit_all: whatever still counts as alive has ended with the sandbox. */
void task_exit_all(struct shim *shim);
/* task_await_exits: wait (in a coroutine) until every exit that is known has been published, at
 * most until the monotonic deadline. */
void task_await_exits(struct shim *shim, uint64_t deadline);
