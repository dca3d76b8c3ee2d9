/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where images live: generations, one of which is current.
 *
 *   DIR/.lock
 *   DIR/<release>-<key>/{vmlinux.container,kata-containers-initrd.img,…,manifest}
 *   DIR/<release>-<key>.2/…         the same made again
 *   DIR/current                     → one of these
 *   DIR/vmlinux.container           → current/vmlinux.container     (and so on)
 *
 * A switch to a new generation is the rename of one symlink, so that a kernel and an initrd of
 * different generations are never current together. The generation before the current one stays,
 * for sandboxes that resolved the names a moment ago.
 */

#include "base/err.h"
#include "base/sha256.h"
#include "builder/manifest.h"

#define STORE_KERNEL "vmlinux.container"
#define STORE_INITRD "kata-containers-initrd.img"
#define STORE_IMAGE  "kata-containers.img"
/* What mounts the image when the kernel cannot by itself; the runtime looks for this name. */
#define STORE_IMAGE_INITRD STORE_IMAGE ".initrd"

struct store {
	char *dir;
	char *current; /* DIR/current resolved: the folder of the current generation, or NULL */
	int lock;
};

/* store_open: look only; nothing is made. */
int store_open(const char *dir, struct store *ret, struct err *err);
/* store_lock: make the folder, wait for another builder to end, remove what a crashed one left, and
 * look again. */
int store_lock(struct store *s, struct err *err);
/* store_begin: a new, empty folder for a generation; the caller frees *ret. */
int store_begin(struct store *s, char **ret, struct err *err);
/* store_write: a whole file in a folder, on disk when it returns. */
int store_write(const char *dir, const char *name, const void *p, size_t n, struct err *err);
/* store_link: the same file as in the current generation; -errno when that is not possible. */
int store_link(const struct store *s, const char *dir, const char *name);
/*
 * store_commit: make the folder of store_begin the current generation `name` (with a number behind
 * it where that is taken), and set the links at the top to what is in it.
 */
int store_commit(struct store *s, const char *building, const char *name, struct err *err);
/* store_abort: remove an unfinished generation. NULL is fine. */
void store_abort(const char *building);
void store_fini(struct store *s);
