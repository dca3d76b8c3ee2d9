/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CRI-O's side of a shim, for tests: what its `runtime_type = "vm"` does (docs/crio.md), call by
 * call. It is containerd.h's client with CRI-O's habits: no socket of its own, one connection for
 * each container, FIFOs below runtime_root, bundles whose root is mounted elsewhere.
 */

#include "containerd.h"

struct crio_container {
	char *id, *bundle;
	struct streams streams;
	struct ttrpc_client *client;
	bool terminal;
	struct call wait; /* from its start on */
};

/* crio_open, crio_close: instead of containerd_open() and containerd_close(). */
void crio_open(struct containerd *c);
void crio_close(struct containerd *c);

/* crio_bundle: the folder of a container, with a config.json as CRI-O writes it, that runs `sh -c
 * script`. pod: the id of its infra container. more: further annotations, "\"key\":\"value\",…". */
void crio_bundle(struct containerd *c, struct crio_container *ret, const char *pod, const char *id,
		 const char *script, bool terminal, const char *more);
void crio_container_fini(struct containerd *c, struct crio_container *ctr);

/* crio_start_shim: `start` in the bundle, and a connection to the address that it prints. */
void crio_start_shim(struct containerd *c, struct crio_container *ctr);
/* crio_connect: a connection to the address that a file of the bundle names, as after a restart of
 * CRI-O, which has neither connection nor waiter left. */
void crio_connect(struct containerd *c, struct crio_container *ctr);
/* crio_create: FIFOs and Create; config_path: runtime_config_path, or NULL. What it answers must
 * be a process of this host. */
int crio_create(struct containerd *c, struct crio_container *ctr, const char *config_path,
		struct err *err);
/* crio_run: start_shim, create, Start, and Wait from then on. */
void crio_run(struct containerd *c, struct crio_container *ctr);

/* crio_exec: FIFOs, Exec and Start of `sh -c script`. stdin: whether it has one. */
void crio_exec(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
	       const char *script, bool stdin, bool terminal, struct streams *ret);
/* crio_wait: send Wait, which CRI-O does before anything else may end the process. */
void crio_wait(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
	       struct call *ret);
/* crio_signal: Kill of a container or an exec. */
int crio_signal(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
		int signo, struct err *err);
/* crio_stop: StopContainer: Wait and SIGTERM at once, then SIGKILL after so many ms. */
void crio_stop(struct containerd *c, struct crio_container *ctr, unsigned int msec);
/* crio_expect: what State says: status and exit code; its streams are those of Create. */
void crio_expect(struct containerd *c, const struct crio_container *ctr, int status, int exit_code);
/* crio_remove: DeleteContainer: the FIFOs first, then Delete and Shutdown. */
void crio_remove(struct containerd *c, struct crio_container *ctr);
