/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which kernel modules the guest needs, and in what order they are loaded.
 *
 * The guest image carries two lists for the agent, both with paths inside of the image:
 *
 *   /lib/modules/kata.list      loaded at boot, one path a line, in load order. Short: each module
 *                               costs 5 to 35 ms of boot under emulation.
 *   /lib/modules/kata.ondemand  loaded when wanted, one line a module:
 *                                   NAME ALIASES PATH [PATH ...]
 *                               ALIASES are the module's own, comma-separated, or "-": a modalias
 *                               pattern of fnmatch(3) ("virtio:d00000001v*") or a name
 *                               ("fs-overlay"). The paths are in load order, what the module
 *                               depends on first (files that kata.list has are left out, two lines
 *                               may share files: EEXIST of finit_module(2) is success).
 *
 * What the kernel has built in needs neither list.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct module {
	char *name;          /* "virtio_net" */
	struct strv aliases; /* on demand only */
	struct strv files;   /* host paths in load order, its own last */
};

struct modules {
	struct strv eager;       /* host paths of kata.list in load order */
	struct module *ondemand; /* in the order of the table, then `extra` */
	size_t n_ondemand;
	struct strv files;    /* every host path once, sorted */
	struct strv built_in; /* wanted, and part of the kernel */
	struct strv missing;  /* wanted if there, and not there */
};

/*
 * modules_resolve: look the table of wanted modules up in `dir` (/lib/modules/<release>) with
 * libkmod; the host's own modprobe configuration is not read. extra: further names for
 * kata.ondemand, NULL-terminated or NULL; each must exist. Fails with -ENOENT when something
 * without which no guest can start is neither a file nor built in.
 */
int modules_resolve(const char *dir, char *const *extra, struct modules *ret, struct err *err);
/*
 * modules_resolve_disk: the same for mounting a disk image with the file system `fs`. Without any
 * file in the result the kernel mounts it by itself.
 */
int modules_resolve_disk(const char *dir, const char *fs, struct modules *ret, struct err *err);
/* modules_guest_path: where the host's module file lies in the image, decompressed:
 * /lib/modules/<release>/<…>.ko; the caller frees. */
char *modules_guest_path(const char *dir, const char *file);
/* modules_list, modules_ondemand: the text of the two lists; the caller frees. */
char *modules_list(const struct modules *m, const char *dir);
char *modules_ondemand(const struct modules *m, const char *dir);
void modules_fini(struct modules *m);
