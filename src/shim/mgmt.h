/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The management socket that kata-runtime and kata-monitor ask: HTTP on
 * /run/vc/sbs/<id>/shim-monitor.sock, as Kata has it. GET /metrics, GET /agent-url.
 */

#include "loop/loop.h"

struct mgmt;
struct shim;

/* mgmt_new: serve the shim's sandbox, which was booted. Without it everything else works: what
 * fails is logged, and *ret stays. */
void mgmt_new(struct loop *loop, struct shim *shim, struct mgmt **ret);
/* mgmt_free: NULL is fine; the socket is removed. */
void mgmt_free(struct mgmt *mgmt);
