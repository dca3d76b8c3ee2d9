/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The folder that containerd makes for a container, and what a shim leaves there. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Which sandbox a container belongs to. */
struct bundle_group {
	char *sandbox; /* id of the sandbox: the container's own when it is one, or stands alone */
	bool member;   /* it joins a sandbox that another container has started */
};

/*
 * bundle_group: read it from the annotations in <bundle>/config.json, as containerd's CRI plugin
 * and CRI-O write them. A bundle without config.json is a sandbox (containerd's sandbox API).
 */
int bundle_group(const char *bundle, const char *id, struct bundle_group *ret, struct err *err);
/* bundle_group_parse: the same from the text of a config.json. */
int bundle_group_parse(const char *text, size_t n, const char *id, struct bundle_group *ret,
		       struct err *err);
void bundle_group_fini(struct bundle_group *group);

/* bundle_write: <bundle>/<name> with this text, replaced at once. */
int bundle_write(const char *bundle, const char *name, const char *text, struct err *err);
/* bundle_pidfd: a descriptor of the process in <bundle>/shim.pid, if it lives and is a shim for
 * this id, or is about to end: it stays that process, whoever gets the number later. Else a
 * negative errno. */
int bundle_pidfd(const char *bundle, const char *id, pid_t *ret_pid);
