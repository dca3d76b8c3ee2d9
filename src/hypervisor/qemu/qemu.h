/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of this folder share: the VM. */

#include "base/sha256.h"
#include "base/str.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/qemu/devices.h"
#include "hypervisor/qemu/slots.h"
#include "hypervisor/tail.h"
#include "loop/co.h"
#include "wire/qmp/qmp.h"

#define QEMU_BRIDGES_MAX      5U
#define QEMU_ROOT_PORTS_MAX   16U
#define QEMU_SCSI_MAX         256U /* disks */
#define QEMU_VCPUS_MAX        240U
#define QEMU_CHILD_FD_FIRST   10 /* first number of the descriptors passed to QEMU … */
#define QEMU_CHILD_FD_DEVICES (QEMU_CHILD_FD_FIRST + 3) /* … and of those of devices */
#define QEMU_GREETING_USEC    (30 * USEC_PER_SEC)       /* a busy host loads it slowly */
#define QEMU_QMP_USEC         (30 * USEC_PER_SEC)
#define QEMU_UNPLUG_USEC      (10 * USEC_PER_SEC)
#define QEMU_MEMORY_STEP      128U /* MiB: Linux on x86 adds memory in such blocks */

/* What becomes of a save or a load, by QEMU's MIGRATION events. */
enum migration { MIGRATION_NONE, MIGRATION_ACTIVE, MIGRATION_COMPLETED, MIGRATION_FAILED };

enum vm_state { VM_NEW, VM_STARTING, VM_RUNNING, VM_STOPPING, VM_DEAD };

struct vm {
	struct loop *loop;
	struct vm_config config; /* strings owned */
	struct vm_listener listener;
	enum vm_accel accel;
	enum vm_state state;
	struct block_settings block;

	struct slots slots;
	unsigned bridge_slots[QEMU_BRIDGES_MAX];  /* root slots of the pci-bridges … */
	unsigned port_slots[QEMU_ROOT_PORTS_MAX]; /* … and of the root ports */
	struct slot serial_slot, scsi_slot, rng_slot, image_slot;
	uint8_t scsi_used[QEMU_SCSI_MAX / 8];
	struct list devices;
	int memory_fd;      /* the guest's memory, until QEMU has it; -1: QEMU makes its own */
	bool copy_on_write; /* … which the guest does not change */
	uint8_t files[SHA256_SIZE];     /* what the files of `config` were (snapshot.c) */
	bool restored;                  /* it does not boot, it is loaded … */
	enum migration migration;       /* … and how far that, or a save, is */
	uint64_t qmp_usec, unplug_usec; /* how long QEMU and the guest may take */
	int next_child_fd;
	unsigned next_set;

	pid_t pid; /* 0: never started or reaped */
	struct loop_child child;
	struct loop_timer orphan; /* the session has ended and the process has not … */
	bool orphaned;            /* … so it was killed */
	struct qmp *qmp;
	struct tail console, messages; /* the guest's; QEMU's standard error */
	uint64_t progress;             /* what vm_progress() told last … */
	uint64_t progress_at;          /* … and when it looked at the vCPUs last … */
	uint64_t console_seen, vcpu_busy[QEMU_VCPUS_MAX]; /* … and what it saw */
	char *shutdown_cause;   /* of the SHUTDOWN or GUEST_PANICKED event */
	char *death;            /* why it ended; set once state is VM_DEAD */
	struct co_cond changed; /* state */
	pid_t vcpu_pids[QEMU_VCPUS_MAX];
	uint32_t n_vcpus;
	uint64_t hot_memory_mib;
	unsigned n_dimms;
	struct co_lock resize_lock;

	unsigned users; /* coroutines inside */
	bool freed;
};

/* vm_enter, vm_leave: around everything that waits, so that the VM outlives it. */
void vm_enter(struct vm *vm);
void vm_leave(struct vm *vm);
/* vm_call: a QMP command with the usual deadline; arguments are consumed. */
int vm_call(struct vm *vm, const char *command, json_t *arguments, json_t **ret, struct err *err);
/* vm_call_fd: the same with a descriptor to pass along (borrowed; -1: none). */
int vm_call_fd(struct vm *vm, const char *command, json_t *arguments, int fd, json_t **ret,
	       struct err *err);
/* vm_dead: -ESHUTDOWN with the cause of death. */
int vm_dead(struct vm *vm, struct err *err);
/* vm_find_device: by id, or NULL. */
struct device *vm_find_device(struct vm *vm, const char *id);
/* vm_refresh_vcpus: ask for the threads of the vCPUs. */
int vm_refresh_vcpus(struct vm *vm, struct err *err);

/* hotplug.c: DEVICE_DELETED, or the guest refused. */
void hotplug_on_event(struct vm *vm, const char *name, json_t *data);
/* snapshot.c: MIGRATION. */
void snapshot_on_event(struct vm *vm, const char *name, json_t *data);
/* snapshot_identify: a digest of what the program and the files of `config` are now. */
int snapshot_identify(const struct vm_config *config, uint8_t ret[SHA256_SIZE], struct err *err);
