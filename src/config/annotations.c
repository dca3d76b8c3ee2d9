/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: annotations come from whoever may make pods, who is trusted less than whoever
 * writes configuration files. So those of the hypervisor must be enabled by the file, programs they
 * name must match the file's patterns, and everything is checked like a value of a file. They are
 * applied to a copy, which replaces the configuration when all of them were fine.
 */
#include <errno.h>
#include <fnmatch.h>
#include <regex.h>

#include "base/fs.h"
#include "base/path.h"
#include "config/keys.h"
#include "config/resolve.h"

#define HYPERVISOR_PREFIX "config.hypervisor."

/* Kata's rule: one of the regular expressions matches some part of the name. */
static bool annotation_enabled(const struct config *config, const char *name)
{
	const struct strv *list = &config->hypervisor.enable_annotations;

	for (size_t i = 0; i < list->n; i++) {
		regex_t regex;
		int r;

		if (regcomp(&regex, list->v[i], REG_EXTENDED | REG_NOSUB) != 0)
			continue;
		r = regexec(&regex, name, 0, NULL, 0);
		regfree(&regex);
		if (r == 0)
			return true;
	}
	return false;
}

/* The path exists, and one of the globs names it. */
static int check_guard(const struct config *config, const struct key *key, const char *path,
		       struct err *err)
{
	const struct config_hypervisor *h = &config->hypervisor;
	const struct strv *globs;
	const char *name;

	switch (key->guard) {
	case KEY_GUARD_HYPERVISOR:
		globs = &h->valid_hypervisor_paths;
		name = "valid_hypervisor_paths";
		break;
	case KEY_GUARD_VIRTIOFSD:
		globs = &h->valid_virtio_fs_daemon_paths;
		name = "valid_virtio_fs_daemon_paths";
		break;
	case KEY_GUARD_ENTROPY:
		globs = &h->valid_entropy_sources;
		name = "valid_entropy_sources";
		break;
	case KEY_GUARD_NONE:
	default:
		return 0;
	}
	for (size_t i = 0; i < globs->n; i++)
		if (path_is_clean(path) && fnmatch(globs->v[i], path, FNM_PATHNAME) == 0 &&
		    fs_exists(path))
			return 0;
	return err_setx(err, -EPERM, "%s is not an existing path that %s allows", path, name);
}

static int check_host(const struct config *config, const struct key *key, struct err *err)
{
	const struct config_hypervisor *h = &config->hypervisor;

	if (key_field(config, key) == &h->default_vcpus && h->default_vcpus > config_host_cpus())
		return err_setx(err, -ERANGE, "the host has %u CPUs only", config_host_cpus());
	return 0;
}

static int unknown_annotation(const char *name, struct err *err)
{
	const struct key *key = key_nearest_annotation(name);

	if (key)
		return err_setx(err, -EINVAL,
				"unknown annotation: did you mean " KEY_ANNOTATION_PREFIX "%s?",
				key->annotation);
	return err_setx(err, -EINVAL, "unknown annotation");
}

/* `name` is what stands behind KEY_ANNOTATION_PREFIX. */
static int apply_one(struct config *config, const char *name, const char *value, struct err *err)
{
	const char *below = str_skip_prefix(name, HYPERVISOR_PREFIX);
	const struct key *key = key_find_annotation(name);
	int r;

	if (streq(name, "config_path"))
		return err_setx(err, -EPERM,
				"a pod cannot choose a file of the host; give its runtime handler "
				"a ConfigPath instead");
	if (!key && below && str_has_suffix(below, "_hash"))
		return err_setx(err, -ENOSYS, "hashes of files are not checked yet");
	if (!key)
		return str_has_prefix(name, "config.") ? unknown_annotation(name, err) : 0;
	if (below && !annotation_enabled(config, below))
		return err_setx(err, -EPERM,
				"the annotation is not enabled (enable_annotations in [%s])",
				key->section);
	r = check_guard(config, key, value, err);
	if (r == 0)
		r = key_set_text(config, key, value, err);
	if (r == 0 && key->status == KEY_SERVED)
		r = check_host(config, key, err);
	return r;
}

/* A guest has an image or an initrd: the annotation's choice replaces the file's. */
static void choose_image(struct config *config, const char *name)
{
	char **other = NULL;

	if (streq(name, HYPERVISOR_PREFIX "image"))
		other = &config->hypervisor.initrd;
	else if (streq(name, HYPERVISOR_PREFIX "initrd"))
		other = &config->hypervisor.image;
	if (other && **other)
		**other = '\0';
}

int config_apply_annotations(struct config *config, const struct config_annotation *annotations,
			     size_t n, struct err *err)
{
	_cleanup_(config_freep) struct config *copy = config_copy(config);
	struct config old;
	int r;

	for (size_t i = 0; i < n; i++) {
		const char *name = str_skip_prefix(annotations[i].key, KEY_ANNOTATION_PREFIX);

		if (!name)
			continue;
		r = apply_one(copy, name, annotations[i].value, err);
		if (r < 0)
			return err_wrap(err, r, "annotation %s", annotations[i].key);
		choose_image(copy, name);
	}
	r = config_resolve(copy, err);
	if (r < 0)
		return err_wrap(err, r, "annotations");
	old = *config;
	*config = *copy;
	*copy = old;
	return 0;
}
