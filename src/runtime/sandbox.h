/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A sandbox: one VM and the containers in it. No containerd types here: shim/ translates between
 * its protocol and these functions, cli/ (kata-runtime run) uses them directly.
 *
 * Functions that take `struct err *err` may wait and are called from a coroutine. A sandbox that
 * has died (its VM or agent is gone) answers everything with -ESHUTDOWN and the cause, except stop,
 * delete and wait.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

#include "agent.pb-c.h"
#include "oci.pb-c.h"

struct config;
struct sandbox;
struct container;

/* All called from the loop, outside of any coroutine; strings are valid during the call. */
struct sandbox_listener {
	/* A process ended. exec_id "" is the container's init. status: exit code or 128 + signal.
	 */
	void (*process_exited)(void *arg, const char *container_id, const char *exec_id, pid_t pid,
			       uint32_t status, uint64_t realtime_usec);
	void (*oom)(void *arg, const char *container_id);
	/* The VM is gone, unasked. Every process was reported as exited (status 137) before this.
	 */
	void (*died)(void *arg, const char *reason);
	void *arg;
};

/* What a caller knows of a container at create time; borrowed during the call. */
struct container_request {
	const char *id;
	const char *bundle;     /* folder with config.json */
	const Grpc__Spec *spec; /* config.json, parsed */
	const char *rootfs;     /* a folder on the host; NULL: what spec says, or … */
	const struct rootfs_mount *rootfs_mounts; /* … these are to be mounted or hot-plugged */
	size_t n_rootfs_mounts;
	bool terminal, stdin_open;
};

struct rootfs_mount {
	const char *type, *source, *target; /* as containerd.types.Mount */
	const char *const *options;
	size_t n_options;
};

enum process_state { PROCESS_CREATED, PROCESS_RUNNING, PROCESS_PAUSED, PROCESS_STOPPED };

struct process_status {
	enum process_state state;
	pid_t pid; /* host pid shown to callers: the VM's; 0 before the start */
	bool terminal;
	uint32_t exit_status;
	uint64_t exited_at; /* CLOCK_REALTIME µs, 0 while it runs */
};

enum sandbox_state {
	SANDBOX_NEW,
	SANDBOX_BOOTING,
	SANDBOX_SPARE, /* its VM waits for a pod */
	SANDBOX_RUNNING,
	SANDBOX_DEAD, /* the VM or its agent is gone, unasked */
	SANDBOX_STOPPING,
	SANDBOX_STOPPED,
};

struct sandbox_status {
	enum sandbox_state state;
	pid_t vm_pid;        /* 0: no VM */
	const char *reason;  /* why it is dead or did not boot, else NULL */
	uint64_t started_at; /* CLOCK_REALTIME µs, 0 before the boot ended */
	bool emulated;       /* no KVM: no isolation guarantee */
	/* Where the agent serves: "vsock://CID:1024", or "port:NAME" for a virtio-serial port,
	 * whose only user the sandbox is; NULL before the boot. */
	const char *agent_url;
	uint32_t n_containers;
};

/*
 * sandbox_new: nothing running yet. owner: the bundle that it is for (runtime/persist.h). netns:
 * path of the network namespace or NULL. The sandbox holds `config` (config_ref) as long as anybody
 * waits in it.
 */
int sandbox_new(struct loop *loop, struct config *config, const char *id, const char *owner,
		const char *netns, const struct sandbox_listener *listener, struct sandbox **ret,
		struct err *err);
/* sandbox_start: boot: virtiofsd, network, VM, agent, CreateSandbox. On failure everything is
 * undone. `spec`: the sandbox container's (hostname, DNS, annotations, resources). */
int sandbox_start(struct sandbox *sandbox, const Grpc__Spec *spec, struct err *err);
/*
 * A spare: a sandbox whose VM is up before its pod is known. sandbox_prepare: instead of
 * sandbox_start(): boot or restore it, and have the guest run a process. sandbox_adopt: it is that
 * of a pod now, under another id, with what sandbox_new() takes, and this process with those of
 * the VM gets to where sandbox_start(), which comes next, puts them. -ESTALE: it is none for this
 * pod, whose configuration or size is another, or whose program, kernel or image was replaced; then
 * nothing has changed. After a failure of sandbox_start() there is nothing left of it.
 * sandbox_fits: only ask; spec may be NULL.
 */
int sandbox_prepare(struct sandbox *sandbox, struct err *err);
int sandbox_fits(const struct sandbox *sandbox, const struct config *config, const Grpc__Spec *spec,
		 struct err *err);
int sandbox_adopt(struct sandbox *sandbox, struct config *config, const Grpc__Spec *spec,
		  const char *id, const char *owner, const char *netns,
		  const struct sandbox_listener *listener, struct err *err);
/* sandbox_stop: end containers, agent, VM; undo the boot. Idempotent, ends clean whatever is dead
 * already. */
int sandbox_stop(struct sandbox *sandbox, struct err *err);
void sandbox_free(struct sandbox *sandbox);
DEFINE_CLEANUP(struct sandbox *, sandbox_free)
bool sandbox_running(const struct sandbox *sandbox);
/* sandbox_status: never waits for anything, also when the guest hangs. Strings live as long as the
 * sandbox. */
void sandbox_status(const struct sandbox *sandbox, struct sandbox_status *ret);
/* sandbox_ping: Health.Check of the agent; 0 when it serves. At most usec. */
int sandbox_ping(struct sandbox *sandbox, uint64_t usec, struct err *err);
/* sandbox_metrics: append what is known of shim, VM, virtiofsd and agent in Prometheus' text
 * format; what cannot be had in time is left out. */
int sandbox_metrics(struct sandbox *sandbox, struct buf *out, struct err *err);
/*
 * sandbox_wanted_template: the key of the template from which it would have been restored, had
 * there been a good one; NULL: nobody need make one (it was restored, templates are off or not to
 * be made in the background, or making it has failed not long ago). *ret_config: the configuration
 * file, "" without one. Both live as long as the sandbox.
 */
const char *sandbox_wanted_template(const struct sandbox *sandbox, const char **ret_config);
/* sandbox_wanted_spare: the configuration file, "" without one, of which a spare is missing; NULL:
 * none is. Lives as long as the sandbox. */
const char *sandbox_wanted_spare(const struct sandbox *sandbox);
/* sandbox_expel: move a process of ours that is not the sandbox's out of its control group, to
 * where the caller came from. */
void sandbox_expel(const struct sandbox *sandbox, pid_t pid);
/*
 * sandbox_private_mounts: move this process to a mount namespace of its own that still receives
 * what is mounted on the host (rslave). For main(), before sandbox_new(): the mounts of a sandbox
 * live there, so that they vanish with the process and its children, however it ends. Returns a
 * descriptor of the namespace that it has left, which is the caller's to close.
 */
int sandbox_private_mounts(struct err *err);
/*
 * sandbox_sources_in: from now on look up what is to be mounted in this mount namespace (borrowed),
 * which may have mounts that do not propagate to ours: those of containers/storage (CRI-O, podman)
 * are made below a private one.
 */
void sandbox_sources_in(int mount_namespace);
/* sandbox_cleanup: for `delete` after a crash: the undo of everything that the state on disk names,
 * if it is the state of this owner (NULL: whoever's) and its shim lives no more. `ended`: a shim
 * that was killed just now and may take a moment (0: none). Nothing to do is success. No loop. */
int sandbox_cleanup(const char *id, const char *owner, pid_t ended, struct err *err);
/*
 * sandbox_sweep: the same for every sandbox of the host whose owner lives no more, of those whose
 * name begins with `prefix` ("": all), but for `id` (NULL: none): a `delete` may never come
 * (containerd runs it in the bundle, which it may have removed by then). It blocks: not for the
 * loop.
 */
void sandbox_sweep(const char *prefix, const char *id);

/* --- containers and their processes; exec_id "" (or NULL) means the container's init --- */

int container_create(struct sandbox *sandbox, const struct container_request *request,
		     struct err *err);
int container_start(struct sandbox *sandbox, const char *id, const char *exec_id, pid_t *ret_pid,
		    struct err *err);
/* container_exec: prepare a further process; it runs from container_start() on. */
int container_exec(struct sandbox *sandbox, const char *id, const char *exec_id,
		   const Grpc__Process *process, bool stdin_open, struct err *err);
/* container_delete: of a stopped container or exec; reports its last status. */
int container_delete(struct sandbox *sandbox, const char *id, const char *exec_id,
		     struct process_status *ret, struct err *err);
int container_status(struct sandbox *sandbox, const char *id, const char *exec_id,
		     struct process_status *ret, struct err *err);
/* container_kill: `all`: every process of the container. What SIGKILL has not ended after 3 s is
 * reported as ended all the same, with status 137: it is stuck in the guest's kernel. */
int container_kill(struct sandbox *sandbox, const char *id, const char *exec_id, uint32_t signal,
		   bool all, struct err *err);
int container_pause(struct sandbox *sandbox, const char *id, struct err *err);
int container_resume(struct sandbox *sandbox, const char *id, struct err *err);
int container_update(struct sandbox *sandbox, const char *id, const Grpc__LinuxResources *resources,
		     struct err *err);
int container_resize_tty(struct sandbox *sandbox, const char *id, const char *exec_id,
			 uint32_t width, uint32_t height, struct err *err);
/* container_wait: until the process has ended (at once if it has). */
int container_wait(struct sandbox *sandbox, const char *id, const char *exec_id,
		   struct process_status *ret, struct err *err);
/* container_stats: the agent's figures; the caller frees *ret with
 * protobuf_c_message_free_unpacked(). */
int container_stats(struct sandbox *sandbox, const char *id, Grpc__StatsContainerResponse **ret,
		    struct err *err);
/* container_pids: host pids that stand for the container, as in `pid` above (a guest's pids mean
 * nothing here); the caller frees *ret. */
int container_pids(struct sandbox *sandbox, const char *id, pid_t **ret, size_t *ret_n,
		   struct err *err);

/* --- streams, in order, bounded by the agent's pipe: the back-pressure goes through to the process
 * --- */

/* container_write_stdin: all n bytes, or -EPIPE when the process has closed its end. */
int container_write_stdin(struct sandbox *sandbox, const char *id, const char *exec_id,
			  const void *data, size_t n, struct err *err);
int container_close_stdin(struct sandbox *sandbox, const char *id, const char *exec_id,
			  struct err *err);
/* container_read_output: waits for at least one byte; stream 1 or 2. Returns bytes, 0 at the end,
 * or -errno. *ret is the caller's to free. */
ssize_t container_read_output(struct sandbox *sandbox, const char *id, const char *exec_id,
			      int stream, void **ret, struct err *err);
