/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: every file is parsed into a tree, whose tables are walked; each key is looked up in
 * the table of keys and stored. Files are applied one after the other, so what a later one says
 * wins, key by key. At the end what depends on the host is filled in.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/path.h"
#include "config/keys.h"
#include "config/resolve.h"
#include "wire/toml/toml.h"

#define DROPINS_MAX 256

const char *const config_search_path[] = {
	"/etc/kata-containers/configuration.toml",
	"/usr/share/defaults/kata-containers/configuration.toml",
	NULL,
};

/* Put "file:line:column: " before the text of err. */
static int place(struct err *err, int r, const char *file, const struct toml *value)
{
	return err_wrap(err, r, "%s:%u:%u", file, value->line, value->column);
}

static int unknown_key(const char *section, const char *name, struct err *err)
{
	const struct key *other = key_find_elsewhere(section, name);

	if (!*section && !other)
		return err_setx(err, -EINVAL, "unknown key %s outside of any section", name);
	if (other)
		return err_setx(err, -EINVAL, "%s belongs into [%s]", name, other->section);
	other = key_nearest(section, name);
	if (other)
		return err_setx(err, -EINVAL, "unknown key %s in [%s]: did you mean %s?", name,
				section, other->name);
	return err_setx(err, -EINVAL, "unknown key %s in [%s]", name, section);
}

static int unknown_section(const char *section, struct err *err)
{
	const char *nearest = NULL;
	size_t best = 4;

	if (str_has_prefix(section, "hypervisor.") || str_has_prefix(section, "agent."))
		return err_setx(err, -ENOSYS,
				"[%s] is not served: the hypervisor is qemu and the agent kata",
				section);
	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		size_t distance = str_distance(key->section, section);

		if (distance < best) {
			best = distance;
			nearest = key->section;
		}
	}
	if (nearest)
		return err_setx(err, -EINVAL, "unknown section [%s]: did you mean [%s]?", section,
				nearest);
	return err_setx(err, -EINVAL, "unknown section [%s]", section);
}

/* All keys of a table. Recursion ends with the sections of the table of keys: at most three. */
static int apply_table(struct config *config, const struct toml *table, const char *section,
		       const char *file, struct err *err)
{
	int r;

	for (size_t i = 0; i < table->items.n; i++) {
		const struct toml *value = table->items.v[i];
		bool whole = strlen(value->key) == value->key_len;
		const struct key *key = whole ? key_find(section, value->key) : NULL;

		if (!key && value->type == TOML_TABLE) {
			_cleanup_(freep) char *below = xasprintf("%s%s%s", section,
								 *section ? "." : "", value->key);

			if (!key_section_known(below))
				return place(err, unknown_section(below, err), file, value);
			r = apply_table(config, value, below, file, err);
			if (r < 0)
				return r;
			continue;
		}
		r = key ? key_set(config, key, value, err) : unknown_key(section, value->key, err);
		if (r < 0)
			return place(err, r, file, value);
	}
	return 0;
}

int config_apply_text(struct config *config, const char *file, const char *text, size_t n,
		      struct err *err)
{
	_cleanup_(toml_freep) struct toml *root = NULL;
	struct toml_error error;
	int r = toml_parse(text, n, &root, &error);

	if (r < 0)
		return err_setx(err, r, "%s:%u:%u: %s", file, error.line, error.column, error.text);
	return apply_table(config, root, "", file, err);
}

static int apply_file(struct config *config, const char *file, struct err *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t n;
	int r = fs_read(file, TOML_SIZE_MAX, &text, &n);

	if (r < 0)
		return err_set(err, r, "read %s", file);
	return config_apply_text(config, file, text, n, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* config.d/ *.toml beside the file, in the order of their names. */
static int apply_dropins(struct config *config, const char *file, struct err *err)
{
	_cleanup_(freep) char *dir = path_dir(file), *path = path_join(dir, "config.d");
	_cleanup_(strv_fini) struct strv names = {0};
	_cleanup_(closedirp) DIR *d = opendir(path);
	const struct dirent *entry;
	int r;

	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0
							   : err_set(err, -errno, "open %s", path);
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' && str_has_suffix(entry->d_name, ".toml"))
			strv_add(&names, entry->d_name);
	if (names.n > DROPINS_MAX)
		return err_setx(err, -E2BIG, "%s has more than %d files", path, DROPINS_MAX);
	if (names.n)
		qsort(names.v, names.n, sizeof(*names.v), compare_names);
	for (size_t i = 0; i < names.n; i++) {
		char *dropin = path_join(path, names.v[i]);

		strv_take(&config->dropins, dropin);
		r = apply_file(config, dropin, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_find(const char *path, char **ret, struct err *err)
{
	_cleanup_(freep) char *own = NULL;
	const char *wanted = path ? path : getenv("KATA_CONF_FILE");

	*ret = NULL;
	if (!str_empty(wanted)) {
		*ret = realpath(wanted, NULL);
		return *ret ? 0 : err_set(err, -errno, "open configuration file %s", wanted);
	}
	for (const char *const *p = config_search_path; *p; p++) {
		*ret = realpath(*p, NULL);
		if (*ret)
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			return err_set(err, -errno, "open configuration file %s", *p);
	}
	own = path_join(config_prefix(), "share/defaults/kata-containers/configuration.toml");
	*ret = realpath(own, NULL);
	return 0;
}

int config_load(const char *path, struct config **ret, struct err *err)
{
	_cleanup_(config_freep) struct config *config = config_new();
	char *file;
	int r;

	r = config_find(path, &file, err);
	if (r < 0)
		return r;
	if (file) {
		free(config->file);
		config->file = file;
		r = apply_file(config, file, err);
		if (r == 0)
			r = apply_dropins(config, file, err);
		if (r < 0)
			return r;
	}
	r = config_resolve(config, err);
	if (r < 0)
		return file ? err_wrap(err, r, "%s", file) : r;
	*ret = TAKE_PTR(config);
	return 0;
}
