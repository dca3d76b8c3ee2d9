/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * blocking_run: co_run_child() where there is a coroutine, a plain call where there is none
 * (sandbox_cleanup(), which has no loop to keep waiting). fn(arg, reply) as there.
 */
int blocking_run(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		 uint64_t deadline);
/* blocking_fork: the same without a reply, and always in a child, for what would change this
 * process (setns). Without a coroutine the deadline is not watched. */
int blocking_fork(int (*fn)(void *arg, void *reply), void *arg, uint64_t deadline);
/*
 * blocking_open: the same for what can only be opened elsewhere, in a namespace for example: fn
 * opens n_fds descriptors (FD_PASS_MAX at most), or returns -errno and may say more in reply, which
 * may be NULL. Without a coroutine neither comes back, but -EIO. On success fds are the caller's.
 */
int blocking_open(int (*fn)(void *arg, int *fds, void *reply), void *arg, int *fds, size_t n_fds,
		  void *reply, size_t n_reply, uint64_t deadline);
