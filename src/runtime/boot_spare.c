/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/proc.h"
#include "runtime/boot.h"
#include "runtime/spare.h"

/*
 * How it works: a spare is a sandbox of its own, with folders, a state file and a control group
 * under a name of its own. When its pod comes these are renamed, and its processes, which had the
 * lowest priority, follow this one: to its priority, to its place among those that the kernel kills
 * for want of memory, to the pod's control group. What they have allocated by then stays accounted
 * where they came from.
 *
 * The state file of the pod is there before anything is renamed, and that of the spare until all
 * is: whoever cleans up after a crash finds each thing under one of the two names.
 */

#define PROCESSES_MAX 64 /* QEMU and two virtiofsd, which may have a child each */
#define SCORE_MAX     16

/* --- is it one for this pod? --- */

static int check_size(const struct sandbox *s, const struct config *config, const Grpc__Spec *spec,
		      struct err *err)
{
	uint64_t memory_mib;
	uint32_t vcpus;
	int r = boot_choose_size(config, spec, &vcpus, &memory_mib, err);

	if (r < 0)
		return r;
	if (vcpus != s->vcpus || memory_mib != s->memory_mib)
		return err_setx(err, -ESTALE, "another size is wanted");
	return 0;
}

int sandbox_fits(const struct sandbox *s, const struct config *config, const Grpc__Spec *spec,
		 struct err *err)
{
	if (s->state != SANDBOX_SPARE)
		return err_setx(err, -ESTALE, "it has died: %s", s->reason ? s->reason : "?");
	if (!config_equal(s->config, config))
		return err_setx(err, -ESTALE, "another configuration is wanted");
	if (!vm_is_current(s->vm))
		return err_setx(err, -ESTALE, "the hypervisor or the guest's files were replaced");
	return check_size(s, config, spec, err);
}

const char *sandbox_wanted_spare(const struct sandbox *s)
{
	const char *file = s->config->file;
	uint32_t n = s->config->factory.spares;

	/* A size is the pod's, and no spare's. */
	if (s->config->runtime.static_sandbox_resource_mgmt)
		return NULL;
	return n && spare_missing(file, n) ? file : NULL;
}

/* --- the new name --- */

static void rename_state(struct sandbox *s, const char *id, const char *owner, const char *netns)
{
	struct persist disk;

	persist_init(&disk, id);
	persist_set(&disk.state, sandbox_state_name(SANDBOX_BOOTING));
	persist_set(&disk.config_file, s->disk.config_file);
	persist_set(&disk.owner, owner);
	persist_set(&disk.netns, netns);
	persist_set(&disk.vm_name, s->id);
	for (size_t i = 0; i < _SHARE_MAX; i++)
		if (s->virtiofsd[i])
			persist_add_process(&disk, "virtiofsd", virtiofsd_pid(s->virtiofsd[i]));
	for (size_t i = 0; i < s->disk.cgroups.n; i++)
		strv_add(&disk.cgroups, s->disk.cgroups.v[i]);
	disk.emulated = s->disk.emulated;
	disk.memory_fd = s->disk.memory_fd;
	persist_fini(&s->disk);
	s->disk = disk;
}

int sandbox_adopt(struct sandbox *s, struct config *config, const Grpc__Spec *spec, const char *id,
		  const char *owner, const char *netns, const struct sandbox_listener *listener,
		  struct err *err)
{
	int r = path_is_id(id)
			? sandbox_fits(s, config, spec, err)
			: err_setx(err, -EINVAL, "\"%s\" cannot be the name of a sandbox", id);

	if (r < 0)
		return r;
	rename_state(s, id, owner, netns);
	s->former = s->id;
	s->id = xstrdup(id);
	free(s->netns);
	s->netns = xstrdup(netns ? netns : "");
	config_free(s->config);
	s->config = config_ref(config);
	s->listener = *listener;
	s->purpose = SANDBOX_OF_POD;
	/* Nothing has to be made of it again if it fails: its owner boots another. */
	s->was_restored = false;
	s->claimed = false;
	return 0;
}

/* --- its processes --- */

static size_t add_tree(pid_t pid, pid_t *ret, size_t max)
{
	if (pid <= 0 || !max)
		return 0;
	*ret = pid;
	return 1 + proc_descendants(pid, ret + 1, max - 1);
}

/* Not all that we have started: the next spare may be among those. */
static size_t processes_of(const struct sandbox *s, pid_t *ret, size_t max)
{
	struct vm_pids vm;
	size_t n;

	vm_get_pids(s->vm, &vm);
	n = add_tree(vm.vmm, ret, max);
	for (size_t i = 0; i < _SHARE_MAX; i++)
		if (s->virtiofsd[i])
			n += add_tree(virtiofsd_pid(s->virtiofsd[i]), ret + n, max - n);
	return n;
}

/* The scheduler knows threads, not processes. */
static void set_priority(pid_t pid, int priority)
{
	pid_t threads[PROCESSES_MAX * 4];
	size_t n = proc_threads(pid, threads, ARRAY_SIZE(threads));

	for (size_t i = 0; i < n; i++)
		(void)setpriority(PRIO_PROCESS, (id_t)threads[i], priority);
}

static void set_score(pid_t pid, const char *score)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	(void)fs_write(path, score);
}

/* As far as we may: it is no reason to fail. */
static void follow_us(const pid_t *pids, size_t n)
{
	_cleanup_(freep) char *score = NULL;
	int priority = getpriority(PRIO_PROCESS, 0);

	(void)fs_read("/proc/self/oom_score_adj", SCORE_MAX, &score, NULL);
	for (size_t i = 0; i < n; i++) {
		set_priority(pids[i], priority);
		if (score)
			set_score(pids[i], str_chomp(score));
	}
}

/* --- the steps --- */

int boot_take_name(void *context, struct err *err)
{
	struct sandbox *s = context;
	_cleanup_(freep) char *run_dir = path_join(PERSIST_VM_ROOT, s->id);
	pid_t pids[PROCESSES_MAX];
	int r;

	follow_us(pids, processes_of(s, pids, ARRAY_SIZE(pids)));
	r = boot_make_state(s, err);
	if (r >= 0)
		r = vm_move(s->vm, run_dir, err);
	if (r >= 0)
		r = share_move(&s->share, s->id, err);
	if (r >= 0)
		boot_forget_former(s);
	return r;
}

void boot_forget_former(struct sandbox *s)
{
	if (s->former && !s->former_gone)
		persist_remove(s->former);
	s->former_gone = true;
}

int boot_move_cgroup(void *context, struct err *err)
{
	struct sandbox *s = context;
	const char *path = s->spec && s->spec->linux ? s->spec->linux->cgroupspath : "";
	struct host_cgroup from = s->cgroup, to = {0};
	pid_t pids[PROCESSES_MAX];
	size_t n;
	int r;

	r = host_cgroup_plan(&to, path, s->id, err);
	for (size_t i = 0; r >= 0 && i < to.dirs.n; i++)
		strv_add(&s->disk.cgroups, to.dirs.v[i]);
	if (r >= 0)
		r = persist_save(&s->disk, err);
	if (r < 0) {
		host_cgroup_fini(&to);
		return r;
	}
	s->cgroup = to;
	n = processes_of(s, pids, ARRAY_SIZE(pids));
	r = host_cgroup_move(&from, &s->cgroup, pids, n, s->deadline, err);
	host_cgroup_fini(&from);
	/* As it is from now on; the boot's end writes it. */
	strv_fini(&s->disk.cgroups);
	for (size_t i = 0; i < s->cgroup.dirs.n; i++)
		strv_add(&s->disk.cgroups, s->cgroup.dirs.v[i]);
	return r;
}
