/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The OCI specification of a container that `kata-runtime run` starts. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct run_request {
	const char *rootfs; /* absolute */
	const char *id, *hostname, *cwd;
	struct strv args, env; /* env: NAME=VALUE; both belong to the caller */
	uint32_t uid, gid;
	bool terminal, read_only;
	struct strv log_options; /* for another of these programs, which begins in / */
};

/* run_spec_json: config.json's text; the caller frees. */
char *run_spec_json(const struct run_request *request);
/* run_parse_user: "UID" or "UID:GID" (the group is 0 otherwise). */
int run_parse_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid);
/* run_parse_memory: "512", "512M" or "2G" in MiB, at least 1. */
int run_parse_memory(const char *text, uint32_t *ret_mib);
