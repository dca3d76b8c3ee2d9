/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line of QEMU for a cold boot. */

#include "hypervisor/qemu/qemu.h"

/* What only the moment of the start knows, and what differs between VMs of one kind. */
struct cmdline_start {
	const char *id, *run_dir, *uuid;
	int monitor_fd; /* QEMU's number of our monitor's socket */
	int console_fd; /* … and of the pipe for the guest's console */
	int memory_fd; /* … and of the file with the guest's memory; used with vm->memory_fd only */
	uint64_t image_size;
};

/* cmdline_layout: give the machine's own devices their places; once, before any device is added. */
int cmdline_layout(struct vm *vm, struct err *err);
/* cmdline_build: argv, argv[0] included. Pure: the same VM gives the same text. */
void cmdline_build(const struct vm *vm, const struct cmdline_start *start, struct strv *args);

/* machine.c: the arguments that make up the bare machine, the processors and the memory. */
void machine_args(const struct vm *vm, struct strv *args);
void machine_cpu_args(const struct vm *vm, struct strv *args);
/* memory_fd: QEMU's number of vm->memory_fd. */
void machine_memory_args(const struct vm *vm, int memory_fd, struct strv *args);
/* machine_check: what of the configuration no machine of ours can be. */
int machine_check(const struct vm_config *config, struct err *err);
/* machine_clamp: bring the limits for hot-plug to what the machine can have. */
void machine_clamp(struct vm_config *config, enum vm_accel accel);
/* memory_backend: the object that holds `mib` of guest memory (memory.c). */
void memory_backend(const struct vm *vm, const char *id, uint64_t mib, struct part *ret);
