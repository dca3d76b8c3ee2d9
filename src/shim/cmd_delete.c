/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "runtime/sandbox.h"
#include "shim.pb-c.h"
#include "shim/address.h"
#include "shim/bundle.h"
#include "shim/cmd.h"

/*
 * How it works: containerd calls this when the connection to a shim has ended, also after every
 * orderly end and for each container of a pod by itself. So three cases: a container that joined a
 * sandbox leaves nothing of its own but a mount on its bundle, its sandbox lives on; after an
 * orderly end there is nothing to do; and after a crash the state on disk says what there was.
 *
 * A shim that is still there is given a moment to end, then it is killed: containerd has given it
 * up. Everything together stays below containerd's own patience (5 s).
 */

#define ORDERLY_END_MSEC 500
#define KILLED_END_MSEC  1000
/* Of a killed shim's children, which end with it, and have its socket until then: one that holds a
 * lock of the kernel's network needs a moment. */
#define CHILDREN_END_USEC (500 * USEC_PER_MSEC)
#define CHILDREN_POLL     (10 * USEC_PER_MSEC)

/* Until the process has ended, at most msec. */
static bool await_end(int pidfd, int msec)
{
	struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};

	return poll(&pollfd, 1, msec) > 0;
}

/* Returns the pid that the shim had, for the answer. */
static pid_t end_shim(const char *bundle, const char *id)
{
	pid_t pid = 0;
	_cleanup_(closep) int pidfd = bundle_pidfd(bundle, id, &pid);

	if (pidfd < 0 || await_end(pidfd, ORDERLY_END_MSEC))
		return pid;
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	(void)await_end(pidfd, KILLED_END_MSEC);
	return pid;
}

/* The socket, which a killed shim could not remove: where the bundle says that it is, or, without a
 * bundle (containerd may have been quicker), where it is by default. */
static void remove_socket(const char *bundle, const struct options *options)
{
	_cleanup_(freep) char *file = path_join(bundle, "address"), *text = NULL, *path = NULL;
	uint64_t deadline = clock_after(CHILDREN_END_USEC);
	const char *named = NULL;

	if (fs_read(file, 4096, &text, NULL) >= 0)
		named = str_skip_prefix(str_chomp(text), "unix://");
	path = named ? xstrdup(named)
		     : address_path("", options->address, options->namespace, options->id);
	while (!address_remove_stale(path) && clock_now() < deadline)
		usleep(CHILDREN_POLL);
}

static void unmount_rootfs(const char *bundle)
{
	_cleanup_(freep) char *rootfs = path_join(bundle, "rootfs");

	while (umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
}

static int print_response(pid_t pid, struct err *err)
{
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	uint64_t now = clock_realtime();
	uint8_t packed[64];
	size_t n;
	int r;

	at.seconds = (int64_t)(now / USEC_PER_SEC);
	at.nanos = (int32_t)(now % USEC_PER_SEC * 1000);
	response.pid = (uint32_t)pid;
	response.exit_status = 128 + SIGKILL;
	response.exited_at = &at;
	n = containerd__task__v2__delete_response__pack(&response, packed);
	r = fd_write_all(STDOUT_FILENO, packed, n);
	return r < 0 ? err_set(err, r, "print the answer") : 0;
}

/* What belongs to the sandbox alone; its id is the container's. */
static int delete_sandbox(const char *bundle, const struct options *options, pid_t *ret_pid,
			  struct err *err)
{
	int r;

	*ret_pid = end_shim(bundle, options->id);
	remove_socket(bundle, options);
	r = sandbox_cleanup(options->id, bundle, *ret_pid, err);
	return r < 0 ? err_wrap(err, r, "clean up sandbox %s", options->id) : 0;
}

int cmd_delete(const struct options *options, struct err *err)
{
	_cleanup_(freep) char *bundle = NULL;
	_cleanup_(bundle_group_fini) struct bundle_group group = {0};
	_cleanup_err_ struct err ignored = {0};
	pid_t pid = 0;
	int r = 0;

	/* As `start` has seen it, if it is still there. */
	bundle = str_empty(options->bundle) ? getcwd(NULL, 0) : realpath(options->bundle, NULL);
	if (!bundle && !str_empty(options->bundle))
		bundle = xstrdup(options->bundle);
	if (!bundle)
		return err_set(err, -errno, "find the bundle");
	/* A bundle that is gone or broken is a reason to clean up, not to fail. */
	if (bundle_group(bundle, options->id, &group, &ignored) < 0)
		group.sandbox = xstrdup(options->id);
	if (!group.member)
		r = delete_sandbox(bundle, options, &pid, err);
	unmount_rootfs(bundle);
	return r < 0 ? r : print_response(pid, err);
}
