/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Internal to config/: from what files say to what is meant on this host. */

#include "config/config.h"

/* config_new: the defaults of the table, unresolved. */
struct config *config_new(void);
/* config_apply_text: what a file of that name says; the caller resolves. */
int config_apply_text(struct config *config, const char *file, const char *text, size_t n,
		      struct err *err);
/*
 * config_resolve: fill in what depends on the host (paths that were left open, numbers of CPUs,
 * memory, the user) and check keys against each other. May be called again after a change.
 */
int config_resolve(struct config *config, struct err *err);
/* config_prefix: where this program is installed: the folder above the one it runs from. "/usr"
 * when that cannot be found out. Valid for ever. */
const char *config_prefix(void);
/* config_host_cpus: CPUs that are online, at least 1. */
uint32_t config_host_cpus(void);
