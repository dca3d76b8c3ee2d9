/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "loop/co.h"
#include "oci/annotations.h"
#include "runtime/boot.h"
#include "runtime/debug_console.h"
#include "runtime/kernel_params.h"
#include "runtime/model.h"
#include "runtime/steps.h"

/*
 * How it works: the table at the end is the boot, from top to bottom, and its undo, from bottom to
 * top. The undo runs in three cases: a step has failed, the sandbox is stopped, or another process
 * (`shim delete`) cleans up what a crashed one has left; then s->loop is NULL and the live objects
 * are missing, and the undo functions work from s->disk, the state file. All of them are
 * idempotent.
 */

#define SHORT_TIMEOUT   (5 * USEC_PER_SEC)
#define START_TIMEOUT   (60 * USEC_PER_SEC) /* of a program; that it ends is noticed at once */
#define GROUP_TIMEOUT   (30 * USEC_PER_SEC) /* systemd may be busy with others */
#define NETWORK_TIMEOUT (20 * USEC_PER_SEC)
#define REASON_PATIENCE (500 * USEC_PER_MSEC)
#define LOG_PORT_NAME   "org.kata-containers.log.0"
#define SHELL_PORT_NAME "org.kata-containers.console.0"

/* --- the state directory --- */

int boot_make_state(void *context, struct err *err)
{
	struct sandbox *s = context;
	struct persist left;
	int r;

	persist_add_process(&s->disk, "shim", getpid());
	r = persist_claim(&s->disk, &left, err);
	s->claimed = r >= 0;
	if (r <= 0)
		return r;
	r = cleanup_left(&left, err);
	if (r >= 0)
		return persist_save(&s->disk, err);
	/* What is still there stays written down, for `delete` or the next one. */
	persist_disown(s->id);
	s->claimed = false;
	return r;
}

static void remove_state(void *context)
{
	struct sandbox *s = context;

	/* What could not be removed is for the next one with this id. */
	if (s->claimed && s->disk.cgroups.n)
		persist_disown(s->id);
	else if (s->claimed)
		persist_remove(s->id);
	s->claimed = false;
	boot_forget_former(s);
}

/* --- the control group --- */

static int join_cgroup(void *context, struct err *err)
{
	struct sandbox *s = context;
	const char *path = s->spec && s->spec->linux ? s->spec->linux->cgroupspath : "";
	int r;

	r = host_cgroup_plan(&s->cgroup, path, s->id, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->cgroup.dirs.n; i++)
		strv_add(&s->disk.cgroups, s->cgroup.dirs.v[i]);
	r = persist_save(&s->disk, err);
	return r < 0 ? r : host_cgroup_join(&s->cgroup, s->deadline, err);
}

static void leave_cgroup(void *context)
{
	struct sandbox *s = context;
	int r = s->loop ? host_cgroup_close(&s->cgroup) : host_cgroup_remove(&s->disk.cgroups);

	if (r < 0)
		log_warn("remove the control group of sandbox %s: %s", s->id, strerror(-r));
	else
		strv_fini(&s->disk.cgroups);
}

/* --- the virtual machine --- */

static void on_vm_exited(struct vm *vm, const char *reason, void *arg)
{
	(void)vm;
	sandbox_die(arg, reason);
}

int boot_choose_size(const struct config *config, const Grpc__Spec *spec, uint32_t *ret_vcpus,
		     uint64_t *ret_memory_mib, struct err *err)
{
	const struct config_hypervisor *h = &config->hypervisor;
	struct oci_sandbox_size size = {0};
	uint32_t vcpus = (uint32_t)(h->default_vcpus + 0.999);
	uint64_t memory_mib = h->default_memory;
	int r = 0;

	if (config->runtime.static_sandbox_resource_mgmt && spec)
		r = oci_sandbox_size(spec, &size, err);
	if (r < 0)
		return r;
	if (size.cpu_quota > 0 && size.cpu_period > 0)
		vcpus += (uint32_t)(((uint64_t)size.cpu_quota + size.cpu_period - 1) /
				    size.cpu_period);
	if (size.memory > 0)
		memory_mib += (uint64_t)size.memory >> 20;
	*ret_vcpus = MIN(vcpus, MAX(h->default_maxvcpus, 1U));
	*ret_memory_mib = MIN(memory_mib, h->default_maxmemory);
	return 0;
}

static void fill_vm_config(const struct sandbox *s, const char *run_dir, const char *params,
			   struct vm_config *ret)
{
	const struct config_hypervisor *h = &s->config->hypervisor;

	*ret = (struct vm_config){
		.id = s->id,
		.run_dir = run_dir,
		.hypervisor_path = h->path,
		.machine_type = h->machine_type,
		.machine_accelerators = h->machine_accelerators,
		.cpu_features = h->cpu_features,
		.accel = h->accelerator,
		.allow_emulation = h->allow_emulation,
		.kernel = h->kernel,
		.initrd = str_empty(h->initrd) ? NULL : h->initrd,
		.image = str_empty(h->image) ? NULL : h->image,
		.rootfs_type = h->rootfs_type,
		.image_nvdimm = !h->disable_image_nvdimm,
		.firmware = str_empty(h->firmware) ? NULL : h->firmware,
		.kernel_params = params,
		.vcpus = s->vcpus,
		.max_vcpus = h->default_maxvcpus,
		.memory_mib = s->memory_mib,
		.max_memory_mib = h->default_maxmemory,
		.memory_slots = h->memory_slots,
		.memory_prealloc = h->enable_mem_prealloc,
		.hugepages = h->enable_hugepages,
		/* Known of a VM that is to be saved, too, which has no shared folders itself. */
		.shared_memory = !streq(h->shared_fs, "none"),
		.bridges = h->default_bridges,
		.root_ports = h->pcie_root_port,
		.block_device_driver = h->block_device_driver,
		.block_device_aio = h->block_device_aio,
		.block_cache_direct = h->block_device_cache_set && h->block_device_cache_direct,
		.block_cache_noflush = h->block_device_cache_set && h->block_device_cache_noflush,
		.entropy_source = h->entropy_source,
		.debug = h->enable_debug,
		.seccomp_sandbox = h->seccompsandbox,
		.uid = h->uid,
		.gid = h->gid,
	};
}

/* Those of the machine itself, by which a saved one is known; what is the pod's comes later. */
static int add_ports(struct sandbox *s, struct err *err)
{
	int r = boot_add_channel(s, err);

	if (r >= 0)
		r = boot_add_port(s, "log0", LOG_PORT_NAME, &s->log_fd, err);
	if (r >= 0 && s->config->agent.debug_console_enabled)
		r = boot_add_port(s, "shell0", SHELL_PORT_NAME, &s->shell_fd, err);
	return r;
}

static int prepare_vm(void *context, struct err *err)
{
	struct sandbox *s = context;
	_cleanup_(freep) char *run_dir = path_join(PERSIST_VM_ROOT, s->id);
	_cleanup_(freep) char *params = kernel_params(s->config, s->cid ? "vsock" : NULL);
	const struct vm_listener listener = {.exited = on_vm_exited, .arg = s};
	struct vm_config config;
	int r;

	r = boot_choose_size(s->config, s->spec, &s->vcpus, &s->memory_mib, err);
	if (r < 0)
		return r;
	fill_vm_config(s, run_dir, params, &config);
	r = vm_new(s->loop, &config, &listener, &s->vm, err);
	return r < 0 ? r : add_ports(s, err);
}

static void forget_vm(void *context)
{
	struct sandbox *s = context;
	_cleanup_(freep) char *run_dir = path_join(PERSIST_VM_ROOT, s->id);
	_cleanup_err_ struct err err = {0};

	s->shell_fd = fd_close(s->shell_fd);
	s->log_fd = fd_close(s->log_fd);
	s->agent_fd = fd_close(s->agent_fd);
	if (s->loop)
		vm_free(TAKE_PTR(s->vm));
	else if (vm_cleanup(run_dir, *s->disk.vm_name ? s->disk.vm_name : s->id, &err) < 0)
		log_warn("%s", err_text(&err));
}

/* --- run it --- */

static int open_debug_console(void *context, struct err *err)
{
	struct sandbox *s = context;
	_cleanup_(freep) char *dir = NULL, *path = NULL;

	if (s->shell_fd < 0)
		return 0;
	dir = persist_dir(s->id);
	path = path_join(dir, DEBUG_CONSOLE_SOCKET);
	return debug_console_new(s->loop, TAKE_FD(s->shell_fd), path, &s->debug_console, err);
}

static void close_debug_console(void *context)
{
	struct sandbox *s = context;

	debug_console_free(TAKE_PTR(s->debug_console));
}

/* What the pod brings: in a VM that boots from the start, in a restored one plugged in. */
static int add_devices(struct sandbox *s, struct err *err)
{
	int r;

	if (s->purpose == SANDBOX_TO_SAVE)
		return 0;
	r = boot_attach_share(s, err);
	return r < 0 ? r : boot_attach_network(s, err);
}

static int run_vm(struct sandbox *s, struct err *err)
{
	int r;

	if (s->restore) {
		r = boot_await_restore(s, err);
		return r < 0 ? r : add_devices(s, err);
	}
	r = add_devices(s, err);
	return r < 0 ? r : vm_start(s->vm, err);
}

static int start_vm(void *context, struct err *err)
{
	struct sandbox *s = context;
	int r = run_vm(s, err);

	if (r < 0)
		return r;
	s->disk.emulated = vm_accelerator(s->vm) == VM_ACCEL_TCG;
	sandbox_save(s);
	r = log_forward_start(s->loop, s->log_fd, &s->log);
	if (r < 0)
		return err_set(err, r, "read the agent's log");
	s->log_fd = -1;
	return 0;
}

static void stop_vm(void *context)
{
	struct sandbox *s = context;
	_cleanup_err_ struct err err = {0};

	if (s->vm && boot_is_broken(s)) {
		struct vm_pids pids;

		vm_get_pids(s->vm, &pids);
		if (pids.vmm > 0)
			kill(pids.vmm, SIGKILL);
	}
	if (s->vm && vm_stop(s->vm, &err) < 0)
		log_warn("%s", err_text(&err));
	log_forward_stop(TAKE_PTR(s->log));
}

/* --- the table --- */

static const struct step steps[] = {
	/* The undo of a leftover has a limit of its own. */
	{"make the state directory", boot_make_state, remove_state, 0},
	{"join the sandbox's control group", join_cgroup, leave_cgroup, GROUP_TIMEOUT},
	{"prepare the shared directory", boot_open_share, boot_close_share, SHORT_TIMEOUT},
	{"mount what every sandbox sees", boot_bind_mounts, boot_unbind_mounts, SHORT_TIMEOUT},
	{"choose the channel to the agent", boot_choose_channel, boot_drop_channel, SHORT_TIMEOUT},
	{"prepare the virtual machine", prepare_vm, forget_vm, SHORT_TIMEOUT},
	{"look for a template", boot_find_template, boot_drop_template, START_TIMEOUT},
	{"start virtiofsd", boot_start_virtiofsd, boot_stop_virtiofsd, START_TIMEOUT},
	{"join the pod's network", boot_open_network, boot_close_network, NETWORK_TIMEOUT},
	{"offer the debug console", open_debug_console, close_debug_console, SHORT_TIMEOUT},
	{"start the virtual machine", start_vm, stop_vm, START_TIMEOUT},
	{"take the pod's loopback", boot_open_port_forward, boot_close_port_forward,
	 NETWORK_TIMEOUT},
	/* It watches the VM's progress instead of a clock; what follows takes the guest's pace. */
	{"reach the agent", boot_dial_agent, boot_hang_up, 0},
	{"make the clone its own", boot_freshen, NULL, 0},
	{"follow the host's clock", boot_follow_clock, boot_leave_clock, SHORT_TIMEOUT},
	{"create the sandbox in the guest", boot_create_in_guest, NULL, 0},
	{"configure the guest's network", boot_tell_network, NULL, 0},
	{"forward the pod's loopback", boot_start_port_forward, NULL, SHORT_TIMEOUT},
};

/* A VM that nobody's containers run in: it is to be saved (template_build.c). */
static const struct step save_steps[] = {
	{"make the state directory", boot_make_state, remove_state, 0},
	{"join the sandbox's control group", join_cgroup, leave_cgroup, GROUP_TIMEOUT},
	{"choose the channel to the agent", boot_choose_channel, boot_drop_channel, SHORT_TIMEOUT},
	{"prepare the virtual machine", prepare_vm, forget_vm, SHORT_TIMEOUT},
	{"give it memory that can be saved", boot_save_memory, boot_forget_memory, SHORT_TIMEOUT},
	{"start the virtual machine", start_vm, stop_vm, START_TIMEOUT},
	{"reach the agent", boot_dial_agent, boot_hang_up, 0},
};

/* A VM that waits for a pod that is not known yet, a spare … */
static const struct step spare_steps[] = {
	{"make the state directory", boot_make_state, remove_state, 0},
	{"join the sandbox's control group", join_cgroup, leave_cgroup, GROUP_TIMEOUT},
	{"prepare the shared directory", boot_open_share, boot_close_share, SHORT_TIMEOUT},
	{"choose the channel to the agent", boot_choose_channel, boot_drop_channel, SHORT_TIMEOUT},
	{"prepare the virtual machine", prepare_vm, forget_vm, SHORT_TIMEOUT},
	{"look for a template", boot_find_template, boot_drop_template, START_TIMEOUT},
	{"start virtiofsd", boot_start_virtiofsd, boot_stop_virtiofsd, START_TIMEOUT},
	{"start the virtual machine", start_vm, stop_vm, START_TIMEOUT},
	{"reach the agent", boot_dial_agent, boot_hang_up, 0},
	{"make the clone its own", boot_freshen, NULL, 0},
	{"warm the guest up", boot_warm_up, NULL, 0},
};

/* … and what is left to be done when its pod comes. Its undo is that of the whole boot. */
static const struct step pod_steps[] = {
	{"take the pod's name", boot_take_name, NULL, SHORT_TIMEOUT},
	{"move to the sandbox's control group", boot_move_cgroup, NULL, GROUP_TIMEOUT},
	{"mount what every sandbox sees", boot_bind_mounts, NULL, SHORT_TIMEOUT},
	{"join the pod's network", boot_open_network, NULL, NETWORK_TIMEOUT},
	{"offer the debug console", open_debug_console, NULL, SHORT_TIMEOUT},
	{"plug the pod's network in", boot_attach_network, NULL, START_TIMEOUT},
	{"take the pod's loopback", boot_open_port_forward, NULL, NETWORK_TIMEOUT},
	{"make the clone its own", boot_freshen, NULL, 0},
	{"follow the host's clock", boot_follow_clock, NULL, SHORT_TIMEOUT},
	{"create the sandbox in the guest", boot_create_in_guest, NULL, 0},
	{"configure the guest's network", boot_tell_network, NULL, 0},
	{"forward the pod's loopback", boot_start_port_forward, NULL, SHORT_TIMEOUT},
};

static const struct table {
	const struct step *steps;
	size_t n;
} tables[] = {
	[SANDBOX_OF_POD] = {steps, ARRAY_SIZE(steps)},
	[SANDBOX_TO_SAVE] = {save_steps, ARRAY_SIZE(save_steps)},
	[SANDBOX_TO_WAIT] = {spare_steps, ARRAY_SIZE(spare_steps)},
};

/* A broken connection is the first sign of an ended VM; why it ended is told in a moment. */
static void await_reason(struct sandbox *s, int code)
{
	uint64_t deadline = clock_after(REASON_PATIENCE);

	if (code != -ECONNRESET && code != -EPIPE && code != -ECONNABORTED && code != -ESHUTDOWN)
		return;
	while (!s->reason && clock_now() < deadline)
		co_sleep(10 * USEC_PER_MSEC);
}

/* What the VM knows of a failure: why it ended, and what its console said last. */
static void explain(void *context, struct err *err)
{
	_cleanup_(freep) char *what = NULL;
	struct sandbox *s = context;
	const char *tail;

	if (!err)
		return;
	await_reason(s, err->code);
	if (s->reason) {
		err_setx(err, err->code, "%s: %s", err_text(err), s->reason);
		return;
	}
	what = sandbox_explain(s, err_text(err));
	err_setx(err, err->code, "%s", what);
	tail = s->vm ? vm_console_tail(s->vm) : NULL;
	if (!str_empty(tail))
		err_setx(err, err->code, "%s; the guest's console said last: %s", err_text(err),
			 tail);
}

/* After a restore that has failed and was undone. */
static void begin_again(struct sandbox *s, struct err *err)
{
	err_clear(err);
	free(TAKE_PTR(s->reason));
	s->disk.n_processes = 0;
	s->stuck = false;
	agent_free(TAKE_PTR(s->agent));
}

static int run_table(const struct table *table, struct sandbox *s, struct err *err)
{
	return steps_run(table->steps, table->n, s, &s->deadline, explain, err);
}

int boot_run(struct sandbox *s, struct err *err)
{
	static const struct table of_spare = {pod_steps, ARRAY_SIZE(pod_steps)};
	const struct table *table = s->former ? &of_spare : &tables[s->purpose];
	int r = run_table(table, s, err);

	if (r < 0 && s->former)
		boot_undo(s);
	if (r >= 0 || !boot_may_boot_instead(s, err))
		return r;
	begin_again(s, err);
	return run_table(table, s, err);
}

void boot_undo(struct sandbox *s)
{
	steps_undo(tables[s->purpose].steps, tables[s->purpose].n, s);
}

/* --- without a boot --- */

/* A VM that never runs: what its template is called. */
static const struct step name_steps[] = {
	{"choose the channel to the agent", boot_choose_channel, boot_drop_channel, SHORT_TIMEOUT},
	{"prepare the virtual machine", prepare_vm, forget_vm, SHORT_TIMEOUT},
	{"name it", boot_name_vm, NULL, SHORT_TIMEOUT},
};

int boot_name(struct sandbox *s, struct err *err)
{
	int r = steps_run(name_steps, ARRAY_SIZE(name_steps), s, &s->deadline, NULL, err);

	if (r >= 0)
		steps_undo(name_steps, ARRAY_SIZE(name_steps), s);
	return r;
}
