/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"

/*
 * The text form, one record a line, the path last because it may hold spaces:
 *
 *   kata-guest-image 1
 *   options <text>
 *   input <sha256> <size> <mtime> <ctime> <inode> <path>
 *   output <size> <mtime> <inode> <path>
 *   end
 *
 * ctime catches a file that was replaced with its mtime kept, as package managers do. An output's
 * ctime is not looked at: a later image may link to the same file, which changes it.
 */

#define MANIFEST_HEADER   "kata-guest-image 1"
#define MANIFEST_SIZE_MAX (1U << 20)
#define FILES_MAX         4096

static uint64_t to_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000U + (uint64_t)t->tv_nsec;
}

static int stat_file(const char *path, struct manifest_file *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	ret->size = (uint64_t)st.st_size;
	ret->mtime = to_ns(&st.st_mtim);
	ret->ctime = to_ns(&st.st_ctim);
	ret->inode = (uint64_t)st.st_ino;
	return 0;
}

static int hash_file(const char *path, size_t n, char ret[SHA256_HEX_SIZE])
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p = NULL;

	if (fd < 0)
		return -errno;
	if (n) {
		p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			return -errno;
	}
	sha256_hex(p ? p : "", n, ret);
	if (n)
		munmap(p, n);
	return 0;
}

static struct manifest_file *append(struct manifest_files *files, const struct manifest_file *file)
{
	files->v = xreallocarray(files->v, files->n + 1, sizeof(*files->v));
	files->v[files->n] = *file;
	return &files->v[files->n++];
}

const struct manifest_file *manifest_input(const struct manifest *m, const char *path)
{
	for (size_t i = 0; i < m->inputs.n; i++)
		if (streq(m->inputs.v[i].path, path))
			return &m->inputs.v[i];
	return NULL;
}

static bool same_input(const struct manifest_file *a, const struct manifest_file *b)
{
	return a->size == b->size && a->mtime == b->mtime && a->ctime == b->ctime &&
	       a->inode == b->inode;
}

int manifest_add_input(struct manifest *m, const char *path, const struct manifest *known,
		       struct err *err)
{
	const struct manifest_file *old = known ? manifest_input(known, path) : NULL;
	struct manifest_file file = {0};
	int r = stat_file(path, &file);

	if (r == 0 && old && same_input(old, &file))
		memcpy(file.hash, old->hash, sizeof(file.hash));
	else if (r == 0)
		r = hash_file(path, (size_t)file.size, file.hash);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	file.path = xstrdup(path);
	append(&m->inputs, &file);
	return 0;
}

int manifest_add_output(struct manifest *m, const char *dir, const char *name, struct err *err)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	struct manifest_file file = {0};
	int r = stat_file(path, &file);

	if (r < 0)
		return err_set(err, r, "read %s", path);
	file.path = xstrdup(name);
	append(&m->outputs, &file);
	return 0;
}

const char *manifest_changed(const struct manifest *m, const char *dir)
{
	struct manifest_file now = {0};

	for (size_t i = 0; i < m->inputs.n; i++)
		if (stat_file(m->inputs.v[i].path, &now) < 0 || !same_input(&m->inputs.v[i], &now))
			return m->inputs.v[i].path;
	for (size_t i = 0; i < m->outputs.n; i++) {
		const struct manifest_file *file = &m->outputs.v[i];
		_cleanup_(freep) char *path = path_join(dir, file->path);

		if (stat_file(path, &now) < 0 || file->size != now.size ||
		    file->mtime != now.mtime || file->inode != now.inode)
			return file->path;
	}
	return NULL;
}

char *manifest_format(const struct manifest *m)
{
	struct buf b = {0};

	buf_addf(&b, MANIFEST_HEADER "\noptions %s\n", m->options);
	for (size_t i = 0; i < m->inputs.n; i++) {
		const struct manifest_file *f = &m->inputs.v[i];

		buf_addf(&b, "input %s %ju %ju %ju %ju %s\n", f->hash, (uintmax_t)f->size,
			 (uintmax_t)f->mtime, (uintmax_t)f->ctime, (uintmax_t)f->inode, f->path);
	}
	for (size_t i = 0; i < m->outputs.n; i++) {
		const struct manifest_file *f = &m->outputs.v[i];

		buf_addf(&b, "output %ju %ju %ju %s\n", (uintmax_t)f->size, (uintmax_t)f->mtime,
			 (uintmax_t)f->inode, f->path);
	}
	buf_adds(&b, "end\n");
	return buf_take(&b);
}

static bool take_word(char **rest, const char **ret)
{
	char *space = strchr(*rest, ' ');

	if (!space)
		return false;
	*space = '\0';
	*ret = *rest;
	*rest = space + 1;
	return true;
}

static bool take_number(char **rest, uint64_t *ret)
{
	const char *word;

	return take_word(rest, &word) && parse_u64(word, ret) == 0;
}

static bool parse_record(char *line, struct manifest *m)
{
	struct manifest_file file = {0};
	const char *kind, *hash;

	if (!take_word(&line, &kind) || m->inputs.n + m->outputs.n >= FILES_MAX)
		return false;
	if (streq(kind, "options") && !m->options) {
		m->options = xstrdup(line);
		return true;
	}
	if (streq(kind, "input")) {
		if (!take_word(&line, &hash) || strlen(hash) != SHA256_HEX_SIZE - 1 ||
		    !take_number(&line, &file.size) || !take_number(&line, &file.mtime) ||
		    !take_number(&line, &file.ctime) || !take_number(&line, &file.inode))
			return false;
		memcpy(file.hash, hash, sizeof(file.hash));
	} else if (!streq(kind, "output") || !take_number(&line, &file.size) ||
		   !take_number(&line, &file.mtime) || !take_number(&line, &file.inode)) {
		return false;
	}
	if (!*line)
		return false;
	file.path = xstrdup(line);
	append(*file.hash ? &m->inputs : &m->outputs, &file);
	return true;
}

int manifest_parse(const char *text, struct manifest *ret)
{
	_cleanup_(manifest_fini) struct manifest m = {0};
	_cleanup_(strv_fini) struct strv lines = {0};

	strv_split(&lines, text, "\n");
	if (lines.n < 3 || !streq(lines.v[0], MANIFEST_HEADER) ||
	    !streq(lines.v[lines.n - 1], "end"))
		return -EBADMSG;
	for (size_t i = 1; i + 1 < lines.n; i++)
		if (!parse_record(lines.v[i], &m))
			return -EBADMSG;
	if (!m.options)
		return -EBADMSG;
	*ret = m;
	m = (struct manifest){0};
	return 0;
}

int manifest_load(const char *dir, struct manifest *ret)
{
	_cleanup_(freep) char *path = path_join(dir, MANIFEST_FILE);
	_cleanup_(freep) char *text = NULL;
	int r = fs_read(path, MANIFEST_SIZE_MAX, &text, NULL);

	return r < 0 ? r : manifest_parse(text, ret);
}

int manifest_save(const struct manifest *m, const char *dir, struct err *err)
{
	_cleanup_(freep) char *path = path_join(dir, MANIFEST_FILE);
	_cleanup_(freep) char *text = manifest_format(m);
	int r = fs_replace(path, text, strlen(text), 0644, true);

	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}

static void files_fini(struct manifest_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		free(files->v[i].path);
	free(files->v);
}

void manifest_fini(struct manifest *m)
{
	free(m->options);
	files_fini(&m->inputs);
	files_fini(&m->outputs);
	*m = (struct manifest){0};
}
