/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/sha256.h"
#include "hypervisor/qemu/process.h"

/*
 * How it works: QEMU's migration, to a file and from one. The memory stays out of it: it is a file
 * that both sides map (x-ignore-shared), so that what is left is a few hundred kilobytes. The VM
 * that is restored must be put together exactly as the saved one was; the fingerprint is a digest
 * of the command line that does that, and of the files that it names.
 */

#define STATE_NAME  "state" /* of the descriptor in QEMU */
#define BANDWIDTH   10000000000LL
#define CPUINFO     "/proc/cpuinfo"
#define CPUINFO_MAX (1U << 20)

/* --- the fingerprint --- */

static void add_text(struct sha256 *sum, const char *text)
{
	sha256_add(sum, text, strlen(text) + 1);
}

/* A file that was replaced has another inode or another time of change. */
static int add_file(struct sha256 *sum, const char *path, struct err *err)
{
	_cleanup_(freep) char *identity = NULL;
	struct stat st;

	if (!path)
		return 0;
	if (stat(path, &st) < 0)
		return err_set(err, -errno, "%s", path);
	identity = xasprintf("%s %ju %ju %jd %jd.%09ld %jd.%09ld", path, (uintmax_t)st.st_dev,
			     (uintmax_t)st.st_ino, (intmax_t)st.st_size,
			     (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			     (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	add_text(sum, identity);
	return 0;
}

/* With KVM the guest sees the host's processor: its first paragraph, but for how fast it is now. */
static void add_processor(struct sha256 *sum)
{
	_cleanup_(freep) char *text = NULL;

	if (fs_read(CPUINFO, CPUINFO_MAX, &text, NULL) < 0)
		return;
	for (char *save, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (str_has_prefix(line, "cpu MHz") || str_has_prefix(line, "bogomips"))
			continue;
		add_text(sum, line);
		if (str_has_prefix(line, "power management"))
			return;
	}
}

static int add_files(struct sha256 *sum, const struct vm_config *c, struct err *err)
{
	const char *files[] = {c->hypervisor_path, c->kernel, c->initrd, c->image, c->firmware};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
		r = add_file(sum, files[i], err);
	return r;
}

int snapshot_identify(const struct vm_config *config, uint8_t ret[SHA256_SIZE], struct err *err)
{
	struct sha256 sum;
	int r;

	sha256_init(&sum);
	r = add_files(&sum, config, err);
	sha256_end(&sum, ret);
	return r;
}

bool vm_is_current(const struct vm *vm)
{
	uint8_t now[SHA256_SIZE];

	return snapshot_identify(&vm->config, now, NULL) == 0 &&
	       memcmp(now, vm->files, sizeof(now)) == 0;
}

int vm_fingerprint(const struct vm *vm, char ret[VM_FINGERPRINT_SIZE], struct err *err)
{
	_cleanup_(strv_fini) struct strv args = {0};
	uint8_t digest[SHA256_SIZE];
	struct sha256 sum;
	int r;

	_Static_assert(VM_FINGERPRINT_SIZE == SHA256_HEX_SIZE, "one is the other");
	sha256_init(&sum);
	r = process_args(vm, "", "", "", &args, err);
	for (size_t i = 0; i < args.n; i++)
		add_text(&sum, args.v[i]);
	if (r == 0)
		r = add_files(&sum, &vm->config, err);
	if (r < 0)
		return r;
	if (vm->accel == VM_ACCEL_KVM)
		add_processor(&sum);
	sha256_end(&sum, digest);
	sha256_format(digest, ret);
	return 0;
}

int vm_set_memory(struct vm *vm, int fd, enum vm_memory memory, struct err *err)
{
	if (vm->state != VM_NEW)
		return err_setx(err, -EALREADY, "the VM was started before");
	if (memory == VM_MEMORY_SHARED && vm->config.shared_memory)
		return err_setx(err, -EINVAL, "vhost-user devices need memory of the VM's own");
	fd_close(vm->memory_fd);
	vm->memory_fd = fd_dup(fd);
	if (vm->memory_fd < 0)
		return err_set(err, vm->memory_fd, "pass the guest's memory");
	vm->restored = memory != VM_MEMORY_TO_SAVE;
	vm->copy_on_write = memory == VM_MEMORY_SHARED;
	return 0;
}

/* --- the migration --- */

void snapshot_on_event(struct vm *vm, const char *name, json_t *data)
{
	const char *status = json_string_value(json_object_get(data, "status"));

	if (!streq(name, "MIGRATION") || vm->migration != MIGRATION_ACTIVE)
		return;
	if (streq(status, "completed"))
		vm->migration = MIGRATION_COMPLETED;
	else if (streq(status, "failed") || streq(status, "cancelled"))
		vm->migration = MIGRATION_FAILED;
	else
		return;
	co_cond_wake_all(&vm->changed);
}

static int prepare(struct vm *vm, int state_fd, struct err *err)
{
	int r;

	r = vm_call(vm, "migrate-set-capabilities",
		    json_pack("{s:[{s:s,s:b},{s:s,s:b}]}", "capabilities", "capability",
			      "x-ignore-shared", "state", 1, "capability", "events", "state", 1),
		    NULL, err);
	if (r == 0)
		r = vm_call_fd(vm, "getfd", json_pack("{s:s}", "fdname", STATE_NAME), state_fd,
			       NULL, err);
	return r;
}

/* Why QEMU says that it failed. */
static int explain(struct vm *vm, struct err *err)
{
	json_t *info = NULL;
	const char *why = NULL;

	if (vm_call(vm, "query-migrate", NULL, &info, NULL) == 0)
		why = json_string_value(json_object_get(info, "error-desc"));
	err_setx(err, -EIO, "%s", why ? why : "QEMU gives no reason");
	json_decref(info);
	return -EIO;
}

static int migrate(struct vm *vm, const char *command, struct err *err)
{
	uint64_t deadline = clock_after(vm->qmp_usec);
	int r;

	vm->migration = MIGRATION_ACTIVE;
	r = vm_call(vm, command, json_pack("{s:s}", "uri", "fd:" STATE_NAME), NULL, err);
	if (r < 0)
		return r;
	while (vm->pid && vm->qmp && vm->migration == MIGRATION_ACTIVE)
		if (co_cond_wait(&vm->changed, deadline) < 0)
			return err_setx(err, -ETIMEDOUT, "QEMU does not come to an end");
	if (vm->migration == MIGRATION_COMPLETED)
		return 0;
	/* A QEMU that cannot load a state ends. */
	return vm->migration == MIGRATION_FAILED && vm->qmp ? explain(vm, err) : vm_dead(vm, err);
}

int vm_save(struct vm *vm, int state_fd, struct err *err)
{
	int r;

	vm_enter(vm);
	r = prepare(vm, state_fd, err);
	if (r == 0)
		r = vm_call(vm, "migrate-set-parameters",
			    json_pack("{s:I}", "max-bandwidth", (json_int_t)BANDWIDTH), NULL, err);
	if (r == 0)
		r = migrate(vm, "migrate", err);
	vm_leave(vm);
	return r < 0 ? err_wrap(err, r, "save the VM") : 0;
}

int vm_load(struct vm *vm, int state_fd, struct err *err)
{
	int r;

	vm_enter(vm);
	r = prepare(vm, state_fd, err);
	if (r == 0)
		r = migrate(vm, "migrate-incoming", err);
	vm_leave(vm);
	return r < 0 ? err_wrap(err, r, "restore the VM") : 0;
}
