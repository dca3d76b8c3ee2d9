/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who calls `start`, and what it says besides the command line: runtime options and, from
 * containerd 2.3 on, bootstrap parameters on standard input; addresses in the environment.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "shim/options.h"

/* Bytes a caller may send us on standard input. */
#define CALLER_INPUT_MAX (1U << 20)

struct caller {
	bool task_v3; /* takes the JSON answer that says "version":3 */
	bool debug;
	char *address;       /* containerd's gRPC socket; "": none */
	char *ttrpc_address; /* its ttRPC socket, where events go; "": none */
	char *socket_dir;    /* where our sockets shall be; "": our choice */
	char *config_path;   /* configuration file that the runtime's options name; "": none */
};

/*
 * caller_read: fill *ret from the options, the environment and `input` (standard input, read to its
 * end unless it is a terminal). On failure nothing needs to be freed.
 */
int caller_read(const struct options *options, int input, struct caller *ret, struct err *err);
/* caller_parse: the same from bytes that were read already, for tests; the answer's form is not
 * looked into. */
int caller_parse(const struct options *options, const void *p, size_t n, struct caller *ret,
		 struct err *err);
void caller_fini(struct caller *caller);
/* caller_is_crio: CRI-O calls: nobody else has no socket of its own. */
bool caller_is_crio(const struct caller *caller);

/* runtime_options_path: the ConfigPath in a runtimeoptions.v1.Options message, which travels as an
 * Any of type `type_url`; NULL when it has none or is another kind of message. The caller frees. */
char *runtime_options_path(const char *type_url, const void *p, size_t n);
