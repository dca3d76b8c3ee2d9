/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a host's files to a guest image: what is wanted, the steps, and what came of it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "builder/disk.h"
#include "builder/kernel.h"
#include "builder/modules.h"

#define RECIPE_OUTPUT_DEFAULT  "/var/cache/kata-containers"
#define RECIPE_BUSYBOX_DEFAULT "/usr/bin/busybox"

struct recipe {
	const char *output;        /* folder of the store (store.h) */
	const char *agent;         /* static program */
	const char *self;          /* the builder's own program, an input like others; or NULL */
	const char *kernel;        /* NULL: kernel_find() */
	const char *modules_dir;   /* NULL: that of the kernel */
	struct strv extra_modules; /* for kata.ondemand */
	const char *busybox;       /* a debug shell from this program; NULL: none */
	enum disk_format disk;     /* besides the initrd */
	bool compress;             /* gzip the initrd */
	bool force;                /* build although nothing has changed */
	int64_t mtime;             /* of everything in the image: SOURCE_DATE_EPOCH */
	void (*progress)(const char *step); /* called before each step; or NULL */
};

enum recipe_outcome {
	RECIPE_UNCHANGED, /* the current image is what the recipe asks for */
	RECIPE_BUILT,
	RECIPE_WOULD_BUILD, /* a dry run */
};

struct recipe_report {
	enum recipe_outcome outcome;
	struct kernel kernel;
	struct modules modules;      /* not of an unchanged image */
	struct modules disk_modules; /* to mount the disk image; none: the kernel does it itself */
	char *reason;                /* why it was built */
	char *generation;            /* folder of the image; NULL before the first */
	bool pvh, kernel_reused;
	char *kernel_why; /* not pvh: the reason */
	uint64_t kernel_size, initrd_size, disk_size, disk_initrd_size;
};

/* recipe_plan: what recipe_build would do; nothing is written. */
int recipe_plan(const struct recipe *recipe, struct recipe_report *ret, struct err *err);
/* recipe_build: the image, unless nothing has changed. On failure the current image stays. */
int recipe_build(const struct recipe *recipe, struct recipe_report *ret, struct err *err);
void recipe_report_fini(struct recipe_report *report);
