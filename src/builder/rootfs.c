/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/rootfs.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/spawn.h"
#include "builder/decompress.h"
#include "builder/elf64.h"
#include "builder/module_slim.h"

#define PROGRAM_MAX     (64U << 20) /* bytes of the agent, busybox */
#define MODULE_MAX      (64U << 20) /* bytes of a module, uncompressed */
#define APPLET_LIST_MAX 65536

static const char *const folders[] = {"dev", "etc",  "lib/modules", "mnt", "proc",
				      "run", "sbin", "sys",         "tmp"};

void rootfs_add_base(struct tree *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		tree_add_dir(t, folders[i], 0755);
	tree_add_dir(t, "tmp", 01777);
	/* The agent writes it there; a disk's root is read-only. */
	tree_add_symlink(t, "etc/resolv.conf", "../run/kata-containers/sandbox/resolv.conf");
	tree_add_device(t, "dev/console", S_IFCHR | 0600, 5, 1);
	tree_add_device(t, "dev/null", S_IFCHR | 0666, 1, 3);
}

/* A program that needs nothing besides itself. */
static int read_static_program(const char *path, char **ret, size_t *ret_len, struct err *err)
{
	_cleanup_(freep) char *data = NULL;
	size_t n = 0;
	int r = fs_read(path, PROGRAM_MAX, &data, &n);

	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = elf64_needs_interpreter(data, n);
	if (r < 0)
		return err_setx(err, r, "%s: not an x86-64 program", path);
	if (r > 0)
		return err_setx(err, -ENOEXEC,
				"%s is dynamically linked; the guest has no libraries, it must be "
				"a static program",
				path);
	/* Symbols and debug data stay on the host: less to load for the guest. */
	r = elf64_strip(data, &n);
	if (r < 0)
		return err_setx(err, r, "%s: damaged", path);
	*ret = TAKE_PTR(data);
	*ret_len = n;
	return 0;
}

int rootfs_add_agent(struct tree *t, const char *path, struct err *err)
{
	char *data = NULL;
	size_t n = 0;
	int r = read_static_program(path, &data, &n, err);

	if (r < 0)
		return err_wrap(err, r, "agent");
	tree_add_file(t, "init", 0755, data, n);
	tree_add_symlink(t, "sbin/init", "../init");
	return 0;
}

static int add_module(struct tree *t, const char *file, const char *dir, bool slim, struct err *err)
{
	_cleanup_(freep) char *path = modules_guest_path(dir, file), *data = NULL;
	size_t n = 0;
	int r = fs_read(file, MODULE_MAX, &data, &n);

	if (r < 0)
		return err_set(err, r, "read module %s", file);
	if (compression_detect(data, n) != COMPRESSION_NONE) {
		struct buf unpacked = {0};

		r = decompress(data, n, MODULE_MAX, &unpacked, err);
		if (r < 0) {
			buf_fini(&unpacked);
			return err_wrap(err, r, "module %s", file);
		}
		free(data);
		n = unpacked.len;
		data = buf_take(&unpacked);
	}
	if (slim)
		module_slim(data, &n);
	tree_add_file(t, path, 0644, TAKE_PTR(data), n);
	return 0;
}

static void add_text(struct tree *t, const char *path, char *text)
{
	tree_add_file(t, path, 0644, text, strlen(text));
}

int rootfs_add_modules(struct tree *t, const struct modules *m, const char *dir, struct err *err)
{
	bool slim = module_slim_allowed(dir);
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->files.n; i++)
		r = add_module(t, m->files.v[i], dir, slim, err);
	if (r < 0)
		return r;
	add_text(t, "lib/modules/kata.list", modules_list(m, dir));
	add_text(t, "lib/modules/kata.ondemand", modules_ondemand(m, dir));
	return 0;
}

/* The names that this busybox answers to, from itself. */
static int list_applets(const char *busybox, struct strv *ret, struct err *err)
{
	_cleanup_(closep) int out = memfd_create("applets", MFD_CLOEXEC);
	char *const argv[] = {(char *)busybox, (char *)"--list", NULL};
	const struct spawn spawn = {.path = busybox, .argv = argv, .in = -1, .out = out, .err = -1};
	_cleanup_(freep) char *text = xcalloc(1, APPLET_LIST_MAX);
	pid_t pid;
	int r;

	if (out < 0)
		return err_set(err, -errno, "memfd");
	pid = spawn_start(&spawn);
	if (pid < 0)
		return err_set(err, (int)pid, "run %s", busybox);
	r = spawn_wait(pid);
	if (r != 0)
		return err_setx(err, r < 0 ? r : -ENOEXEC, "%s --list failed", busybox);
	if (lseek(out, 0, SEEK_SET) < 0 || fd_read_full(out, text, APPLET_LIST_MAX - 1) <= 0)
		return err_setx(err, -ENOEXEC, "%s --list printed nothing", busybox);
	strv_split(ret, text, "\n");
	return 0;
}

int rootfs_add_shell(struct tree *t, const char *busybox, struct err *err)
{
	_cleanup_(strv_fini) struct strv applets = {0};
	char *data = NULL;
	size_t n = 0;
	int r = read_static_program(busybox, &data, &n, err);

	if (r < 0)
		return err_wrap(err, r, "debug shell");
	tree_add_file(t, "bin/busybox", 0755, data, n);
	r = list_applets(busybox, &applets, err);
	if (r < 0)
		return err_wrap(err, r, "debug shell");
	for (size_t i = 0; i < applets.n; i++) {
		_cleanup_(freep) char *path = path_join("bin", applets.v[i]);

		if (path_is_id(applets.v[i]) && !streq(applets.v[i], "busybox"))
			tree_add_symlink(t, path, "busybox");
	}
	return 0;
}
