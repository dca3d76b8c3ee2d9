/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options of an OCI mount ("ro", "rbind", "rro", "mode=755"), sorted by who applies them. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct mount_spec {
	bool bind, recursive, remount;
	bool tmpcopyup;
	/* mount_setattr(2): for the mount itself, and for everything below it ("rro"). */
	uint64_t attr_set, attr_clear;
	uint64_t recursive_set, recursive_clear;
	/* MS_PRIVATE and the like, and whether for everything below; 0: as it comes. */
	uint64_t propagation;
	bool propagation_recursive;
	struct strv superblock; /* "sync": flags of the file system as a whole */
	struct strv data;       /* "mode=755": words of the file system */
};

/*
 * mount_spec_parse: fill *ret (end with mount_spec_fini). Unknown words are the file
 * system's. -ENOTSUP: an option that the agent knows and cannot honour.
 */
int mount_spec_parse(struct mount_spec *ret, char *const *options, size_t n, struct err *err);
void mount_spec_fini(struct mount_spec *options);
