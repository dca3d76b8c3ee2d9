/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's kernel: which file it is, and what of it QEMU is given. */

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct kernel {
	char *path;        /* of the file */
	char *release;     /* "6.1.0-56-cloud-amd64" */
	char *modules_dir; /* /lib/modules/<release> */
	char *note;        /* why it is not the host's running kernel; NULL when it is */
};

/* What the boot loader (QEMU) gets. */
struct kernel_image {
	struct buf data;
	bool pvh;           /* the uncompressed ELF, started through PVH; else the file as it is */
	char *release;      /* as the file itself says; may be "" */
	const char *packed; /* name of the compression it was extracted from, or NULL */
	const char *kept_why; /* when not pvh: the reason */
};

/*
 * kernel_find: the file of the running kernel (release `running`), else the newest installed one
 * that has its modules, and a note about the difference. root: "" or a folder to look in instead of
 * "/". -ENOENT with the remedy when there is none.
 */
int kernel_find(const char *root, const char *running, struct kernel *ret, struct err *err);
/*
 * kernel_use: a given file; modules_dir NULL means /lib/modules/<the release that the file says>.
 */
int kernel_use(const char *path, const char *modules_dir, struct kernel *ret, struct err *err);
/* kernel_extract: read the file, uncompress it and drop what QEMU does not load. */
int kernel_extract(const char *path, struct kernel_image *ret, struct err *err);
void kernel_fini(struct kernel *k);
void kernel_image_fini(struct kernel_image *image);
