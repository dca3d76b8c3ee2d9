/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The objects of this room, private to it (the public face is runtime/sandbox.h).
 *
 * Ownership: a sandbox owns its containers, a container its processes. All three are counted,
 * because coroutines wait inside of calls while others may delete what they wait for: whoever waits
 * holds a reference, looks at the state again afterwards, and lets go. A removed container or
 * process is out of its map but lives until the last reference is gone.
 */

#include "agent_client/client.h"
#include "agent_client/log_forward.h"
#include "base/list.h"
#include "base/map.h"
#include "config/config.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/virtiofsd.h"
#include "loop/co.h"
#include "runtime/clock_watch.h"
#include "runtime/host_cgroup.h"
#include "runtime/host_mount.h"
#include "runtime/network.h"
#include "runtime/persist.h"
#include "runtime/sandbox.h"
#include "runtime/share.h"

#define SANDBOX_CONTAINERS_MAX 1024U
#define CONTAINER_EXECS_MAX    1024U
#define CALL_TIMEOUT           (60 * USEC_PER_SEC)
#define EXIT_KILLED            137

struct process {
	struct container *container;
	char *exec_id; /* "": the container's init */
	enum process_state state;
	bool terminal, stdin_open;
	bool killed;               /* SIGKILL was sent: its end is expected */
	bool out_ended, err_ended; /* the agent has told the end of the stream */
	pid_t pid;                 /* what callers are shown: the VM's */
	uint32_t exit_status;
	uint64_t exited_at;
	uint32_t known_status; /* what the agent has said … */
	uint64_t known_at;     /* … and when; 0: nothing yet */
	struct co_cond changed;
	struct loop_defer announce;
	Grpc__Process *pending; /* of an exec: what container_start() sends */
	/* What was to happen at the start and came before it (peer-features.md §4.4, bug 1). */
	bool close_stdin_early;
	uint32_t early_width, early_height;
	unsigned int n_refs;
};

struct container {
	struct sandbox *sandbox;
	char *id, *bundle;
	struct map processes; /* exec id → struct process; "" is always there */
	struct host_mounts mounts;
	struct disk **disks; /* of the sandbox */
	size_t n_disks;
	struct live_volume **live; /* live_volume.h */
	size_t n_live;
	Grpc__Hooks *hooks; /* of the host: poststart, poststop */
	char *annotations;  /* of config.json, in JSON, for hooks; NULL: there are none */
	bool in_guest;      /* CreateContainer was sent */
	bool paused;
	bool stuck; /* SIGKILL did not end one of its processes: its removal is not waited for */
	struct co_lock lock; /* create, start, pause, resume, update, delete: one at a time */
	uint64_t memory_limit, cpu_quota_millis; /* for the size of the VM; 0: none */
	unsigned int n_refs;
};

struct restore;

/* What a sandbox is for: a pod's containers, a template (template_build.h), or a pod that is not
 * known yet (a spare; also the trial of a template). */
enum sandbox_purpose { SANDBOX_OF_POD, SANDBOX_TO_SAVE, SANDBOX_TO_WAIT };

struct sandbox {
	struct loop *loop;     /* NULL: rebuilt from disk, by sandbox_cleanup() */
	struct config *config; /* counted; NULL: rebuilt from disk */
	struct sandbox_listener listener;
	enum sandbox_state state;
	char *reason; /* why it is dead */
	char *id, *netns;
	char *former;           /* the id that it had as a spare; NULL: it was none */
	bool former_gone;       /* nothing has that name any more */
	const Grpc__Spec *spec; /* during the boot */
	uint64_t started_at, deadline;
	uint64_t patience; /* µs that a call of the boot may take, see boot.h */
	struct persist disk;
	bool claimed; /* the folder of `disk` is ours */
	struct share share;
	struct host_mounts bind_mounts; /* sandbox_bind_mounts of the configuration */
	struct live_volumes *live;      /* of all containers; NULL: none */
	uint64_t next_live;             /* the number of the next one */
	struct host_cgroup cgroup;
	struct network network;
	struct virtiofsd *virtiofsd[_SHARE_MAX];
	struct vm *vm;
	uint32_t cid;    /* of the VM's vsock; 0: the agent has a serial port */
	char *agent_url; /* where it serves: "vsock://CID:1024" or "port:NAME" */
	int vsock_fd;    /* -1: none, or handed to the VM */
	int agent_fd, log_fd, shell_fd;
	int fs_fd[_SHARE_MAX]; /* virtiofsd's sockets, until the VM has them; -1 */
	struct agent_client *agent;
	struct log_forward *log;
	struct debug_console *debug_console; /* NULL: not enabled */
	struct port_forward *port_forward;   /* NULL: no network namespace, or not possible */
	struct map containers;
	struct co_cond changed;  /* the state, n_mounting */
	unsigned int n_mounting; /* containers whose mounts are being made */
	struct co_lock stop_lock;
	struct loop_defer death;
	struct loop_timer grace; /* after the agent's end: the VM's may tell more */
	uint64_t overhead_at;    /* the last scrape of metrics … */
	double overhead_cpu;     /* … and the seconds beyond the containers' then */
	bool stuck;         /* the agent does not answer: do not wait long for the guest any more */
	struct list disks;  /* block devices in the VM … */
	uint32_t n_disks;   /* … how many … */
	uint32_t next_disk; /* … and the number of the next one */
	struct co_lock disk_lock;
	uint32_t vcpus; /* what the VM has */
	uint64_t memory_mib;
	enum sandbox_purpose purpose;
	char template_key[VM_FINGERPRINT_SIZE]; /* of the VM; "": not known */
	char *template_folder;    /* one that is tried before it is published; NULL: none */
	struct restore *restore;  /* boot_template.c; NULL: it boots */
	bool boots;               /* no template is to be used */
	bool found_none;          /* there was none, or a damaged one */
	bool was_restored;        /* a template was used … */
	bool on_trial;            /* … and has not proved to be good yet */
	bool aborted;             /* it was stopped while it booted */
	int memory_fd;            /* the guest's memory that is to be saved, or is shared; -1 */
	char *wanted_key;         /* SANDBOX_TO_SAVE: the only one that it may get; NULL: any */
	struct clock_watch clock; /* the host's … */
	bool clock_jumped, following_clock;
	bool freed;
	unsigned int n_refs;
};

/* sandbox.c */
void sandbox_ref(struct sandbox *s);
void sandbox_unref(struct sandbox *s);
/* sandbox_save: write the state file; a full disk is logged, not an error. */
void sandbox_save(struct sandbox *s);
/* sandbox_usable: 0 in RUNNING; -ESHUTDOWN with the cause when dead; -EAGAIN before. */
int sandbox_usable(const struct sandbox *s, struct err *err);
/* sandbox_explain: what went wrong, and that the sandbox has used up its memory when it has. The
 * caller frees it. */
char *sandbox_explain(const struct sandbox *s, const char *what);
/* sandbox_die: the VM, virtiofsd or the agent is gone. Safe in any callback. */
void sandbox_die(struct sandbox *s, const char *reason);
/* sandbox_event: see the table in sandbox.c. */
enum sandbox_event {
	SANDBOX_BOOT,
	SANDBOX_UP,
	SANDBOX_WAIT, /* it is up, as a spare */
	SANDBOX_FAIL,
	SANDBOX_DIE,
	SANDBOX_STOP,
	SANDBOX_DOWN,
	_SANDBOX_EVENT_MAX
};
/* Returns 0, or -EBUSY when the event is not for this state. */
int sandbox_event(struct sandbox *s, enum sandbox_event event);
const char *sandbox_state_name(enum sandbox_state state);

/* boot.c */
int boot_run(struct sandbox *s, struct err *err);
void boot_undo(struct sandbox *s);
/* boot_name: only s->template_key, of a sandbox that is not started. From a coroutine. */
int boot_name(struct sandbox *s, struct err *err);

/* cleanup.c */
/* cleanup_left: undo what another process has left under our id, except for the folder of the
 * state, which is ours by now. Takes `left`. From a coroutine. */
int cleanup_left(struct persist *left, struct err *err);

/* container.c */
struct container *container_find(struct sandbox *s, const char *id, struct err *err);
void container_ref(struct container *c);
void container_unref(struct container *c);
static inline void container_unrefp(struct container **c)
{
	if (*c)
		container_unref(*c);
}
static inline struct process *container_init_of(const struct container *c)
{
	return map_get(&c->processes, "");
}
/* container_remove_in_guest: what is left of it there, also half of one. */
void container_remove_in_guest(struct container *c);
/* sandbox_check_guest: ask the agent, for at most usec, whether the guest is (still) stuck. */
void sandbox_check_guest(struct sandbox *s, uint64_t usec);
/* container_drop: let go of it and of its processes, after it was taken out of the sandbox's map.
 */
void container_drop(struct container *c);
/* container_release: what it holds on the host. May wait. */
void container_release(struct container *c);

/* process.c */
struct process *process_new(struct container *c, const char *exec_id);
struct process *process_find(struct sandbox *s, const char *id, const char *exec_id,
			     struct err *err);
void process_ref(struct process *p);
void process_unref(struct process *p);
static inline void process_unrefp(struct process **p)
{
	if (*p)
		process_unref(*p);
}
/* process_watch: after the start: a coroutine waits for its end in the guest. */
void process_watch(struct process *p);
/* process_release: from a coroutine: nobody reads the output of this exec any more; the agent need
 * not hold it for those that the exec has left. */
void process_release(struct process *p);
/* process_ended: note the end, wake waiters, tell the listener; the first time only. */
void process_ended(struct process *p, uint32_t status);
void process_get_status(const struct process *p, struct process_status *ret);
const char *process_state_name(enum process_state state);

/* oom.c */
/* oom_watch: a coroutine that reports the guest's OOM events until the agent is gone. */
void oom_watch(struct sandbox *s);
