/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of a shim, as containerd's runtime v2 manual (docs/runtime-v2.md, "Commands")
 * defines it: Go's flags, with one dash or two, a value behind a space or an equals sign, then the
 * action.
 */

#include <stdbool.h>

#include "base/err.h"

#define SHIM_NAME "containerd-shim-kata-v2"

enum action { ACTION_NONE, ACTION_START, ACTION_DELETE, ACTION_TEMPLATE, ACTION_SPARE };

/* All strings are borrowed from argv and never NULL. */
struct options {
	const char *namespace;      /* containerd's namespace: "k8s.io", "default" … */
	const char *address;        /* containerd's gRPC socket; empty when CRI-O calls */
	const char *publish_binary; /* program to hand events to when there is no socket for them */
	const char *id;             /* of the container */
	const char *bundle;         /* its folder; empty: the current one */
	const char *socket;         /* to listen on; empty: derived */
	const char *config;         /* configuration file; empty: the search path */
	bool debug, version, info, help;
	enum action action;
};

/*
 * options_parse: argv[1…] to *ret. -EINVAL with a text for people: an unknown option, a missing
 * value, an action that does not exist, or what the action needs is missing.
 */
int options_parse(int argc, char *const argv[], struct options *ret, struct err *err);
/* options_help: the text of --help. */
extern const char options_help[];
