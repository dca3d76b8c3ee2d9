/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sandboxes of this host, from the state that they keep below /run/vc (or --root). */

#include <stdint.h>
#include <sys/types.h>

#include "cli/cli.h"
#include "runtime/persist.h"

struct sandbox_view {
	char *id;
	struct persist state; /* all empty when has_state is not set */
	bool has_state;
	pid_t pid;               /* of QEMU; 0: it does not run */
	uint64_t age_usec;       /* since the sandbox was made; 0: unknown */
	uint64_t memory_mib;     /* the guest's, as QEMU was told */
	uint64_t resident_bytes; /* what of QEMU is in the host's memory */
};

struct sandbox_views {
	struct sandbox_view *v;
	size_t n;
};

/* sandbox_views_load: all, ordered by id. A missing folder means none. */
int sandbox_views_load(const struct cli *cli, struct sandbox_views *ret, struct err *err);
void sandbox_views_fini(struct sandbox_views *views);
/* sandbox_view_load: one; -ENOENT when there is no trace of it. A unique beginning of an id will
 * do. */
int sandbox_view_load(const struct cli *cli, const char *id, struct sandbox_view *ret,
		      struct err *err);
void sandbox_view_fini(struct sandbox_view *view);
/* sandbox_view_state: what its state file says ("running" without one) as long as its QEMU or shim
 * lives, "stopped" otherwise. */
const char *sandbox_view_state(const struct sandbox_view *view);
/* sandbox_state_path: the path of a file of the sandbox's state folder; -ENOENT and a text when
 * there is no such sandbox, -ENOTCONN when nobody serves it yet. The caller frees. */
int sandbox_state_path(const struct cli *cli, const char *id, const char *name, char **ret,
		       struct err *err);
/* sandbox_vm_path: the same of the VM's folder; not checked. */
char *sandbox_vm_path(const struct cli *cli, const char *id, const char *name);
