/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A virtual machine, whichever program runs it. runtime/ knows only this header; hypervisor/qemu/
 * implements it. All functions that wait are called from a coroutine (loop/co.h).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

struct vm;

enum vm_accel { VM_ACCEL_KVM, VM_ACCEL_TCG };

/* What a VM is made from. Strings are borrowed until vm_new() returns. */
struct vm_config {
	const char *id;      /* sandbox id: `-name sandbox-<id>` */
	const char *run_dir; /* /run/vc/vm/<id>: qmp.sock, console.sock, pid; made by vm_new */
	const char *hypervisor_path; /* qemu-system-x86_64 */
	const char *machine_type;    /* "q35" */
	const char *machine_accelerators;
	const char *cpu_features;
	const char *accel; /* "auto", "kvm", "tcg" */
	bool allow_emulation;
	const char *kernel;
	const char *initrd; /* either initrd … */
	const char *image;  /* … or a disk image, with rootfs_type, which an initrd may mount */
	const char *rootfs_type;
	bool image_nvdimm;
	const char *firmware;
	const char *kernel_params; /* the whole guest command line but for what the machine itself
				      adds */
	uint32_t vcpus, max_vcpus;
	uint64_t memory_mib, max_memory_mib;
	uint32_t memory_slots;
	bool memory_prealloc, hugepages, shared_memory; /* shared: needed by vhost-user devices */
	uint32_t bridges, root_ports;
	const char *block_device_driver; /* "virtio-scsi" or "virtio-blk" */
	const char *block_device_aio;
	bool block_cache_direct, block_cache_noflush;
	const char *entropy_source;
	bool debug;                  /* guest console in full, QEMU's own log */
	const char *seccomp_sandbox; /* QEMU's -sandbox argument */
	/* Unprivileged user that QEMU runs as (0: as we are). Where the kernel has no Landlock,
	 * only a user of its own keeps a VM's QEMU from tracing those of other VMs. */
	uid_t uid;
	gid_t gid;
};

/* Called from the loop, outside of any coroutine. */
struct vm_listener {
	/* The VM has ended (guest power-off, crash, kill). reason: one line with the cause, console
	 * tail included. */
	void (*exited)(struct vm *vm, const char *reason, void *arg);
	void *arg;
};

enum vm_device_type {
	VM_DEVICE_SERIAL,
	VM_DEVICE_VSOCK,
	VM_DEVICE_FS,
	VM_DEVICE_BLOCK,
	VM_DEVICE_NET
};

/*
 * A device. Before vm_start() it is part of the command line, afterwards it is hot-plugged: the
 * same call. All descriptors are consumed by vm_add_device(), also when it fails.
 */
struct vm_device {
	enum vm_device_type type;
	const char *id; /* unique in the VM; [a-z0-9-] */
	union {
		struct {
			const char *name; /* port name in the guest: /dev/virtio-ports/<name> */
			int fd;           /* connected socket, the far end is ours */
		} serial;
		struct {
			int vhost_fd; /* /dev/vhost-vsock with its CID set */
			uint32_t cid;
		} vsock;
		struct {
			const char *tag; /* "kataShared" */
			int fd;          /* connected vhost-user socket of virtiofsd */
			uint32_t queue_size;
			uint64_t cache_size_mib; /* DAX window, 0: none */
		} fs;
		struct {
			int fd; /* file or block device */
			bool read_only;
			const char *format;                                 /* "raw" */
			uint32_t logical_sector_size, physical_sector_size; /* 0: default */
		} block;
		struct {
			int tap_fd, vhost_fd; /* vhost_fd -1: none */
			const char *mac;
			uint32_t mtu;
		} net;
	};
};

/* Where the guest finds a device that was added: what the agent's protocol wants to know. */
struct vm_device_address {
	char pci_path[32]; /* "02/00": slots from the root bus down, two hex digits each; "" when
			      not PCI */
	char scsi[16];     /* "1:2", target and LUN as the agent's protocol has them, for
			      virtio-scsi; "" otherwise */
};

struct vm_pids {
	pid_t vmm;
	pid_t vcpus[64];
	uint32_t n_vcpus;
};

/* vm_new: check the configuration (files exist, accelerator works or emulation is allowed: design
 * decision 5). */
int vm_new(struct loop *loop, const struct vm_config *config, const struct vm_listener *listener,
	   struct vm **ret, struct err *err);
/* vm_free: kills what still runs and removes run_dir. NULL is fine. */
void vm_free(struct vm *vm);
DEFINE_CLEANUP(struct vm *, vm_free)
/* vm_start: run it; returns when the monitor answers and the guest's CPUs run (it boots meanwhile).
 */
int vm_start(struct vm *vm, struct err *err);
/* vm_stop: end it: quit, SIGKILL after a second. Idempotent; the listener is not called. */
int vm_stop(struct vm *vm, struct err *err);
int vm_pause(struct vm *vm, struct err *err);
int vm_resume(struct vm *vm, struct err *err);
int vm_add_device(struct vm *vm, const struct vm_device *device, struct vm_device_address *ret,
		  struct err *err);
int vm_remove_device(struct vm *vm, const char *id, struct err *err);
/* vm_resize: hot-plug up to the given totals, memory in steps of what a guest can add, but not
 * beyond what the VM was started for: that is no error. *ret_… is what there is afterwards, also
 * when a step fails. */
int vm_resize(struct vm *vm, uint32_t vcpus, uint64_t memory_mib, uint32_t *ret_vcpus,
	      uint64_t *ret_memory_mib, struct err *err);
/*
 * Saved VMs, which others are restored from (design decision 9). A VM can be restored from one that
 * has the same fingerprint.
 *
 * vm_fingerprint: a digest of everything that shapes the VM: the program that runs it, its files,
 * its configuration, the devices that it was given so far. Not: its name. Before vm_set_memory().
 * vm_set_memory: before vm_start(): the guest's memory is this file of memory_mib (borrowed), a
 * memfd, and not a new one. Unless it is to be saved, it is that of a saved VM, and what vm_start()
 * starts waits for vm_load(). vm_save: write all of the VM's state but for its memory to state_fd
 * (borrowed). The guest has stopped then, for good. vm_load: go on from there.
 */
enum vm_memory {
	VM_MEMORY_TO_SAVE,
	VM_MEMORY_OWN,    /* restored in a copy, which the guest writes */
	VM_MEMORY_SHARED, /* restored: what the guest writes is seen by this VM alone, and by no
			   * vhost-user device: not with shared_memory */
};
#define VM_FINGERPRINT_SIZE 65 /* with its NUL */
int vm_fingerprint(const struct vm *vm, char ret[VM_FINGERPRINT_SIZE], struct err *err);
int vm_set_memory(struct vm *vm, int fd, enum vm_memory memory, struct err *err);
int vm_save(struct vm *vm, int state_fd, struct err *err);
int vm_load(struct vm *vm, int state_fd, struct err *err);
/* vm_move: give run_dir another name, on the same file system; what is there under it is an error.
 */
int vm_move(struct vm *vm, const char *run_dir, struct err *err);
/* vm_is_current: the program and the files that it was made from are still those that its
 * configuration names: none was replaced since vm_new(). */
bool vm_is_current(const struct vm *vm);
void vm_get_pids(const struct vm *vm, struct vm_pids *ret);
/* vm_alive: QEMU runs. vm_progress: a counter that grows as long as the guest shows signs of life
 * (console output, a vCPU that runs or would run if the host had a processor for it), so that a
 * dial waits for progress instead of a fixed time (kata#1543). A guest that only idles shows none.
 */
bool vm_alive(const struct vm *vm);
uint64_t vm_progress(struct vm *vm);
enum vm_accel vm_accelerator(const struct vm *vm);
/* vm_console_tail: the guest's last console lines, for error messages; valid until the next call.
 */
const char *vm_console_tail(struct vm *vm);
/* vm_cleanup: what vm_free does for a VM whose owner crashed: kill the QEMU of run_dir (by its pid
 * file and its name, which is that of vm_config.id), remove run_dir. Does not need a loop. */
int vm_cleanup(const char *run_dir, const char *id, struct err *err);
