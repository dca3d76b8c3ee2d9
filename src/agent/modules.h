/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Kernel modules of the guest image (kata-guest-image writes both lists):
 *
 *   /lib/modules/kata.list      paths in load order, loaded at boot
 *   /lib/modules/kata.ondemand  "NAME ALIASES PATH [PATH ...]": loaded when a device or the kernel
 *                               asks; ALIASES are fnmatch(3) patterns separated by commas, or "-"
 *
 * A guest whose kernel has everything built in has neither file.
 */

#include <stdbool.h>
#include <stddef.h>

#define MODULES_LIST     "/lib/modules/kata.list"
#define MODULES_ONDEMAND "/lib/modules/kata.ondemand"
#define MODULES_LIST_MAX (1U << 20)

/* modules_load_file: finit_module(2); a module that is there already is success. */
int modules_load_file(const char *path, const char *parameters);
/* modules_load_list: everything in `list` in order, going on after a failure. Returns how many, or
 * -errno of the first failure; a missing list is 0. */
int modules_load_list(const char *list);
/*
 * modules_load: what `wanted` (a module's name, a modalias, or what the kernel asks for such as
 * "fs-overlay") stands for in kata.ondemand. Returns how many modules, 0: nothing of that kind, or
 * -errno. Takes 5–40 ms a module: call it in a child.
 */
int modules_load(const char *wanted);
/* modules_load_parameters: the same by name, with parameters for the module itself. */
int modules_load_parameters(const char *name, const char *parameters);
/* Of the SCSI controller that every VM has; its driver takes longer than all others together, and
 * few pods have a disk. */
#define SCSI_DRIVER "virtio_scsi"
/*
 * modules_load_present: modules_load() for every device that is there, but for the SCSI controller,
 * whose driver is loaded by name when there is a reason to.
 */
int modules_load_present(void);
/* modules_loaded: is the module of this path or name there? Not known of one that is built in and
 * has no parameters. */
bool modules_loaded(const char *path);
/* modules_has: does kata.ondemand know `wanted`? */
bool modules_has(const char *wanted);
/* modules_line_matches: is `line` (n bytes of kata.ondemand) for `wanted`? */
bool modules_line_matches(const char *line, size_t n, const char *wanted);
