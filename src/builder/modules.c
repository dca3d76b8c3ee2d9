/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/modules.h"

#include <errno.h>
#include <libkmod.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/path.h"

/*
 * How it works: a table says which modules the guest wants, when, and whether it can do without.
 * Each is looked up by name through libkmod's index files; its hard dependencies and its "pre"
 * soft dependencies come before it. `names` keeps everything unique within one list.
 */

enum want {
	WANT_BOOT,     /* in kata.list; without it no sandbox starts */
	WANT_BOOT_IF,  /* in kata.list when the kernel has it */
	WANT_LATER,    /* in kata.ondemand; without it no sandbox starts */
	WANT_LATER_IF, /* in kata.ondemand when the kernel has it */
};

struct wanted {
	const char *name;
	enum want want;
};

/* The order within a table is the order within the lists. */
static const struct wanted of_guest[] = {
	/* The bus and the channel to the host, then the file system that every pod mounts. */
	{"virtio_pci", WANT_BOOT},
	{"virtio_console", WANT_BOOT},
	{"virtiofs", WANT_BOOT},
	/* Devices that are there for some sandboxes, or are plugged in later. */
	{"vmw_vsock_virtio_transport", WANT_LATER_IF},
	{"virtio_net", WANT_LATER},
	{"virtio_rng", WANT_LATER_IF},
	{"virtio_blk", WANT_LATER},
	{"virtio_scsi", WANT_LATER_IF},
	{"sd_mod", WANT_LATER_IF},
	{"virtio_balloon", WANT_LATER_IF},
	{"virtio_mem", WANT_LATER_IF},
	{"vmgenid", WANT_LATER_IF},
	/* File systems that a container's root, a volume or a layer may have. What is large and
	 * rare (dm-verity, nvdimm, xfs) comes with --add-module. */
	{"overlay", WANT_LATER_IF},
	{"ext4", WANT_LATER_IF},
	{"erofs", WANT_LATER_IF},
	{"loop", WANT_LATER_IF},
};

/* To mount a disk image: what it is attached to (a virtio disk, an NVDIMM), and its file system. */
static const struct wanted of_disk[] = {
	{"virtio_pci", WANT_BOOT},
	{"virtio_blk", WANT_BOOT},
	{"nfit", WANT_LATER_IF},
	{"nd_pmem", WANT_LATER_IF},
};

#define DEPENDENCY_DEPTH_MAX 16

static int add_file(const char *path, struct strv *files)
{
	if (!strv_contains(files, path))
		strv_add(files, path);
	return 0;
}

static int add_module(struct kmod_module *mod, int depth, struct strv *files);

static int add_list(struct kmod_list *list, int depth, struct strv *files)
{
	struct kmod_list *it;
	int r = 0;

	kmod_list_foreach(it, list)
	{
		struct kmod_module *mod = kmod_module_get_module(it);

		if (r == 0)
			r = add_module(mod, depth, files);
		kmod_module_unref(mod);
	}
	return r;
}

/* A module's file behind those it depends on. Built-in ones have no file. */
static int add_module(struct kmod_module *mod, int depth, struct strv *files)
{
	struct kmod_list *pre = NULL, *post = NULL, *hard;
	const char *path = kmod_module_get_path(mod);
	int r;

	if (!path)
		return 0;
	if (depth > DEPENDENCY_DEPTH_MAX)
		return -ELOOP;
	if (strv_contains(files, path))
		return 0;
	r = kmod_module_get_softdeps(mod, &pre, &post);
	if (r >= 0)
		r = add_list(pre, depth + 1, files);
	kmod_module_unref_list(pre);
	kmod_module_unref_list(post);
	/* The hard dependencies are complete and in load order already. */
	hard = kmod_module_get_dependencies(mod);
	if (r == 0)
		r = add_list(hard, depth + 1, files);
	kmod_module_unref_list(hard);
	return r < 0 ? r : add_file(path, files);
}

static void copy_aliases(struct kmod_module *mod, struct strv *aliases)
{
	struct kmod_list *info = NULL, *it;

	if (kmod_module_get_info(mod, &info) < 0)
		return;
	kmod_list_foreach(it, info)
	{
		const char *value = kmod_module_info_get_value(it);

		if (streq(kmod_module_info_get_key(it), "alias") && !strpbrk(value, ", \n"))
			strv_add(aliases, value);
	}
	kmod_module_info_free_list(info);
}

/* 1: the kernel has it built in; 0 and *ret: a file; -ENOENT: neither. */
static int look_up(struct kmod_ctx *ctx, const char *name, struct kmod_module **ret)
{
	struct kmod_list *list = NULL;
	struct kmod_module *mod;
	int r = kmod_module_new_from_lookup(ctx, name, &list);

	if (r < 0 || !list) {
		kmod_module_unref_list(list);
		return r < 0 ? r : -ENOENT;
	}
	mod = kmod_module_get_module(list);
	kmod_module_unref_list(list);
	if (kmod_module_get_path(mod)) {
		*ret = mod;
		return 0;
	}
	r = kmod_module_get_initstate(mod) == KMOD_MODULE_BUILTIN ? 1 : -ENOENT;
	kmod_module_unref(mod);
	return r;
}

static int resolve(struct kmod_ctx *ctx, const char *name, enum want want, struct modules *m,
		   struct err *err)
{
	struct kmod_module *mod = NULL;
	int r = look_up(ctx, name, &mod);

	if (r == 1) {
		strv_add(&m->built_in, name);
		return 0;
	}
	if (r == -ENOENT && (want == WANT_BOOT_IF || want == WANT_LATER_IF)) {
		strv_add(&m->missing, name);
		return 0;
	}
	if (r == -ENOENT)
		return err_setx(err, r, "the kernel has no module %s, and not built in either",
				name);
	if (r < 0)
		return err_set(err, r, "look up module %s", name);
	if (want == WANT_BOOT || want == WANT_BOOT_IF) {
		r = add_module(mod, 0, &m->eager);
	} else {
		struct module *entry;

		m->ondemand = xreallocarray(m->ondemand, m->n_ondemand + 1, sizeof(*m->ondemand));
		entry = &m->ondemand[m->n_ondemand++];
		*entry = (struct module){.name = xstrdup(kmod_module_get_name(mod))};
		copy_aliases(mod, &entry->aliases);
		r = add_module(mod, 0, &entry->files);
	}
	kmod_module_unref(mod);
	return r < 0 ? err_set(err, r, "dependencies of module %s", name) : 0;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void collect_files(struct modules *m)
{
	for (size_t i = 0; i < m->eager.n; i++)
		add_file(m->eager.v[i], &m->files);
	for (size_t i = 0; i < m->n_ondemand; i++)
		for (size_t k = 0; k < m->ondemand[i].files.n; k++)
			add_file(m->ondemand[i].files.v[k], &m->files);
	if (m->files.n)
		qsort(m->files.v, m->files.n, sizeof(char *), compare_strings);
}

/* more: further names, NULL-terminated, or NULL. */
static int resolve_all(const char *dir, const struct wanted *table, size_t n, char *const *more,
		       enum want want, struct modules *ret, struct err *err)
{
	const char *no_config[] = {NULL};
	_cleanup_(modules_fini) struct modules m = {0};
	struct kmod_ctx *ctx;
	struct stat st;
	int r = 0;

	if (stat(dir, &st) < 0)
		return err_set(err, -errno, "modules of the kernel, %s", dir);
	ctx = kmod_new(dir, no_config);
	if (!ctx)
		return err_set(err, -ENOMEM, "libkmod");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = resolve(ctx, table[i].name, table[i].want, &m, err);
	for (; r == 0 && more && *more; more++)
		r = resolve(ctx, *more, want, &m, err);
	kmod_unref(ctx);
	if (r < 0)
		return err_wrap(err, r, "modules in %s", dir);
	collect_files(&m);
	*ret = m;
	m = (struct modules){0};
	return 0;
}

int modules_resolve(const char *dir, char *const *extra, struct modules *ret, struct err *err)
{
	return resolve_all(dir, of_guest, ARRAY_SIZE(of_guest), extra, WANT_LATER, ret, err);
}

int modules_resolve_disk(const char *dir, const char *fs, struct modules *ret, struct err *err)
{
	char *const more[] = {(char *)fs, NULL};

	return resolve_all(dir, of_disk, ARRAY_SIZE(of_disk), more, WANT_BOOT, ret, err);
}

char *modules_guest_path(const char *dir, const char *file)
{
	const char *inside = str_skip_prefix(file, dir);
	const char *end = strstr(path_name(file), ".ko");

	/* libkmod gives paths below dir; ".ko.xz" becomes ".ko". */
	if (!inside)
		inside = file;
	while (*inside == '/')
		inside++;
	return xasprintf("/lib/modules/%s/%.*s", path_name(dir),
			 end ? (int)(end + 3 - inside) : (int)strlen(inside), inside);
}

char *modules_list(const struct modules *m, const char *dir)
{
	struct buf b = {0};

	for (size_t i = 0; i < m->eager.n; i++) {
		_cleanup_(freep) char *path = modules_guest_path(dir, m->eager.v[i]);

		buf_addf(&b, "%s\n", path);
	}
	return buf_take(&b);
}

char *modules_ondemand(const struct modules *m, const char *dir)
{
	struct buf b = {0};

	for (size_t i = 0; i < m->n_ondemand; i++) {
		const struct module *module = &m->ondemand[i];
		_cleanup_(freep) char *aliases = strv_join(&module->aliases, ",");

		buf_addf(&b, "%s %s", module->name, *aliases ? aliases : "-");
		for (size_t k = 0; k < module->files.n; k++) {
			_cleanup_(freep) char *path = modules_guest_path(dir, module->files.v[k]);

			if (!strv_contains(&m->eager, module->files.v[k]))
				buf_addf(&b, " %s", path);
		}
		buf_addc(&b, '\n');
	}
	return buf_take(&b);
}

void modules_fini(struct modules *m)
{
	for (size_t i = 0; i < m->n_ondemand; i++) {
		free(m->ondemand[i].name);
		strv_fini(&m->ondemand[i].aliases);
		strv_fini(&m->ondemand[i].files);
	}
	free(m->ondemand);
	strv_fini(&m->eager);
	strv_fini(&m->files);
	strv_fini(&m->built_in);
	strv_fini(&m->missing);
	*m = (struct modules){0};
}
