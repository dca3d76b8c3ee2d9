/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "hypervisor/qemu/accel.h"
#include "hypervisor/qemu/cmdline.h"
#include "hypervisor/qemu/process.h"

/*
 * How it works: a VM is a state (new, starting, running, stopping, dead), a QEMU process and a QMP
 * session with it. The process's end is what counts: on_child() writes the obituary (from the exit
 * status, QEMU's last words, the guest's last lines), makes the VM dead and tells the listener,
 * unless somebody waits for the end himself (vm_start, vm_stop). A session that ends while the
 * process goes on is given a second, then the process is killed.
 *
 * A VM that is freed while coroutines are inside stays as a shell until the last has left.
 */

#define STOP_USEC  USEC_PER_SEC       /* for QEMU to end by itself */
#define KILL_USEC  (5 * USEC_PER_SEC) /* for the kernel to end it */
#define TAIL_LINES 8U

#define PROGRESS_USEC  (500 * USEC_PER_MSEC) /* between two looks at the vCPUs */
#define PROGRESS_SHARE 5                     /* the part of it that is more than idling: a fifth */
#define CONFIG_TEXTS   16

/* Every string of the configuration, so that none is forgotten when it is copied and freed. */
static void config_texts(struct vm_config *c, const char **ret[CONFIG_TEXTS + 1])
{
	const char **texts[] = {
		&c->id,
		&c->run_dir,
		&c->hypervisor_path,
		&c->machine_type,
		&c->machine_accelerators,
		&c->cpu_features,
		&c->accel,
		&c->kernel,
		&c->initrd,
		&c->image,
		&c->rootfs_type,
		&c->firmware,
		&c->kernel_params,
		&c->block_device_driver,
		&c->block_device_aio,
		&c->entropy_source,
		&c->seccomp_sandbox,
	};

	_Static_assert(ARRAY_SIZE(texts) == CONFIG_TEXTS + 1, "every string of struct vm_config");
	memcpy(ret, texts, sizeof(texts));
}

static void config_copy(struct vm_config *dst, const struct vm_config *src)
{
	const char **texts[CONFIG_TEXTS + 1];

	*dst = *src;
	config_texts(dst, texts);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		*texts[i] = str_empty(*texts[i]) ? NULL : xstrdup(*texts[i]);
}

static void config_fini(struct vm_config *c)
{
	const char **texts[CONFIG_TEXTS + 1];

	config_texts(c, texts);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free((void *)*texts[i]);
}

static int check_file(const char *what, const char *path, int mode, struct err *err)
{
	if (str_empty(path))
		return err_setx(err, -EINVAL, "no %s is configured", what);
	return access(path, mode) < 0 ? err_set(err, -errno, "%s %s", what, path) : 0;
}

static int check_config(const struct vm_config *c, struct err *err)
{
	int r;

	if (!c->id || !path_is_id(c->id) || !c->run_dir || !path_is_clean(c->run_dir))
		return err_setx(err, -EINVAL, "\"%.130s\" is no sandbox id", c->id ? c->id : "");
	r = machine_check(c, err);
	if (r == 0)
		r = check_file("hypervisor path", c->hypervisor_path, X_OK, err);
	if (r == 0)
		r = check_file("kernel", c->kernel, R_OK, err);
	if (r == 0 && str_empty(c->initrd) && str_empty(c->image))
		return err_setx(err, -EINVAL, "set either an initrd or an image");
	if (r == 0 && !str_empty(c->image))
		r = check_file("image", c->image, R_OK, err);
	if (r == 0 && !str_empty(c->initrd))
		r = check_file("initrd", c->initrd, R_OK, err);
	return r;
}

static int make_run_dir(const struct vm_config *c, struct err *err)
{
	_cleanup_(freep) char *parent = path_dir(c->run_dir);
	int r;

	r = fs_mkdir_all(parent, 0755);
	if (r < 0)
		return err_set(err, r, "make %s", parent);
	/* One of an earlier VM of that id is a leftover or, with a live QEMU, a clash. */
	if (mkdir(c->run_dir, 0700) < 0)
		return err_set(err, -errno, "make %s", c->run_dir);
	return 0;
}

int vm_new(struct loop *loop, const struct vm_config *config, const struct vm_listener *listener,
	   struct vm **ret, struct err *err)
{
	_cleanup_(vm_freep) struct vm *vm = NULL;
	enum vm_accel accel = VM_ACCEL_TCG;
	int r;

	r = check_config(config, err);
	if (r == 0)
		r = accel_choose(&accel_host, config->accel, config->allow_emulation, &accel, err);
	if (r == 0)
		r = make_run_dir(config, err);
	if (r < 0)
		return r;
	vm = xnew(struct vm);
	vm->loop = loop;
	vm->accel = accel;
	if (listener)
		vm->listener = *listener;
	config_copy(&vm->config, config);
	machine_clamp(&vm->config, accel);
	vm->block = (struct block_settings){
		.scsi = !streq(vm->config.block_device_driver, "virtio-blk"),
		.aio = process_aio(vm->config.block_device_aio),
		.cache_direct = config->block_cache_direct,
		.cache_noflush = config->block_cache_noflush,
	};
	list_init(&vm->devices);
	vm->memory_fd = -1;
	vm->qmp_usec = QEMU_QMP_USEC;
	vm->unplug_usec = QEMU_UNPLUG_USEC;
	co_cond_init(&vm->changed);
	co_lock_init(&vm->resize_lock);
	tail_init(&vm->console);
	tail_init(&vm->messages);
	vm->next_child_fd = QEMU_CHILD_FD_DEVICES;
	r = snapshot_identify(&vm->config, vm->files, err);
	if (r == 0)
		r = cmdline_layout(vm, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(vm);
	return 0;
}

static void vm_destroy(struct vm *vm)
{
	struct device *d, *next;

	list_for_each_safe (d, next, &vm->devices, link)
		device_free(d);
	tail_fini(&vm->console);
	tail_fini(&vm->messages);
	fd_close(vm->memory_fd);
	config_fini(&vm->config);
	free(vm->shutdown_cause);
	free(vm->death);
	free(vm);
}

void vm_enter(struct vm *vm)
{
	vm->users++;
}

void vm_leave(struct vm *vm)
{
	if (--vm->users == 0 && vm->freed)
		vm_destroy(vm);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm->listener = (struct vm_listener){0};
	loop_child_remove(&vm->child);
	loop_timer_cancel(&vm->orphan);
	if (vm->pid)
		process_kill(vm->pid);
	vm->pid = 0;
	vm->state = VM_DEAD;
	qmp_free(TAKE_PTR(vm->qmp));
	co_cond_wake_all(&vm->changed);
	(void)fs_remove_all(vm->config.run_dir);
	vm->freed = true;
	vm_enter(vm);
	vm_leave(vm);
}

int vm_move(struct vm *vm, const char *run_dir, struct err *err)
{
	if (renameat2(AT_FDCWD, vm->config.run_dir, AT_FDCWD, run_dir, RENAME_NOREPLACE) < 0)
		return err_set(err, -errno, "rename %s to %s", vm->config.run_dir, run_dir);
	free((void *)vm->config.run_dir);
	vm->config.run_dir = xstrdup(run_dir);
	return 0;
}

/* --- the end --- */

static void write_obituary(struct vm *vm, int status)
{
	const char *words, *lines;
	struct buf b = {0};

	tail_drain(&vm->console);
	tail_drain(&vm->messages);
	words = tail_text(&vm->messages, 1);
	lines = tail_text(&vm->console, TAIL_LINES);
	if (vm->orphaned)
		buf_adds(&b, "QEMU ended its monitor session and was killed for it");
	else if (WIFSIGNALED(status))
		buf_addf(&b, "QEMU was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (vm->shutdown_cause)
		buf_adds(&b, vm->shutdown_cause);
	else
		buf_addf(&b, "QEMU exited with status %d", WEXITSTATUS(status));
	if (*words)
		buf_addf(&b, ": %s", words);
	if (vm->config.uid && strstr(words, strerror(EACCES)))
		buf_addf(&b, " (QEMU runs as user %u, who must be able to read it)",
			 vm->config.uid);
	if (*lines)
		buf_addf(&b, "; guest console: %s", lines);
	free(vm->death);
	vm->death = buf_take(&b);
}

static void on_child(struct loop_child *child, int status)
{
	struct vm *vm = container_of(child, struct vm, child);
	bool unasked = vm->state == VM_RUNNING;

	vm->pid = 0;
	write_obituary(vm, status);
	loop_timer_cancel(&vm->orphan);
	vm->state = VM_DEAD;
	qmp_free(TAKE_PTR(vm->qmp));
	co_cond_wake_all(&vm->changed);
	if (unasked && vm->listener.exited)
		vm->listener.exited(vm, vm->death, vm->listener.arg);
}

int vm_dead(struct vm *vm, struct err *err)
{
	return err_setx(err, -ESHUTDOWN, "%s", vm->death ? vm->death : "the VM does not run");
}

/* Waits until the process is gone, or the deadline. */
static int await_death(struct vm *vm, uint64_t deadline)
{
	int r = 0;

	while (vm->pid && r == 0)
		r = co_cond_wait(&vm->changed, deadline);
	return vm->pid ? r : 0;
}

static int end_process(struct vm *vm, struct err *err)
{
	if (vm->pid)
		kill(vm->pid, SIGKILL);
	if (await_death(vm, clock_after(KILL_USEC)) < 0)
		return err_setx(err, -ETIMEDOUT, "QEMU (process %d) does not end after SIGKILL",
				vm->pid);
	return 0;
}

int vm_stop(struct vm *vm, struct err *err)
{
	int r;

	vm_enter(vm);
	if (vm->state != VM_DEAD)
		vm->state = VM_STOPPING;
	if (vm->pid && qmp_alive(vm->qmp)) {
		uint64_t deadline = clock_after(STOP_USEC);

		/* The answer may or may not come before the end. */
		(void)qmp_execute(vm->qmp, "quit", NULL, NULL, 0, deadline, NULL, NULL);
		(void)await_death(vm, deadline);
	}
	r = end_process(vm, err);
	if (r == 0)
		vm->state = VM_DEAD;
	vm_leave(vm);
	return r;
}

/* --- the QMP session --- */

static void on_orphan(struct loop_timer *timer)
{
	struct vm *vm = container_of(timer, struct vm, orphan);

	if (!vm->pid)
		return;
	vm->orphaned = true;
	kill(vm->pid, SIGKILL);
}

static void on_closed(void *arg, const char *reason)
{
	struct vm *vm = arg;

	/* Usually the process is ending, and its own words are better than ours. */
	log_debug("QEMU's monitor session ended: %s", reason);
	loop_timer_set(vm->loop, &vm->orphan, clock_after(STOP_USEC), on_orphan);
}

static const struct {
	const char *reason, *text;
} shutdown_reasons[] = {
	{"guest-shutdown", "the guest powered itself off"},
	{"guest-reset", "the guest reset itself (a kernel panic ends so)"},
	{"guest-panic", "the guest's kernel panicked"},
	{"host-signal", "QEMU was told to end by a signal"},
	{"host-qmp-quit", "QEMU was told to quit through its monitor"},
};

static void on_event(void *arg, const char *name, json_t *data)
{
	struct vm *vm = arg;
	const char *reason = json_string_value(json_object_get(data, "reason"));

	log_debug("QEMU event %.64s", name);
	if (streq(name, "SHUTDOWN")) {
		free(vm->shutdown_cause);
		vm->shutdown_cause = NULL;
		for (size_t i = 0; i < ARRAY_SIZE(shutdown_reasons); i++)
			if (streq(reason, shutdown_reasons[i].reason))
				vm->shutdown_cause = xstrdup(shutdown_reasons[i].text);
	}
	hotplug_on_event(vm, name, data);
	snapshot_on_event(vm, name, data);
}

int vm_call_fd(struct vm *vm, const char *command, json_t *arguments, int fd, json_t **ret,
	       struct err *err)
{
	int r;

	if (!vm->qmp) {
		json_decref(arguments);
		return vm_dead(vm, err);
	}
	r = qmp_execute(vm->qmp, command, arguments, &fd, fd >= 0 ? 1 : 0,
			clock_after(vm->qmp_usec), ret, err);
	if (r != -EPIPE)
		return r;
	/* The session ended because QEMU is ending, or it will be made to: the cause is the news.
	 */
	(void)await_death(vm, clock_after(2 * STOP_USEC));
	return vm_dead(vm, err);
}

int vm_call(struct vm *vm, const char *command, json_t *arguments, json_t **ret, struct err *err)
{
	return vm_call_fd(vm, command, arguments, -1, ret, err);
}

int vm_refresh_vcpus(struct vm *vm, struct err *err)
{
	json_t *list = NULL, *cpu;
	size_t i;
	int r;

	r = vm_call(vm, "query-cpus-fast", NULL, &list, err);
	if (r < 0)
		return r;
	vm->n_vcpus = 0;
	json_array_foreach(list, i, cpu)
	{
		json_int_t tid = json_integer_value(json_object_get(cpu, "thread-id"));

		if (vm->n_vcpus == QEMU_VCPUS_MAX)
			break;
		/* Others move and pin what is named here: it must be QEMU's own. */
		if (!process_has_thread(vm->pid, tid)) {
			r = err_setx(err, -EPROTO, "QEMU names a thread that is not its own");
			break;
		}
		vm->vcpu_pids[vm->n_vcpus++] = (pid_t)tid;
	}
	json_decref(list);
	return r;
}

/* --- the start --- */

static int converse(struct vm *vm, int monitor, struct err *err)
{
	struct qmp_listener listener = {on_event, on_closed, vm};
	struct qmp *qmp = NULL;
	int r;

	r = qmp_open(vm->loop, monitor, &listener, clock_after(QEMU_GREETING_USEC), &qmp, err);
	if (r < 0)
		return r;
	if (!vm->pid || vm->state != VM_STARTING) {
		qmp_free(qmp);
		return vm_dead(vm, err);
	}
	vm->qmp = qmp;
	return vm_refresh_vcpus(vm, err);
}

/* QEMU has made its sockets and opened its files: nothing in run_dir is its business any more. */
static int close_run_dir(struct vm *vm, struct err *err)
{
	const char *dir = vm->config.run_dir;

	if (chown(dir, geteuid(), getegid()) < 0 || chmod(dir, 0700) < 0)
		return err_set(err, -errno, "take back %s", dir);
	return 0;
}

static int run(struct vm *vm, struct err *err)
{
	_cleanup_err_ struct err cause = {0};
	int monitor, r;

	r = process_start(vm, &monitor, err);
	if (r < 0)
		return r;
	r = loop_child_add(vm->loop, &vm->child, vm->pid, on_child);
	if (r < 0) {
		close(monitor);
		return err_set(err, r, "watch QEMU");
	}
	r = converse(vm, monitor, &cause);
	if (r == 0)
		r = close_run_dir(vm, &cause);
	if (r < 0) {
		/* When QEMU is about to die by itself, its own cause is the better one. */
		(void)await_death(vm, clock_after(r == -ETIMEDOUT ? 0 : STOP_USEC));
		if (!vm->pid)
			return err_setx(err, r, "%s", vm->death);
		(void)end_process(vm, NULL);
		err_move(err, &cause);
	}
	return r;
}

int vm_start(struct vm *vm, struct err *err)
{
	struct device *d;
	int r;

	if (vm->state != VM_NEW)
		return err_setx(err, -EALREADY, "the VM was started before");
	vm_enter(vm);
	vm->state = VM_STARTING;
	r = run(vm, err);
	list_for_each (d, &vm->devices, link)
		for (size_t i = 0; i < d->n_fds; i++)
			d->fds[i].fd = fd_close(d->fds[i].fd);
	vm->memory_fd = fd_close(vm->memory_fd);
	if (r == 0 && vm->state != VM_STARTING)
		r = vm_dead(vm, err);
	if (r == 0)
		vm->state = VM_RUNNING;
	else if (vm->state == VM_STARTING)
		vm->state = VM_DEAD;
	vm_leave(vm);
	return r < 0 ? err_wrap(err, r, "start the VM") : 0;
}

int vm_pause(struct vm *vm, struct err *err)
{
	int r;

	vm_enter(vm);
	r = vm_call(vm, "stop", NULL, NULL, err);
	vm_leave(vm);
	return r;
}

int vm_resume(struct vm *vm, struct err *err)
{
	int r;

	vm_enter(vm);
	r = vm_call(vm, "cont", NULL, NULL, err);
	vm_leave(vm);
	return r;
}

/* --- looking at it --- */

void vm_get_pids(const struct vm *vm, struct vm_pids *ret)
{
	*ret = (struct vm_pids){.vmm = vm->pid};
	ret->n_vcpus = vm->pid ? MIN(vm->n_vcpus, (uint32_t)ARRAY_SIZE(ret->vcpus)) : 0;
	memcpy(ret->vcpus, vm->vcpu_pids, ret->n_vcpus * sizeof(ret->vcpus[0]));
}

bool vm_alive(const struct vm *vm)
{
	return vm->pid != 0;
}

/*
 * A vCPU that does something runs all the time, or would if the host had a processor for it. One
 * that idles wakes for a timer now and then: 0.5 % of the time, and some percent on a busy host,
 * where it has to wait for its turn each time.
 */
static bool has_busy_vcpu(struct vm *vm)
{
	uint64_t now = clock_now(), passed = now - vm->progress_at;
	bool busy = false;

	if (passed < PROGRESS_USEC)
		return false;
	vm->progress_at = now;
	for (uint32_t i = 0; vm->pid && i < vm->n_vcpus; i++) {
		uint64_t usec = process_thread_busy(vm->pid, vm->vcpu_pids[i]);

		/* A kernel that does not count: then only the dial's last limit is left. */
		if (!usec || usec - vm->vcpu_busy[i] > passed / PROGRESS_SHARE)
			busy = true;
		vm->vcpu_busy[i] = usec;
	}
	return busy;
}

uint64_t vm_progress(struct vm *vm)
{
	uint64_t output = vm->console.total;

	if (has_busy_vcpu(vm) || output != vm->console_seen)
		vm->progress++;
	vm->console_seen = output;
	return vm->progress;
}

enum vm_accel vm_accelerator(const struct vm *vm)
{
	return vm->accel;
}

const char *vm_console_tail(struct vm *vm)
{
	tail_drain(&vm->console);
	return tail_text(&vm->console, TAIL_LINES);
}
