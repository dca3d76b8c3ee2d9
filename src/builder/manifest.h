/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an image was made from, on disk beside it. It answers two questions: has nothing changed
 * (by stat(2) alone, a fraction of a millisecond), and which hash has a file whose stat is known.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"

#define MANIFEST_FILE "manifest"

struct manifest_file {
	char *path;
	uint64_t size, mtime, ctime, inode; /* times in ns */
	char hash[SHA256_HEX_SIZE];         /* "" for outputs */
};

struct manifest_files {
	struct manifest_file *v;
	size_t n;
};

struct manifest {
	char *options; /* one line: everything that shapes the image but is no file */
	struct manifest_files inputs;
	struct manifest_files outputs;
};

/*
 * manifest_add_input: stat and hash a file; the hash is taken from `known` (may be NULL) when that
 * has the path with the same stat. Returns 0 or an error that names the file.
 */
int manifest_add_input(struct manifest *m, const char *path, const struct manifest *known,
		       struct err *err);
/* manifest_add_output: a finished file of the image; name is relative to dir. */
int manifest_add_output(struct manifest *m, const char *dir, const char *name, struct err *err);
/* manifest_input: the entry of a path, or NULL. */
const struct manifest_file *manifest_input(const struct manifest *m, const char *path);
/* manifest_changed: the path of the first file, input or output (below dir), that is not as the
 * manifest says; NULL when all are. */
const char *manifest_changed(const struct manifest *m, const char *dir);
/* manifest_format, manifest_parse: the text form. Parse returns 0 or -EBADMSG. */
char *manifest_format(const struct manifest *m);
int manifest_parse(const char *text, struct manifest *ret);
/* manifest_load: from dir; -errno of the open, or -EBADMSG. */
int manifest_load(const char *dir, struct manifest *ret);
/* manifest_save: into dir, atomically. */
int manifest_save(const struct manifest *m, const char *dir, struct err *err);
void manifest_fini(struct manifest *m);
