/* SPDX-License-Identifier: Apache-2.0 */
#include "fakes/fake_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/sha256.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/virtiofsd.h"
#include "kernel/vhost_vsock.h"

struct vm {
	struct loop *loop;
	char *run_dir;
	struct vm_listener listener;
	int agent_fd;
	struct loop_timer death;
	struct loop_defer exited;
	char *reason;
	bool started, stopped, restored;
	uint32_t vcpus;
	uint64_t memory_mib;
	pid_t pid; /* of a process that stands for QEMU: it may be killed */
};

struct virtiofsd {
	struct virtiofsd_listener listener;
	int peer;
};

struct fake_vm_plan fake_vm_plan;
static struct buf done;
static struct vm *the_vm;
static struct virtiofsd *the_fs; /* the last one that was started */
static unsigned int n_fs;
static struct fake_agent *the_agent;
static uint64_t ticks;
static char params[1024];

const char *fake_vm_params(void)
{
	return params;
}

const char *fake_vm_log(void)
{
	return done.data ? done.data : "";
}

void fake_vm_log_clear(void)
{
	buf_fini(&done);
	done = (struct buf){0};
}

/* Notes what is done; fails where the test wants it. */
static int note(const char *what, struct err *err)
{
	buf_addf(&done, "%s%s", done.len ? " " : "", what);
	if (streq(fake_vm_plan.fail_once, what)) {
		fake_vm_plan.fail_once = NULL;
		return err_setx(err, -EIO, "fake failure of %s", what);
	}
	if (streq(fake_vm_plan.fail, what))
		return err_setx(err, -EIO, "fake failure of %s", what);
	return 0;
}

bool fake_vm_gone(void)
{
	return !the_vm && !n_fs && !fake_agent_any();
}

struct fake_agent *fake_vm_agent(void)
{
	return the_agent;
}

static void report_exit(struct loop_defer *defer)
{
	struct vm *vm = container_of(defer, struct vm, exited);

	vm->listener.exited(vm, vm->reason, vm->listener.arg);
}

void fake_vm_die(const char *reason)
{
	struct vm *vm = the_vm;

	fake_vm_hang_up();
	if (vm->stopped)
		return;
	vm->stopped = true;
	vm->reason = xstrdup(reason);
	loop_defer(vm->loop, &vm->exited, report_exit);
}

void fake_vm_virtiofsd_die(const char *reason)
{
	the_fs->listener.exited(the_fs, reason, the_fs->listener.arg);
}

void fake_vm_hang_up(void)
{
	if (the_agent)
		buf_addf(&done, " [%s]", fake_agent_log(the_agent));
	fake_agent_free(TAKE_PTR(the_agent));
}

int vm_new(struct loop *loop, const struct vm_config *config, const struct vm_listener *listener,
	   struct vm **ret, struct err *err)
{
	struct vm *vm;
	int r = note("vm_new", err);

	if (r < 0)
		return r;
	vm = xnew(struct vm);
	vm->loop = loop;
	vm->run_dir = xstrdup(config->run_dir);
	snprintf(params, sizeof(params), "%s", config->kernel_params);
	vm->listener = *listener;
	vm->agent_fd = -1;
	vm->vcpus = config->vcpus;
	vm->memory_mib = config->memory_mib;
	fs_mkdir_all(vm->run_dir, 0700);
	the_vm = *ret = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	note("vm_free", NULL);
	vm_stop(vm, NULL);
	loop_defer_cancel(&vm->exited);
	fs_remove_all(vm->run_dir);
	fd_close(vm->agent_fd);
	free(vm->run_dir);
	free(vm->reason);
	free(vm);
	the_vm = NULL;
}

static void on_death(struct loop_timer *timer)
{
	(void)timer;
	fake_vm_die("fake: the guest has panicked");
}

/* The guest is there from its boot on, or from its restore. */
static void begin_guest(struct vm *vm)
{
	if (!fake_vm_plan.no_agent)
		the_agent = fake_agent_new(vm->loop, TAKE_FD(vm->agent_fd), true,
					   fake_vm_plan.mood);
	if (the_agent && fake_vm_plan.slow_method)
		fake_agent_delay(the_agent, fake_vm_plan.slow_method, 10 * USEC_PER_MSEC);
	if (fake_vm_plan.dies_after_usec)
		loop_timer_set(vm->loop, &vm->death, clock_after(fake_vm_plan.dies_after_usec),
			       on_death);
}

int vm_start(struct vm *vm, struct err *err)
{
	int r = note("vm_start", err);

	if (r < 0)
		return r;
	if (vm->stopped)
		return err_setx(err, -ESHUTDOWN, "fake: the VM was stopped");
	vm->started = true;
	vm->pid = fork();
	if (vm->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Sockets that it held would not close with ours. */
		close_range(3, ~0U, 0);
		pause();
		_exit(0);
	}
	if (!vm->restored)
		begin_guest(vm);
	return 0;
}

int vm_fingerprint(_unused_ const struct vm *vm, char ret[VM_FINGERPRINT_SIZE], struct err *err)
{
	_Static_assert(VM_FINGERPRINT_SIZE == SHA256_HEX_SIZE, "one is the other");
	sha256_hex(params, strlen(params), ret);
	return note("vm_fingerprint", err);
}

int vm_set_memory(struct vm *vm, int fd, enum vm_memory memory, struct err *err)
{
	static const char *const notes[] = {
		[VM_MEMORY_TO_SAVE] = "vm_set_memory:to_save",
		[VM_MEMORY_OWN] = "vm_set_memory:own",
		[VM_MEMORY_SHARED] = "vm_set_memory:shared",
	};

	vm->restored = memory != VM_MEMORY_TO_SAVE;
	/* What a guest writes. */
	if (!vm->restored && pwrite(fd, FAKE_VM_MEMORY, sizeof(FAKE_VM_MEMORY), 8192) < 0)
		return err_set(err, -errno, "fake memory");
	return note(notes[memory], err);
}

int vm_save(_unused_ struct vm *vm, int state_fd, struct err *err)
{
	if (write(state_fd, FAKE_VM_STATE, sizeof(FAKE_VM_STATE)) < 0)
		return err_set(err, -errno, "fake state");
	return note("vm_save", err);
}

int vm_load(struct vm *vm, int state_fd, struct err *err)
{
	char state[sizeof(FAKE_VM_STATE)];
	int r = note("vm_load", err);

	if (r < 0)
		return r;
	if (vm->stopped)
		return err_setx(err, -ESHUTDOWN, "fake: the VM was stopped");
	if (read(state_fd, state, sizeof(state)) != sizeof(state) || !streq(state, FAKE_VM_STATE))
		return err_setx(err, -EINVAL, "fake: not the state of a VM");
	begin_guest(vm);
	return 0;
}

int vm_stop(struct vm *vm, struct err *err)
{
	(void)err;
	note("vm_stop", NULL);
	loop_timer_cancel(&vm->death);
	fake_vm_hang_up();
	vm->stopped = true;
	/* The loop reaps it. */
	if (vm->pid > 0)
		kill(vm->pid, SIGKILL);
	vm->pid = 0;
	return 0;
}

int vm_pause(struct vm *vm, struct err *err)
{
	(void)vm;
	return note("vm_pause", err);
}

int vm_resume(struct vm *vm, struct err *err)
{
	(void)vm;
	return note("vm_resume", err);
}

int vm_add_device(struct vm *vm, const struct vm_device *device, struct vm_device_address *ret,
		  struct err *err)
{
	_cleanup_(freep) char *what = xasprintf("vm_add_device:%s", device->id);
	int fd = -1;

	*ret = (struct vm_device_address){.pci_path = "01/02"};
	if (device->type == VM_DEVICE_SERIAL)
		fd = device->serial.fd;
	if (device->type == VM_DEVICE_FS)
		fd = device->fs.fd;
	if (device->type == VM_DEVICE_BLOCK)
		fd = device->block.fd;
	if (device->type == VM_DEVICE_NET)
		fd = device->net.tap_fd;
	if (device->type == VM_DEVICE_VSOCK)
		fd = device->vsock.vhost_fd;
	if (streq(device->id, "agent0"))
		vm->agent_fd = fd;
	else
		fd_close(fd);
	return note(what, err);
}

int vm_remove_device(struct vm *vm, const char *id, struct err *err)
{
	_cleanup_(freep) char *what = xasprintf("vm_remove_device:%s", id);

	(void)vm;
	return note(what, err);
}

int vm_resize(struct vm *vm, uint32_t vcpus, uint64_t memory_mib, uint32_t *ret_vcpus,
	      uint64_t *ret_memory_mib, struct err *err)
{
	_cleanup_(freep) char *what = xasprintf("vm_resize:%u,%llu", vcpus,
						(unsigned long long)memory_mib);

	/* It only grows, and not beyond its limits. */
	vm->vcpus = MAX(vm->vcpus, MIN(vcpus, fake_vm_plan.max_vcpus));
	vm->memory_mib = MAX(vm->memory_mib, MIN(memory_mib, fake_vm_plan.max_memory_mib));
	*ret_vcpus = vm->vcpus;
	*ret_memory_mib = vm->memory_mib;
	return note(what, err);
}

void vm_get_pids(const struct vm *vm, struct vm_pids *ret)
{
	*ret = (struct vm_pids){.vmm = vm->pid};
}

bool vm_alive(const struct vm *vm)
{
	return vm->started && !vm->stopped;
}

uint64_t vm_progress(struct vm *vm)
{
	(void)vm;
	if (fake_vm_plan.mood == FAKE_MUTE || fake_vm_plan.no_agent)
		return 0;
	/* It boots until its agent has been called, and is at rest then. */
	return *fake_agent_log(fake_vm_agent()) ? ticks : ++ticks;
}

enum vm_accel vm_accelerator(const struct vm *vm)
{
	(void)vm;
	return VM_ACCEL_TCG;
}

const char *vm_console_tail(struct vm *vm)
{
	(void)vm;
	return "fake: last line of the console";
}

int vm_move(struct vm *vm, const char *run_dir, struct err *err)
{
	int r = note("vm_move", err);

	if (r < 0)
		return r;
	if (renameat2(AT_FDCWD, vm->run_dir, AT_FDCWD, run_dir, RENAME_NOREPLACE) < 0)
		return err_set(err, -errno, "rename %s to %s", vm->run_dir, run_dir);
	free(vm->run_dir);
	vm->run_dir = xstrdup(run_dir);
	return 0;
}

bool vm_is_current(_unused_ const struct vm *vm)
{
	return !fake_vm_plan.replaced;
}

int vm_cleanup(const char *run_dir, const char *id, struct err *err)
{
	_cleanup_(freep) char *what = xasprintf("vm_cleanup:%s", id);

	fs_remove_all(run_dir);
	return note(what, err);
}

int virtiofsd_start(struct loop *loop, const struct virtiofsd_config *config,
		    const struct virtiofsd_listener *listener, struct virtiofsd **ret, int *ret_fd,
		    struct err *err)
{
	int pair[2], r = note("virtiofsd_start", err);

	(void)loop;
	(void)config;
	if (r < 0)
		return r;
	if (fd_socketpair(pair) < 0)
		abort();
	the_fs = *ret = xnew(struct virtiofsd);
	n_fs++;
	the_fs->listener = *listener;
	the_fs->peer = pair[1];
	*ret_fd = pair[0];
	return 0;
}

int virtiofsd_stop(struct virtiofsd *fs, struct err *err)
{
	(void)fs;
	(void)err;
	return note("virtiofsd_stop", NULL);
}

void virtiofsd_free(struct virtiofsd *fs)
{
	if (!fs)
		return;
	fd_close(fs->peer);
	free(fs);
	n_fs--;
}

pid_t virtiofsd_pid(const struct virtiofsd *fs)
{
	(void)fs;
	return 0;
}

/* --- /dev/vhost-vsock --- */

static int vhost = -1;
static uint32_t cid;

int vhost_vsock_open(void)
{
	if (!fake_vm_plan.vhost_vsock)
		return -ENOENT;
	vhost = eventfd(0, EFD_CLOEXEC);
	return vhost;
}

int vhost_vsock_set_cid(int fd, uint32_t wanted)
{
	note("set_cid", NULL);
	if (fd != vhost)
		return -EBADF;
	cid = wanted;
	if (!fake_vm_plan.n_set_cid)
		return 0;
	fake_vm_plan.n_set_cid--;
	return fake_vm_plan.set_cid_error;
}

uint32_t fake_vm_cid(void)
{
	return cid;
}

bool fake_vm_vhost_open(void)
{
	return vhost >= 0 && fcntl(vhost, F_GETFD) >= 0;
}
