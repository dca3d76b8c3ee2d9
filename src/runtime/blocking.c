/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/blocking.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/spawn.h"
#include "loop/co.h"

int blocking_run(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		 uint64_t deadline)
{
	if (co_self())
		return co_run_child(fn, arg, reply, n_reply, deadline);
	return fn(arg, reply);
}

static int run_apart(int (*fn)(void *arg, void *reply), void *arg, void *reply, size_t n_reply,
		     uint64_t deadline)
{
	pid_t pid;
	int r;

	if (co_self())
		return co_run_child(fn, arg, reply, n_reply, deadline);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(fn(arg, reply) < 0 ? 1 : 0);
	r = spawn_wait(pid);
	return r > 0 ? -EIO : r;
}

int blocking_fork(int (*fn)(void *arg, void *reply), void *arg, uint64_t deadline)
{
	return run_apart(fn, arg, NULL, 0, deadline);
}

struct opening {
	int (*fn)(void *arg, int *fds, void *reply);
	void *arg;
	size_t n_fds;
	int sock; /* where they are sent to */
};

static int open_in_child(void *arg, void *reply)
{
	const struct opening *o = arg;
	int fds[FD_PASS_MAX], r;

	r = o->fn(o->arg, fds, reply);
	if (r >= 0)
		r = (int)fd_send(o->sock, "", 1, fds, o->n_fds);
	return r < 0 ? r : 0;
}

static int take(int sock, int *fds, size_t wanted)
{
	size_t n = wanted;
	char byte;
	ssize_t got = fd_recv(sock, &byte, 1, fds, &n);

	if (got < 0)
		return (int)got;
	if (n == wanted)
		return 0;
	while (n > 0)
		fd_close(fds[--n]);
	return -EBADMSG;
}

int blocking_open(int (*fn)(void *arg, int *fds, void *reply), void *arg, int *fds, size_t n_fds,
		  void *reply, size_t n_reply, uint64_t deadline)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	int pair[2], r;

	r = fd_socketpair(pair);
	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	r = run_apart(open_in_child, &(struct opening){fn, arg, n_fds, theirs}, reply, n_reply,
		      deadline);
	return r < 0 ? r : take(ours, fds, n_fds);
}
