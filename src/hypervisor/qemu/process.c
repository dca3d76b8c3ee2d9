/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/spawn.h"
#include "hypervisor/qemu/cmdline.h"
#include "kernel/landlock.h"

/*
 * How it works: QEMU runs as the configured user without any privilege, in an empty network
 * namespace, and dies with us. run_dir is shared with its group, sticky, until QEMU has made
 * qmp.sock and console.sock there: it can add to the folder but not touch what is ours (the pid
 * file). With user 0 it runs as we do, which only tests and rootless set-ups want.
 */

#define MONITOR_FD QEMU_CHILD_FD_FIRST
#define CONSOLE_FD (QEMU_CHILD_FD_FIRST + 1)
#define MEMORY_FD  (QEMU_CHILD_FD_FIRST + 2)
#define FDS_MAX    32 /* what spawn_start() takes */
#define KILL_POLLS 2000

static void make_uuid(char out[37])
{
	uint8_t b[16] = {0};

	(void)!getrandom(b, sizeof(b), 0);
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 4122 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
}

/* The group that may open /dev/kvm, when QEMU's user may not by itself. */
static gid_t kvm_group(const struct vm *vm)
{
	struct stat st;

	if (vm->accel != VM_ACCEL_KVM || stat("/dev/kvm", &st) < 0)
		return vm->config.gid;
	if ((st.st_mode & 06) == 06 || (st.st_mode & 060) != 060 || st.st_gid == 0)
		return vm->config.gid;
	return st.st_gid;
}

static int share_run_dir(const struct vm *vm, gid_t gid, struct err *err)
{
	const char *dir = vm->config.run_dir;

	if (!vm->config.uid)
		return 0;
	if (chown(dir, geteuid(), gid) < 0 || chmod(dir, 01770) < 0)
		return err_set(err, -errno, "share %s with QEMU", dir);
	return 0;
}

struct start {
	struct spawn_fd fds[FDS_MAX];
	size_t n_fds;
	int monitor[2], console[2], messages[2]; /* ours first */
	struct strv args;
};

static void start_fini(struct start *s)
{
	for (int i = 0; i < 2; i++) {
		fd_close(s->monitor[i]);
		fd_close(s->console[i]);
		fd_close(s->messages[i]);
	}
	strv_fini(&s->args);
}

static int open_channels(struct start *s, struct err *err)
{
	int r = fd_socketpair(s->monitor);

	if (r == 0 && (pipe2(s->console, O_CLOEXEC) < 0 || pipe2(s->messages, O_CLOEXEC) < 0))
		r = -errno;
	if (r < 0)
		return err_set(err, r, "make QEMU's channels");
	/* QEMU sets its own flags on its end; the pair is ours to have non-blocking. */
	return 0;
}

static int collect_fds(const struct vm *vm, struct start *s, struct err *err)
{
	const struct device *d;

	s->fds[s->n_fds++] = (struct spawn_fd){s->monitor[1], MONITOR_FD};
	s->fds[s->n_fds++] = (struct spawn_fd){s->console[1], CONSOLE_FD};
	if (vm->memory_fd >= 0)
		s->fds[s->n_fds++] = (struct spawn_fd){vm->memory_fd, MEMORY_FD};
	list_for_each (d, &vm->devices, link)
		for (size_t i = 0; i < d->n_fds; i++) {
			if (s->n_fds == FDS_MAX)
				return err_setx(err, -E2BIG,
						"too many devices at the start of the VM");
			s->fds[s->n_fds++] = (struct spawn_fd){d->fds[i].fd, d->fds[i].child};
		}
	return 0;
}

static int make_args(const struct vm *vm, struct start *s, struct err *err)
{
	char uuid[37];

	make_uuid(uuid);
	return process_args(vm, vm->config.id, vm->config.run_dir, uuid, &s->args, err);
}

int process_args(const struct vm *vm, const char *id, const char *run_dir, const char *uuid,
		 struct strv *ret, struct err *err)
{
	struct cmdline_start start = {
		.id = id,
		.run_dir = run_dir,
		.uuid = uuid,
		.monitor_fd = MONITOR_FD,
		.console_fd = CONSOLE_FD,
		.memory_fd = MEMORY_FD,
	};
	struct stat st;

	if (vm->config.image) {
		if (stat(vm->config.image, &st) < 0)
			return err_set(err, -errno, "image %s", vm->config.image);
		start.image_size = (uint64_t)st.st_size;
	}
	cmdline_build(vm, &start, ret);
	return 0;
}

/*
 * QEMU writes to its sockets' folder until that is closed to it, to devices, and to /proc (its
 * threads' names). Above all the ruleset keeps the QEMUs of one user from each other's memory.
 */
static int restrict_files(const struct vm *vm, int *ret, struct err *err)
{
	const struct landlock_rule rules[] = {
		{vm->config.run_dir, true},
		{"/dev", false},
		{"/proc", false},
	};
	int fd = landlock_new(rules, ARRAY_SIZE(rules));

	if (fd == -ENOSYS || fd == -EOPNOTSUPP) {
		log_debug("this kernel has no Landlock: QEMUs of one user can reach each other");
		return 0;
	}
	if (fd < 0)
		return err_set(err, fd, "make a Landlock ruleset for QEMU");
	*ret = fd;
	return 0;
}

static int execute(struct vm *vm, struct start *s, gid_t gid, struct err *err)
{
	/* Nothing of our environment; messages in English. */
	_cleanup_(closep) int ruleset = -1;
	char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
	struct spawn spawn = {
		.path = vm->config.hypervisor_path,
		.argv = s->args.v,
		.envp = env,
		.fds = s->fds,
		.n_fds = s->n_fds,
		.in = -1,
		.out = s->messages[1],
		.err = s->messages[1],
		.uid = vm->config.uid,
		.gid = gid,
		.new_netns = vm->config.uid != 0,
		.no_new_privs = true,
		.die_with_parent = true,
		.new_session = true,
	};
	pid_t pid;
	int r;

	r = restrict_files(vm, &ruleset, err);
	if (r < 0)
		return r;
	spawn.landlock_fd = ruleset;
	pid = spawn_start(&spawn);
	if (pid < 0)
		return err_set(err, pid, "run %s", vm->config.hypervisor_path);
	vm->pid = pid;
	return 0;
}

static int write_pid(const struct vm *vm, struct err *err)
{
	_cleanup_(freep) char *path = path_join(vm->config.run_dir, "pid");
	_cleanup_(freep) char *text = xasprintf("%d\n", vm->pid);
	int r = fs_replace(path, text, strlen(text), 0600, false);

	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}

int process_start(struct vm *vm, int *ret_monitor, struct err *err)
{
	_cleanup_(start_fini) struct start s = {
		.monitor = {-1, -1},
		.console = {-1, -1},
		.messages = {-1, -1},
	};
	gid_t gid = kvm_group(vm);
	int r;

	r = open_channels(&s, err);
	if (r == 0)
		r = collect_fds(vm, &s, err);
	if (r == 0)
		r = make_args(vm, &s, err);
	if (r == 0)
		r = share_run_dir(vm, gid, err);
	if (r == 0)
		r = execute(vm, &s, gid, err);
	if (r < 0)
		return r;
	r = write_pid(vm, err);
	if (r == 0) {
		r = tail_open(&vm->console, vm->loop, TAKE_FD(s.console[0]));
		if (r == 0)
			r = tail_open(&vm->messages, vm->loop, TAKE_FD(s.messages[0]));
		if (r < 0)
			err_set(err, r, "watch QEMU's output");
	}
	if (r < 0) {
		process_kill(vm->pid);
		vm->pid = 0;
		return r;
	}
	*ret_monitor = TAKE_FD(s.monitor[0]);
	return 0;
}

void process_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	for (int i = 0; i < KILL_POLLS; i++) {
		struct timespec ms = {.tv_nsec = 1000000};

		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		nanosleep(&ms, NULL);
	}
}

uint64_t process_thread_busy(pid_t pid, pid_t tid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/task/%d/schedstat", pid, tid);
	_cleanup_(freep) char *text = NULL;
	uint64_t ran, waited;

	if (fs_read(path, 128, &text, NULL) < 0 ||
	    sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
		return 0;
	return (ran + waited) / 1000;
}

bool process_has_thread(pid_t pid, int64_t tid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/task/%" PRId64, pid, tid);

	return tid > 0 && fs_exists(path);
}

const char *process_aio(const char *configured)
{
	if (streq(configured, "native"))
		return "native";
	/* EFAULT for the missing parameters tells that the call is there and allowed. */
	if (streq(configured, "io_uring") && syscall(SYS_io_uring_setup, 1, NULL) < 0 &&
	    errno == EFAULT)
		return "io_uring";
	return "threads";
}
