/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Landlock (landlock(7)): what a program may change, besides what its user may, for programs that
 * we start (struct spawn.landlock_fd). A process under such a ruleset can also not trace, nor read
 * the memory of, a process that is not under the same one, whatever their users are.
 */

#include <stdbool.h>
#include <stddef.h>

struct landlock_rule {
	const char *path;  /* a folder and all below it */
	bool make_sockets; /* make and remove sockets there, too */
};

/*
 * landlock_new: a ruleset under which files can be opened for writing only below the given folders,
 * and nothing can be made, removed or renamed but sockets where a rule says so. Reading is as
 * before. Where the kernel can, also: no TCP, no connection to abstract sockets and no signal to
 * processes outside. Returns a close-on-exec fd; -ENOSYS or -EOPNOTSUPP when the kernel has no
 * Landlock.
 */
int landlock_new(const struct landlock_rule *rules, size_t n);
