/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The task service of containerd's runtime v2 API, for versions 2 and 3, and its sandbox service.
 * They translate between containerd's messages and task.h, shim.h and runtime/sandbox.h, nothing
 * else. The user of the server they are added to is the struct shim.
 */

#include "wire/ttrpc/ttrpc.h"

/* The messages of containerd.task.v3 are those of v2 under another name, field by field (proto/
 * README.md): one table serves both. */
extern const struct ttrpc_service task_service_v2, task_service_v3;
/* containerd.runtime.sandbox.v1.Sandbox */
extern const struct ttrpc_service sandbox_service;

/* The methods that make and unmake processes: task_create.c, task_life.c. */
int task_method_create(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err);
int task_method_start(struct ttrpc_call *call, const void *request, void *response,
		      struct err *err);
int task_method_delete(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err);
int task_method_exec(struct ttrpc_call *call, const void *request, void *response, struct err *err);
/* task_failure: the code that a failure of the runtime, r, has for containerd; also in err. */
int task_failure(int r, struct err *err);
