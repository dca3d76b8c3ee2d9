/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A process of a container, from its clone until the host knows its exit status and has read its
 * output. Its record outlives it: the exit status may be asked for later.
 */

#include "agent/init/stage.h"
#include "agent/stream.h"

#define PROCESS_LINGER_USEC (30 * USEC_PER_SEC) /* a record that nobody reads from any more */
#define PROCESS_WAITERS_MAX 64U

struct container;

struct process {
	struct list link; /* of container->processes */
	struct container *container;
	char *exec_id;
	bool is_init;
	bool ready;   /* set up: calls may find it */
	bool started; /* its program runs or has run */
	bool exited, waited;
	bool held;  /* the host wants all output, also what comes after the exit */
	int status; /* exit code, or 128 + signal */
	struct loop_child child;
	struct stage stage;
	struct stream_writer in;
	struct stream_reader out, err;
	bool terminal;
	struct list waiters;
	size_t n_waiters;
	struct loop_timer linger;
	struct loop_defer forget;
};

/*
 * process_new: a process that is in the container's list, with streams whose child's ends are put
 * into plan->stdio (the caller closes them after the clone) unless it has a terminal.
 */
int process_new(struct container *container, const char *exec_id, struct stage_plan *plan,
		struct process **ret, struct err *err);
/* process_clone: make the child and wait (coroutine) until it is ready to execute. Closes
 * plan->stdio. On an error the process has to be freed. */
int process_clone(struct process *process, struct stage_plan *plan, uint64_t deadline,
		  struct err *err);
/* process_go: execute the program. */
int process_go(struct process *process, uint64_t deadline, struct err *err);
/* process_free: forget it; calls that wait are failed, a child that lives is killed. */
void process_free(struct process *process);

/* process_signal: 0, also when it has ended already. */
int process_signal(struct process *process, int signo);
/*
 * process_wait: answer the call with the exit status, now or later. With `hold` the output of a
 * process that is not the first stays open as long as a descendant holds it, until a call without.
 */
int process_wait(struct process *process, struct ttrpc_call *call, bool hold, struct err *err);
/* process_resize: the terminal's size. */
int process_resize(struct process *process, uint32_t rows, uint32_t columns, struct err *err);
