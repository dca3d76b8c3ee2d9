/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What one daemon is made of: a sandbox, the tasks in it as containerd knows them, and the way to
 * tell containerd of events. The services (task_service.c, sandbox_service.c) work on it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/map.h"
#include "loop/co.h"
#include "loop/loop.h"
#include "oci.pb-c.h"
#include "runtime/sandbox.h"
#include "wire/ttrpc/ttrpc.h"

struct mgmt;
struct oci_spec;
struct publisher;

/* A shim without a sandbox and without tasks ends by itself after this: nobody will come back. */
#define SHIM_LINGER_USEC (30 * USEC_PER_SEC)

struct shim {
	struct loop *loop;
	const char *id; /* of the sandbox */
	const char *namespace;
	const char *bundle;      /* of its first container: the owner of what is on disk */
	const char *config_path; /* from `start`; "": the search path */
	bool crio;               /* CRI-O calls, not containerd (docs/crio.md) */
	struct publisher *publisher;
	void (*on_booted)(struct shim *shim); /* a sandbox runs; NULL: nobody wants to know */
	struct map tasks;                     /* id → struct task (task.h) */

	struct sandbox *spare;         /* a VM that is ready for the first boot; NULL: none */
	struct sandbox *sandbox;       /* NULL before the first boot; kept when it has ended */
	struct sandbox *booting;       /* the next one, while it boots */
	unsigned int n_stopping;       /* shim_stop() under way */
	bool stopped;                  /* sandbox_stop() was called and worked */
	struct co_lock boot;           /* held while the sandbox is booted or stopped */
	bool by_sandbox_api;           /* made by CreateSandbox: outlives its tasks */
	struct oci_spec *pending_spec; /* … and what StartSandbox boots it with */
	char *pending_netns, *pending_config_path;
	struct list waiters; /* struct shim_waiter: WaitSandbox calls */
	struct mgmt *mgmt;   /* while the sandbox runs */
	uint64_t ended_at;   /* CLOCK_REALTIME µs when the sandbox ended, 0 before */
	uint32_t exit_status;

	struct loop_timer linger;
	bool ending;
};

void shim_init(struct shim *shim, struct loop *loop, const char *id, const char *namespace);
void shim_fini(struct shim *shim);

/* Where a container that boots its sandbox gets what it needs; all borrowed. */
struct shim_boot {
	const Grpc__Spec *spec;
	const char *netns;       /* NULL: that of the spec */
	const char *config_path; /* from the call's options; NULL: from `start` */
	const bool *abandoned;   /* becomes true when nobody wants it any more; NULL: never */
	bool by_sandbox_api; /* for StartSandbox, which alone boots what CreateSandbox has made */
};

/*
 * shim_boot: have a running sandbox: boot it unless it runs already. From a coroutine; others wait
 * for the first. A sandbox that ended is replaced when it has no tasks any more.
 */
int shim_boot(struct shim *shim, const struct shim_boot *boot, struct err *err);
/* shim_stop: end the sandbox and whatever still runs in it (reported as 137); a boot under way
 * fails. From a coroutine; nothing to stop is success. */
int shim_stop(struct shim *shim, struct err *err);
/* shim_end: stop the sandbox, tell containerd what it has not been told, and end the process. The
 * answer to the call under way is still sent. */
void shim_end(struct shim *shim);
/* shim_touch: something came or went: start or stop waiting for an end by itself. */
void shim_touch(struct shim *shim);
/* shim_running: whether the sandbox runs. */
bool shim_running(const struct shim *shim);
/* shim_reason: why the sandbox died, for people; NULL: it did not. Valid until the next boot. */
const char *shim_reason(const struct shim *shim);
/* shim_vm_pid: the host process that stands for everything in the sandbox; 0: none. */
pid_t shim_vm_pid(const struct shim *shim);
/* shim_wait: park the call and answer it with a WaitSandboxResponse when the sandbox has ended. */
int shim_wait(struct shim *shim, struct ttrpc_call *call);
