/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `kata-runtime check` looks at. */

#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"
#include "hypervisor/qemu/accel.h"

enum check_level {
	CHECK_OK,
	CHECK_NOTE,    /* works, with less; --strict counts it as a problem */
	CHECK_PROBLEM, /* a sandbox cannot start */
};

struct check_report {
	bool verbose;
	size_t n_notes, n_problems;
	bool emulated; /* sandboxes would run under TCG */
	bool capable;  /* something runs the guest's code */
};

/* The files of the host that are looked at; tests put others here. */
struct check_env {
	const struct accel_env *accel;
	const char *vhost_vsock, *vhost_net, *tun, *meminfo;
	uid_t uid;
};

/* check_host: look at everything and print what is found. Runs in a coroutine. */
void check_host(const struct check_env *env, const struct config *config,
		struct check_report *report);
/* check_say: print one finding and count it. remedy NULL: none. */
void check_say(struct check_report *report, enum check_level level, const char *remedy,
	       const char *format, ...) _printf_(4, 5);
