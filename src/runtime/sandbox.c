/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/ns.h"
#include "runtime/disk.h"
#include "runtime/host_mount.h"
#include "runtime/model.h"
#include "runtime/port_forward.h"

/*
 * How it works: a sandbox is in one of seven states, and the table below answers every event in
 * every one of them. The boot and its undo are in boot.c. Death, the end of the VM, of virtiofsd or
 * of the agent that nobody asked for, can come at any moment, from any callback: it closes the
 * agent's connection, so that whoever waits for an answer gets -ESHUTDOWN, ends all processes with
 * status 137, tells the listener, and kills what is left of the VM. What is on disk goes with
 * sandbox_stop().
 */

#define DESTROY_TIMEOUT   (1 * USEC_PER_SEC)
#define DISK_SYNC_TIMEOUT (10 * USEC_PER_SEC)
#define MOUNTING_TIMEOUT  (2 * USEC_PER_SEC) /* a dead file server may keep it longer */

static const char *const state_names[] = {
	[SANDBOX_NEW] = "new",         [SANDBOX_BOOTING] = "booting",
	[SANDBOX_SPARE] = "spare",     [SANDBOX_RUNNING] = "running",
	[SANDBOX_DEAD] = "dead",       [SANDBOX_STOPPING] = "stopping",
	[SANDBOX_STOPPED] = "stopped",
};

#define NO (-1)

static const int next_state[][_SANDBOX_EVENT_MAX] = {
	[SANDBOX_NEW] = {[SANDBOX_BOOT] = SANDBOX_BOOTING,
			 [SANDBOX_UP] = NO,
			 [SANDBOX_WAIT] = NO,
			 [SANDBOX_FAIL] = NO,
			 [SANDBOX_DIE] = NO,
			 [SANDBOX_STOP] = SANDBOX_STOPPING,
			 [SANDBOX_DOWN] = NO},
	/* A VM that ends while it boots makes the boot fail, and that undoes it. */
	[SANDBOX_BOOTING] = {[SANDBOX_BOOT] = NO,
			     [SANDBOX_UP] = SANDBOX_RUNNING,
			     [SANDBOX_WAIT] = SANDBOX_SPARE,
			     [SANDBOX_FAIL] = SANDBOX_STOPPED,
			     [SANDBOX_DIE] = SANDBOX_BOOTING,
			     [SANDBOX_STOP] = NO,
			     [SANDBOX_DOWN] = NO},
	[SANDBOX_SPARE] = {[SANDBOX_BOOT] = SANDBOX_BOOTING,
			   [SANDBOX_UP] = NO,
			   [SANDBOX_WAIT] = NO,
			   [SANDBOX_FAIL] = NO,
			   [SANDBOX_DIE] = SANDBOX_DEAD,
			   [SANDBOX_STOP] = SANDBOX_STOPPING,
			   [SANDBOX_DOWN] = NO},
	[SANDBOX_RUNNING] = {[SANDBOX_BOOT] = NO,
			     [SANDBOX_UP] = NO,
			     [SANDBOX_WAIT] = NO,
			     [SANDBOX_FAIL] = NO,
			     [SANDBOX_DIE] = SANDBOX_DEAD,
			     [SANDBOX_STOP] = SANDBOX_STOPPING,
			     [SANDBOX_DOWN] = NO},
	[SANDBOX_DEAD] = {[SANDBOX_BOOT] = NO,
			  [SANDBOX_UP] = NO,
			  [SANDBOX_WAIT] = NO,
			  [SANDBOX_FAIL] = NO,
			  [SANDBOX_DIE] = SANDBOX_DEAD,
			  [SANDBOX_STOP] = SANDBOX_STOPPING,
			  [SANDBOX_DOWN] = NO},
	[SANDBOX_STOPPING] = {[SANDBOX_BOOT] = NO,
			      [SANDBOX_UP] = NO,
			      [SANDBOX_WAIT] = NO,
			      [SANDBOX_FAIL] = NO,
			      [SANDBOX_DIE] = SANDBOX_STOPPING,
			      [SANDBOX_STOP] = NO,
			      [SANDBOX_DOWN] = SANDBOX_STOPPED},
	[SANDBOX_STOPPED] = {[SANDBOX_BOOT] = NO,
			     [SANDBOX_UP] = NO,
			     [SANDBOX_WAIT] = NO,
			     [SANDBOX_FAIL] = NO,
			     [SANDBOX_DIE] = SANDBOX_STOPPED,
			     [SANDBOX_STOP] = NO,
			     [SANDBOX_DOWN] = NO},
};

const char *sandbox_state_name(enum sandbox_state state)
{
	return state_names[state];
}

int sandbox_event(struct sandbox *s, enum sandbox_event event)
{
	int next = next_state[s->state][event];

	if (next == NO)
		return -EBUSY;
	if ((enum sandbox_state)next == s->state)
		return 0;
	log_debug("sandbox: %s, now %s", state_names[s->state], state_names[next]);
	s->state = (enum sandbox_state)next;
	/* Before the boot there is no place for it, and after the end none any more. */
	if (s->state != SANDBOX_BOOTING && s->state != SANDBOX_STOPPED)
		sandbox_save(s);
	co_cond_wake_all(&s->changed);
	return 0;
}

void sandbox_save(struct sandbox *s)
{
	_cleanup_err_ struct err err = {0};

	persist_set(&s->disk.state, state_names[s->state]);
	persist_set(&s->disk.reason, s->reason);
	if (persist_save(&s->disk, &err) < 0)
		log_warn("%s", err_text(&err));
}

int sandbox_usable(const struct sandbox *s, struct err *err)
{
	if (s->state == SANDBOX_RUNNING)
		return 0;
	if (s->reason)
		return err_setx(err, -ESHUTDOWN, "the sandbox is gone: %s", s->reason);
	if (s->state <= SANDBOX_SPARE)
		return err_setx(err, -EAGAIN, "the sandbox is not running yet");
	return err_setx(err, -ESHUTDOWN, "the sandbox is %s", state_names[s->state]);
}

/* --- death --- */

/* The VM and virtiofsd may still run, one of them perhaps stuck. */
static void kill_remains(void *arg)
{
	struct sandbox *s = arg;

	co_lock(&s->stop_lock);
	if (s->state == SANDBOX_DEAD && s->vm)
		vm_stop(s->vm, NULL);
	co_unlock(&s->stop_lock);
	sandbox_unref(s);
}

static void announce_death(struct loop_defer *defer)
{
	struct sandbox *s = container_of(defer, struct sandbox, death);

	if (s->state == SANDBOX_DEAD && !s->freed && s->listener.died)
		s->listener.died(s->listener.arg, s->reason);
}

static void end_processes(struct sandbox *s)
{
	map_for_each (c, &s->containers)
		map_for_each (p, &((struct container *)c->value)->processes)
			process_ended(p->value, EXIT_KILLED);
}

char *sandbox_explain(const struct sandbox *s, const char *what)
{
	const char *full = host_cgroup_out_of_memory(&s->cgroup);

	return full ? xasprintf("%s (the kernel has killed for want of memory in %s)", what, full)
		    : xstrdup(what);
}

void sandbox_die(struct sandbox *s, const char *reason)
{
	enum sandbox_state before = s->state;

	loop_timer_cancel(&s->grace);
	if (sandbox_event(s, SANDBOX_DIE) < 0)
		return;
	if (!s->reason)
		s->reason = sandbox_explain(s, reason);
	if (before == SANDBOX_BOOTING && s->agent)
		agent_close(s->agent, s->reason);
	if (before != SANDBOX_RUNNING && before != SANDBOX_SPARE)
		return;
	log_error("the sandbox has died: %s", s->reason);
	sandbox_save(s);
	if (s->agent)
		agent_close(s->agent, s->reason);
	end_processes(s);
	/* Behind the announcements of the processes. */
	loop_defer(s->loop, &s->death, announce_death);
	sandbox_ref(s);
	co_start(s->loop, kill_remains, s);
}

/* --- life --- */

/* File systems that the guest shares with the host; two where they are cached differently. */
static size_t count_views(const struct config *config)
{
	const struct config_hypervisor *h = &config->hypervisor;

	if (streq(h->shared_fs, "none"))
		return 0;
	return streq(h->virtio_fs_rootfs_cache, h->virtio_fs_cache) ? 1 : _SHARE_MAX;
}

int sandbox_new(struct loop *loop, struct config *config, const char *id, const char *owner,
		const char *netns, const struct sandbox_listener *listener, struct sandbox **ret,
		struct err *err)
{
	struct sandbox *s;

	if (!path_is_id(id))
		return err_setx(err, -EINVAL, "\"%s\" cannot be the name of a sandbox", id);
	s = xnew(struct sandbox);
	s->loop = loop;
	s->config = config ? config_ref(config) : NULL;
	s->id = xstrdup(id);
	s->netns = xstrdup(netns ? netns : "");
	s->vsock_fd = s->agent_fd = s->log_fd = s->shell_fd = s->memory_fd = -1;
	for (size_t i = 0; i < _SHARE_MAX; i++)
		s->fs_fd[i] = -1;
	s->n_refs = 1;
	if (listener)
		s->listener = *listener;
	persist_init(&s->disk, id);
	persist_set(&s->disk.owner, owner);
	persist_set(&s->disk.netns, netns);
	persist_set(&s->disk.state, state_names[SANDBOX_BOOTING]);
	persist_set(&s->disk.config_file, config ? config->file : NULL);
	share_init(&s->share, id, config ? count_views(config) : 0);
	co_cond_init(&s->changed);
	co_lock_init(&s->stop_lock);
	co_lock_init(&s->disk_lock);
	list_init(&s->disks);
	*ret = s;
	return 0;
}

void sandbox_expel(const struct sandbox *s, pid_t pid)
{
	host_cgroup_expel(&s->cgroup, pid);
}

void sandbox_ref(struct sandbox *s)
{
	s->n_refs++;
}

void sandbox_unref(struct sandbox *s)
{
	if (--s->n_refs)
		return;
	loop_defer_cancel(&s->death);
	loop_timer_cancel(&s->grace);
	log_forward_stop(s->log);
	port_forward_free(s->port_forward);
	agent_free(s->agent);
	vm_free(s->vm);
	for (size_t i = 0; i < _SHARE_MAX; i++)
		virtiofsd_free(s->virtiofsd[i]);
	fd_close(s->vsock_fd);
	fd_close(s->agent_fd);
	fd_close(s->log_fd);
	fd_close(s->shell_fd);
	fd_close(s->memory_fd);
	for (size_t i = 0; i < _SHARE_MAX; i++)
		fd_close(s->fs_fd[i]);
	disks_free(s);
	map_fini(&s->containers);
	host_mounts_fini(&s->bind_mounts);
	share_fini(&s->share);
	host_cgroup_fini(&s->cgroup);
	persist_fini(&s->disk);
	free(s->agent_url);
	free(s->template_folder);
	free(s->wanted_key);
	config_free(s->config);
	free(s->reason);
	free(s->id);
	free(s->former);
	free(s->netns);
	free(s);
}

void sandbox_free(struct sandbox *s)
{
	struct map containers;

	if (!s)
		return;
	s->freed = true;
	s->listener = (struct sandbox_listener){0};
	if (s->agent)
		agent_close(s->agent, "the sandbox was freed");
	end_processes(s);
	containers = s->containers;
	s->containers = (struct map){0};
	map_for_each (e, &containers)
		container_drop(e->value);
	map_fini(&containers);
	sandbox_unref(s);
}

int sandbox_start(struct sandbox *s, const Grpc__Spec *spec, struct err *err)
{
	int r;

	if (sandbox_event(s, SANDBOX_BOOT) < 0)
		return err_setx(err, -EBUSY, "the sandbox is %s already", state_names[s->state]);
	sandbox_ref(s);
	s->spec = spec;
	r = boot_run(s, err);
	s->spec = NULL;
	/* The VM's end in the last moment, which no step has seen. */
	if (r >= 0 && s->reason) {
		r = err_setx(err, -ESHUTDOWN, "%s", s->reason);
		boot_undo(s);
	}
	if (r >= 0) {
		s->started_at = clock_realtime();
		sandbox_event(s, s->purpose == SANDBOX_TO_WAIT ? SANDBOX_WAIT : SANDBOX_UP);
		if (s->purpose == SANDBOX_OF_POD)
			oom_watch(s);
	} else {
		if (!s->reason)
			s->reason = xstrdup(err ? err_text(err) : strerror(-r));
		sandbox_event(s, SANDBOX_FAIL);
	}
	sandbox_unref(s);
	return r;
}

int sandbox_prepare(struct sandbox *s, struct err *err)
{
	s->purpose = SANDBOX_TO_WAIT;
	return sandbox_start(s, NULL, err);
}

/* Let containers end their way and block devices be written; not for long when nobody answers. */
static void destroy_in_guest(struct sandbox *s)
{
	Grpc__DestroySandboxRequest request = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	_cleanup_err_ struct err err = {0};
	uint64_t timeout = s->n_disks ? DISK_SYNC_TIMEOUT : DESTROY_TIMEOUT;

	/* Only a pod's VM has a sandbox in its guest. */
	if (s->purpose != SANDBOX_OF_POD || !agent_connected(s->agent) || (s->stuck && !s->n_disks))
		return;
	if (agent_destroy_sandbox(s->agent, &request, clock_after(timeout), &err) < 0) {
		log_debug("destroy the sandbox in the guest: %s", err_text(&err));
		s->stuck = true;
	}
}

/* A boot under way fails as soon as its VM is gone. */
static void abort_boot(struct sandbox *s)
{
	s->aborted = true;
	sandbox_die(s, "it was stopped while it booted");
	while (s->state == SANDBOX_BOOTING) {
		if (s->vm)
			vm_stop(s->vm, NULL);
		co_cond_wait(&s->changed, clock_after(50 * USEC_PER_MSEC));
	}
}

/* Their mounts outside of the shared folder; others may delete containers while this waits. */
static void unmount_containers(struct sandbox *s)
{
	size_t n, i = 0;
	_cleanup_(freep) struct container **all = NULL;
	uint64_t deadline = clock_after(MOUNTING_TIMEOUT);

	/* Those that a Create is making; the next ones see that the sandbox ends. */
	while (s->n_mounting && clock_now() < deadline)
		co_cond_wait(&s->changed, deadline);
	n = s->containers.n;
	all = xcalloc(n + 1, sizeof(struct container *));
	map_for_each (e, &s->containers) {
		all[i++] = e->value;
		container_ref(e->value);
	}
	for (i = 0; i < n; i++) {
		host_mounts_undo(&all[i]->mounts);
		container_unref(all[i]);
	}
}

int sandbox_stop(struct sandbox *s, struct err *err)
{
	(void)err;
	sandbox_ref(s);
	co_lock(&s->stop_lock);
	if (s->state == SANDBOX_BOOTING)
		abort_boot(s);
	if (s->state == SANDBOX_RUNNING) {
		sandbox_event(s, SANDBOX_STOP);
		destroy_in_guest(s);
	}
	if (sandbox_event(s, SANDBOX_STOP) >= 0 || s->state == SANDBOX_STOPPING) {
		loop_timer_cancel(&s->grace);
		if (s->agent)
			agent_close(s->agent, "the sandbox was stopped");
		end_processes(s);
		unmount_containers(s);
		boot_undo(s);
		sandbox_event(s, SANDBOX_DOWN);
	}
	co_unlock(&s->stop_lock);
	sandbox_unref(s);
	return 0;
}

bool sandbox_running(const struct sandbox *s)
{
	return s->state == SANDBOX_RUNNING;
}

void sandbox_status(const struct sandbox *s, struct sandbox_status *ret)
{
	struct vm_pids pids = {0};

	if (s->vm)
		vm_get_pids(s->vm, &pids);
	*ret = (struct sandbox_status){
		.state = s->state,
		.vm_pid = pids.vmm,
		.reason = s->reason,
		.started_at = s->started_at,
		.emulated = s->vm && vm_accelerator(s->vm) == VM_ACCEL_TCG,
		.agent_url = s->agent_url,
		.n_containers = (uint32_t)s->containers.n,
	};
}

int sandbox_ping(struct sandbox *s, uint64_t usec, struct err *err)
{
	int r = sandbox_usable(s, err);

	if (r < 0)
		return r;
	sandbox_ref(s);
	r = agent_check(s->agent, clock_after(usec), err);
	sandbox_unref(s);
	return r;
}

int sandbox_private_mounts(struct err *err)
{
	_cleanup_(closep) int left = ns_open("/proc/self/ns/mnt", CLONE_NEWNS);

	if (left < 0)
		return err_set(err, left, "open the mount namespace");
	if (unshare(CLONE_NEWNS) < 0)
		return err_set(err, -errno, "unshare the mount namespace (are we root?)");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(err, -errno, "keep our mounts from the host");
	return TAKE_FD(left);
}

void sandbox_sources_in(int mount_namespace)
{
	host_mounts_sources_in(mount_namespace);
}
