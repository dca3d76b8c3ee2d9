/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The QEMU process: how it is started, looked at and ended. */

#include "hypervisor/qemu/qemu.h"

/*
 * process_start: run_dir, descriptors, command line, fork and exec; sets vm->pid and opens the
 * VM's consoles. *ret_monitor: our end of the monitor's socket, the caller's.
 */
int process_start(struct vm *vm, int *ret_monitor, struct err *err);
/* process_args: QEMU's arguments as process_start() passes them, for a VM of this name. */
int process_args(const struct vm *vm, const char *id, const char *run_dir, const char *uuid,
		 struct strv *ret, struct err *err);
/* process_kill: SIGKILL and reap a child; blocks for as long as the kernel needs, at most 2 s. */
void process_kill(pid_t pid);
/* process_thread_busy: µs for which a thread ran or was ready to run and waited for a processor
 * (proc_pid_schedstat); 0 when it is gone or the kernel does not count. */
uint64_t process_thread_busy(pid_t pid, pid_t tid);
/* process_has_thread: tid is a thread of pid. */
bool process_has_thread(pid_t pid, int64_t tid);
/* process_aio: the AIO engine to use for the configured one ("io_uring" only where the kernel has
 * it, "threads" otherwise and by default). */
const char *process_aio(const char *configured);
