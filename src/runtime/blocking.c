/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/blocking.h"

#include <errno.h>
#include <unistd.h>

#include "base/spawn.h"
#include "loop/co.h"

int blocking_run(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		 uint64_t deadline)
{
	if (co_self())
		return co_run_child(fn, arg, reply, n_reply, deadline);
	return fn(arg, reply);
}

int blocking_fork(int (*fn)(void *arg, void *reply), void *arg, uint64_t deadline)
{
	pid_t pid;
	int r;

	if (co_self())
		return co_run_child(fn, arg, NULL, 0, deadline);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(fn(arg, NULL) < 0 ? 1 : 0);
	r = spawn_wait(pid);
	return r > 0 ? -EIO : r;
}
