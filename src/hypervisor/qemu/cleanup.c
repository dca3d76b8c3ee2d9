/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "hypervisor/qemu/qemu.h"

/*
 * Cleaning up behind an owner that crashed. QEMU dies with its owner, so there is rarely anything
 * left to kill; when there is, the pid file says which process, and its command line must name the
 * sandbox, since the number may be somebody else's by now. A pidfd holds on to the process that was
 * looked at.
 */

#define CMDLINE_MAX (1U << 20)
#define END_MSEC    5000

static bool is_our_qemu(pid_t pid, const char *id)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/cmdline", pid);
	_cleanup_(freep) char *name = xasprintf("sandbox-%s", id);
	_cleanup_(freep) char *text = NULL;
	size_t len, n = strlen(name);

	if (fs_read(path, CMDLINE_MAX, &text, &len) < 0)
		return false;
	for (size_t i = 0; i < len; i += strlen(text + i) + 1) {
		const char *value = text + i + strlen(text + i) + 1;

		if (streq(text + i, "-name") && value < text + len &&
		    strncmp(value, name, n) == 0 && (!value[n] || value[n] == ','))
			return true;
	}
	return false;
}

static int kill_qemu(const char *run_dir, const char *id, struct err *err)
{
	_cleanup_(freep) char *path = path_join(run_dir, "pid");
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = -1;
	struct pollfd ended;
	uint32_t pid;
	int r;

	r = fs_read(path, 32, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || parse_u32(str_chomp(text), &pid) < 0 || pid <= 1 || pid > INT32_MAX)
		return 0;
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0 || !is_our_qemu((pid_t)pid, id))
		return 0;
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_set(err, -errno, "kill QEMU (process %u)", pid);
	ended = (struct pollfd){.fd = fd, .events = POLLIN};
	if (poll(&ended, 1, END_MSEC) <= 0)
		return err_setx(err, -ETIMEDOUT, "QEMU (process %u) does not end after SIGKILL",
				pid);
	return 0;
}

int vm_cleanup(const char *run_dir, const char *id, struct err *err)
{
	int r;

	if (!path_is_id(id) || !path_is_clean(run_dir))
		return err_setx(err, -EINVAL, "\"%.130s\" is no sandbox id", id);
	r = kill_qemu(run_dir, id, err);
	if (r < 0)
		return r;
	r = fs_remove_all(run_dir);
	return r < 0 ? err_set(err, r, "remove %s", run_dir) : 0;
}
