/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/mount.h>

#include "base/log.h"
#include "base/path.h"
#include "runtime/boot.h"

/*
 * Seconds after which the guest looks again whether a file of a root file system has changed: what
 * the host puts there (docker cp) is seen, and what has not changed stays in the guest's memory.
 * Without the second an exec of a program costs ten times more: every open drops what was read.
 */
#define ROOTS_TIMEOUT 1

/* --- the folders --- */

/* What the configuration wants every sandbox to see: "/path", "/path:ro" or "/path:rw". */
int boot_bind_mounts(void *context, struct err *err)
{
	struct sandbox *s = context;
	const struct strv *wanted = &s->config->runtime.sandbox_bind_mounts;

	for (size_t i = 0; s->share.n_views && i < wanted->n; i++) {
		_cleanup_(freep) char *source = xstrdup(wanted->v[i]), *name = NULL;
		bool writable = str_has_suffix(source, ":rw");

		if (writable || str_has_suffix(source, ":ro"))
			source[strlen(source) - 3] = '\0';
		name = path_join("sandbox-mounts", path_name(source));
		free(share_add(&s->share, SHARE_VOLUMES, &s->bind_mounts,
			       &(struct host_mount){.source = source,
						    .flags = MS_REC | (writable ? 0 : MS_RDONLY),
						    .recursive_read_only = !writable},
			       name));
	}
	return host_mounts_apply(&s->bind_mounts, s->deadline, err);
}

void boot_unbind_mounts(void *context)
{
	struct sandbox *s = context;

	host_mounts_fini(&s->bind_mounts);
}

int boot_open_share(void *context, struct err *err)
{
	struct sandbox *s = context;

	return s->share.n_views ? share_open(&s->share, s->deadline, err) : 0;
}

void boot_close_share(void *context)
{
	struct sandbox *s = context;
	_cleanup_err_ struct err err = {0};

	if (share_close(&s->share, &err) < 0)
		log_warn("%s", err_text(&err));
}

/* --- virtiofsd --- */

static void on_exited(struct virtiofsd *fs, const char *reason, void *arg)
{
	_cleanup_(freep) char *text = xasprintf("virtiofsd has ended: %s", reason);

	(void)fs;
	sandbox_die(arg, text);
}

static int start_one(struct sandbox *s, enum share_kind kind, struct err *err)
{
	const struct config_hypervisor *h = &s->config->hypervisor;
	_cleanup_(freep) char *run_dir = path_join(PERSIST_VM_ROOT, s->id);
	const struct virtiofsd_config config = {
		.path = h->virtio_fs_daemon,
		.source = s->share.views[kind].shared,
		.run_dir = run_dir,
		.cache = kind == SHARE_ROOTS ? h->virtio_fs_rootfs_cache : h->virtio_fs_cache,
		.timeout = kind == SHARE_ROOTS ? ROOTS_TIMEOUT : 0,
		.extra_args = (const char *const *)h->virtio_fs_extra_args.v,
		.n_extra_args = h->virtio_fs_extra_args.n,
		.debug = s->config->runtime.enable_debug,
	};
	const struct virtiofsd_listener listener = {.exited = on_exited, .arg = s};
	int r;

	r = virtiofsd_start(s->loop, &config, &listener, &s->virtiofsd[kind], &s->fs_fd[kind], err);
	if (r < 0)
		return r;
	persist_add_process(&s->disk, "virtiofsd", virtiofsd_pid(s->virtiofsd[kind]));
	sandbox_save(s);
	return 0;
}

int boot_start_virtiofsd(void *context, struct err *err)
{
	struct sandbox *s = context;
	int r = 0;

	for (size_t i = 0; i < s->share.n_views && r >= 0; i++)
		r = start_one(s, (enum share_kind)i, err);
	return r;
}

int boot_attach_share(struct sandbox *s, struct err *err)
{
	const struct config_hypervisor *h = &s->config->hypervisor;
	struct vm_device_address address;
	int r = 0;

	for (size_t i = 0; i < s->share.n_views && r >= 0; i++) {
		const struct vm_device device = {
			.type = VM_DEVICE_FS,
			.id = i == SHARE_ROOTS ? "fs1" : "fs0",
			.fs = {.tag = s->share.views[i].tag,
			       .fd = TAKE_FD(s->fs_fd[i]),
			       .queue_size = h->virtio_fs_queue_size,
			       .cache_size_mib = h->virtio_fs_cache_size},
		};

		r = vm_add_device(s->vm, &device, &address, err);
	}
	return r;
}

/* Of a crashed shim: by number, if it is still the process that we have started, and its group. */
static void kill_by_record(const struct persist *disk, const char *name)
{
	for (size_t i = 0; i < disk->n_processes; i++)
		if (streq(disk->processes[i].name, name) && persist_alive(&disk->processes[i]))
			kill(-disk->processes[i].pid, SIGKILL);
}

static void stop_one(struct sandbox *s, struct virtiofsd *fs)
{
	_cleanup_err_ struct err err = {0};

	if (!fs)
		return;
	/* It leads a process group. What hangs would only cost time. */
	if (boot_is_broken(s) && virtiofsd_pid(fs) > 0)
		kill(-virtiofsd_pid(fs), SIGKILL);
	if (virtiofsd_stop(fs, &err) < 0)
		log_warn("%s", err_text(&err));
	virtiofsd_free(fs);
}

void boot_stop_virtiofsd(void *context)
{
	struct sandbox *s = context;

	if (!s->loop) {
		kill_by_record(&s->disk, "virtiofsd");
		return;
	}
	for (size_t i = 0; i < _SHARE_MAX; i++) {
		s->fs_fd[i] = fd_close(s->fs_fd[i]);
		stop_one(s, TAKE_PTR(s->virtiofsd[i]));
	}
}

/* --- the guest's part --- */

size_t boot_share_storages(const struct sandbox *s, Grpc__Storage storages[_SHARE_MAX])
{
	for (size_t i = 0; i < s->share.n_views; i++) {
		grpc__storage__init(&storages[i]);
		storages[i].driver = (char *)"virtio-fs";
		storages[i].source = (char *)s->share.views[i].tag;
		storages[i].fstype = (char *)"virtiofs";
		storages[i].mount_point = (char *)s->share.views[i].guest_dir;
	}
	return s->share.n_views;
}
