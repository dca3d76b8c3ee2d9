/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's state: one object, made by main.c, reached from every method by rpc_agent(call).
 * Which file owns which part is said at the part. Everything runs in one loop; methods run in
 * coroutines (loop/co.h), so after each wait look again at whatever others may have changed.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/cmdline.h"
#include "agent/pod_user.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"
#include "loop/co.h"
#include "loop/loop.h"

#define AGENT_SHARED_DIR     "/run/kata-containers/shared/containers" /* kataShared's mount */
#define AGENT_SANDBOX_DIR    "/run/kata-containers/sandbox"           /* shm, storage, dns */
#define AGENT_STORAGE_DIR    "/run/kata-containers/sandbox/storage"
#define AGENT_CONTAINERS_MAX 1024U
#define AGENT_CGROUP_DIR     "/sys/fs/cgroup"

/* One sandbox per agent (rpc_sandbox.c). */
struct agent_sandbox {
	bool created;
	bool destroying;
	char *id;
	char *hostname;
	char *former_hostname; /* of the guest, without a sandbox; NULL: it has that still */
	char *guest_hook_path; /* NULL: none; looked at by container.c for hooks in the guest */
	struct strv dns;       /* lines of resolv.conf */
	/*
	 * Namespaces that containers share. UTS and IPC: all containers are in the agent's own (the
	 * VM is the sandbox), but for those with a user namespace (pod_user.h). PID: the first
	 * container makes that of the pod and container.c keeps its descriptor here, -1: none yet;
	 * `shared_pidns` says that all containers are in it, else each says for itself.
	 */
	bool shared_pidns;
	int pidns_fd;
	struct pod_user user;
	bool network_opened;  /* sysctl_open_network() has been called */
	struct list storages; /* held by the sandbox until the end (storage/storage.h) */
};

/* Where the time of a boot goes: instants of CLOCK_BOOTTIME, 0: not reached. */
enum agent_mark { MARK_START, MARK_ROOT, MARK_MODULES, MARK_SETTINGS, MARK_CHANNEL, _MARK_MAX };

struct agent {
	struct loop *loop;
	struct ttrpc_server *server;
	struct agent_config config;
	bool is_init;    /* PID 1: powers off at the end, never exits */
	bool has_cgroup; /* cgroup v2 is on AGENT_CGROUP_DIR; without it (tests) none is used */
	uint64_t marks[_MARK_MAX];
	uint64_t scrapes;    /* GetMetrics calls so far */
	uint64_t rpc_errors; /* calls that failed */
	struct agent_sandbox sandbox;

	/* Owned by agent/container.c: id → struct container. */
	struct map containers;
	struct oom *oom; /* owned by agent/oom.c, NULL until first used */

	/* Owned by agent/rpc_loopback.c: connections that the host has dialled. */
	struct list loopback;
	size_t n_loopback;

	/* Owned by agent/storage/storage.c: mount point → struct storage. */
	struct map storages;

	/* Owned by agent/uevents.c: waiters for devices that appear; children that load drivers. */
	struct uevent_watch *uevents;
	unsigned int n_loading;
};

/*
 * agent_die: what went wrong for good. As PID 1: log, sync, power off, and never return; otherwise
 * log and exit(1).
 */
void agent_die(const char *fmt, ...) _printf_(1, 2) _noreturn_;
/* agent_power_off: sync and reboot(RB_POWER_OFF); an ordinary process ends its loop instead. */
void agent_power_off(struct agent *agent);
