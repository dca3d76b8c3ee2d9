/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What PID 1 does before there is an event loop. Every step blocks and is short. */

#include "agent/cmdline.h"
#include "base/err.h"

/*
 * boot_disk: when the initramfs is there for a disk image (root= is given), mount that and execute
 * its init: does not return then. 0: the root is where it should be.
 */
int boot_disk(struct err *err);
/*
 * boot_root: signals blocked, environment, and a root file system with everything mounted that
 * programs expect. What is optional and fails is logged.
 */
int boot_root(struct err *err);
/* boot_modules: load the boot list. */
void boot_modules(void);
/* boot_config: read /proc/cmdline. */
void boot_config(struct agent_config *config);
/* boot_settings: loopback up, limits, kernel settings. */
int boot_settings(struct err *err);
/* boot_cgroup: is cgroup v2 on /sys/fs/cgroup? delegate: hand its controllers down to containers'
 * groups (only the owner of the machine may). */
bool boot_cgroup(bool delegate);
