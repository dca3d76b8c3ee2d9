/* SPDX-License-Identifier: Apache-2.0 */
/* What a container asks of its sandbox. */
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/spawn.h"
#include "kernel/idmap.h"
#include "runtime/device.h"
#include "runtime/sandbox_fixture.h"

/* --- failures of a container --- */

static void create_failures_body(void)
{
	_cleanup_err_ struct err err = {0};

	start();
	fake_agent_fail(fake_vm_agent(), "CreateContainer", -ENOENT,
			"exec: \"foo\": executable file not found in $PATH");
	assert_int_equal(create("c1", &err), -ENOENT);
	assert_string_equal(err_text(&err), "exec: \"foo\": executable file not found in $PATH");
	assert_false(fs_exists(SHARE_ROOT "/s1/rootfs/mounts/c1/rootfs"));
	fake_agent_fail(fake_vm_agent(), "x", 0, "");
	assert_int_equal(create("../c1", &err), -EINVAL);
	run("c1");
	assert_int_equal(create("c1", &err), -EEXIST);
	stop();
}

static void create_failures(void **state)
{
	(void)state;
	in_coroutine(create_failures_body);
}

/* Limits beyond what the VM can have are the guest's control groups' to enforce. */
static void limits_body(void)
{
	Grpc__Linux linux_ = GRPC__LINUX__INIT;
	Grpc__LinuxResources resources = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	_cleanup_err_ struct err err = {0};

	fake_vm_plan.max_vcpus = 4;
	fake_vm_plan.max_memory_mib = 4096;
	config->hypervisor.default_memory = 2048;
	start();
	linux_.resources = &resources;
	resources.memory = &memory;
	resources.cpu = &cpu;
	spec.linux = &linux_;
	memory.limit = 512LL << 20;
	cpu.quota = 150000;
	cpu.period = 100000;
	/* What the guest has not taken is not there, it is offered again. */
	fake_agent_fail(fake_vm_agent(), "OnlineCPUMem", -ENOENT, "no");
	assert_int_equal(create("c1", &err), -ENOENT);
	fake_agent_fail(fake_vm_agent(), "x", 0, "");
	run("c1");
	assert_int_equal(count(fake_vm_log(), "vm_resize:3,2560"), 2);
	/* "Unlimited" in the words of control groups 1, more than once. */
	memory.limit = cpu.quota = INT64_MAX;
	cpu.period = 1;
	run("c2");
	run("c3");
	assert_non_null(strstr(fake_vm_log(), "vm_resize:20003,17592186046974"));
	/* It has grown twice and no more; a failed call is logged, too. */
	assert_int_equal(count(fake_agent_log(fake_vm_agent()), "OnlineCPUMem"), 3);
	memory.limit = -1;
	cpu.quota = -1;
	assert_int_equal(container_update(sandbox, "c2", &resources, &err), 0);
	assert_int_equal(container_update(sandbox, "c3", &resources, &err), 0);
	assert_int_equal(count(fake_vm_log(), "vm_resize"), 5);
	spec.linux = NULL;
	stop();
}

static void limits(void **state)
{
	(void)state;
	in_coroutine(limits_body);
}

/* A mount that is read-only on the host, and one that does not exist. */
static void volumes_body(void)
{
	Grpc__Mount mount = GRPC__MOUNT__INIT, *mounts[] = {&mount};
	char *options[] = {(char *)"rbind", (char *)"ro"};
	_cleanup_err_ struct err err = {0};
	FILE *f;

	mount.destination = (char *)"/etc/resolv.conf";
	mount.source = (char *)"/run/resolv.conf";
	mount.type = (char *)"bind";
	mount.options = options;
	mount.n_options = 2;
	spec.mounts = mounts;
	spec.n_mounts = 1;
	start();
	assert_int_equal(create("c1", &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "/run/resolv.conf"));
	f = fopen("/run/resolv.conf", "w");
	fputs("nameserver 192.0.2.1\n", f);
	fclose(f);
	run("c1");
	/* Through the folder that virtiofsd serves, whatever the guest tries. */
	f = fopen(SHARE_ROOT "/s1/shared/c1-0-resolv.conf", "r+");
	assert_null(f);
	assert_int_equal(errno, EROFS);
	f = fopen(SHARE_ROOT "/s1/shared/c1-0-resolv.conf", "r");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(mkdir(SHARE_ROOT "/s1/shared/mine", 0700), -1);
	assert_int_equal(errno, EROFS);
	/* A root file system is the container's to write. */
	assert_int_equal(mkdir(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/etc", 0755), 0);
	assert_int_equal(rmdir(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/etc"), 0);
	stop();
	spec.n_mounts = 0;
	unlink("/run/resolv.conf");
}

static void volumes(void **state)
{
	(void)state;
	in_coroutine(volumes_body);
}

/* The pod's /dev/shm is as large as the tmpfs that the container manager has made for it. */
static void shm_body(void)
{
	static const struct {
		const char *made, *told;
	} rows[] = {
		{"size=256m", " shm:size=268435456 "},
		{"size=8g", " shm:size=4294967296 "},
		{NULL, " shm:size=67108864 "},
	};
	Grpc__Mount mount_ = GRPC__MOUNT__INIT, *mounts[] = {&mount_};

	mount_.destination = (char *)"/dev/shm";
	mount_.type = (char *)"bind";
	mount_.source = (char *)"/run/pod-shm";
	fs_mkdir_all("/run/pod-shm", 0755);
	config->hypervisor.default_maxmemory = 4096;
	spec.mounts = mounts;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].made)
			assert_int_equal(mount("shm", "/run/pod-shm", "tmpfs", 0, rows[i].made), 0);
		spec.n_mounts = rows[i].made ? 1 : 0;
		start();
		if (!strstr(fake_agent_log(fake_vm_agent()), rows[i].told))
			fail_msg("%s: %s", rows[i].told, fake_agent_log(fake_vm_agent()));
		stop();
		sandbox_free(TAKE_PTR(sandbox));
		if (rows[i].made)
			assert_int_equal(umount("/run/pod-shm"), 0);
	}
	spec.n_mounts = 0;
}

static void shm(void **state)
{
	(void)state;
	in_coroutine(shm_body);
}

/* A hook reads the container's state, annotations included, however large they are. What the first
 * one leaves in the background, with its output, is not waited for. */
static void hooks_body(void)
{
	Grpc__Hooks hooks = GRPC__HOOKS__INIT;
	Grpc__Hook create_hook = GRPC__HOOK__INIT, stop_hook = GRPC__HOOK__INIT;
	Grpc__Hook *creates[] = {&create_hook}, *stops[] = {&stop_hook};
	char *create_args[] = {(char *)"sh", (char *)"-c",
			       (char *)"cat > /run/created; sleep 30 & echo $! >/run/sleeper"};
	char *stop_args[] = {(char *)"sh", (char *)"-c", (char *)"cat > /run/stopped"};
	Grpc__Spec__AnnotationsEntry one = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT, two = one;
	Grpc__Spec__AnnotationsEntry *annotations[] = {&one, &two};
	_cleanup_(freep) char *large = xmalloc(400001), *created = NULL, *stopped = NULL,
			      *sleeper = NULL;
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	uint64_t began;

	create_hook.path = stop_hook.path = (char *)"/bin/sh";
	create_hook.args = create_args;
	stop_hook.args = stop_args;
	create_hook.n_args = stop_hook.n_args = 3;
	hooks.createruntime = creates;
	hooks.poststop = stops;
	hooks.n_createruntime = hooks.n_poststop = 1;
	one.key = (char *)"io.example/who";
	one.value = (char *)"a \"quoted\" one";
	two.key = (char *)"large";
	memset(large, 'x', 400000);
	large[400000] = '\0';
	two.value = large;
	spec.hooks = &hooks;
	spec.annotations = annotations;
	spec.n_annotations = 2;
	start();
	began = clock_now();
	run("c1");
	assert_true(clock_now() - began < test_limit(5 * USEC_PER_SEC));
	assert_int_equal(fs_read("/run/sleeper", 16, &sleeper, NULL), 0);
	assert_int_equal(kill((pid_t)strtol(sleeper, NULL, 10), SIGKILL), 0);
	spec.hooks = NULL;
	spec.n_annotations = 0;
	assert_int_equal(fs_read("/run/created", 1U << 20, &created, NULL), 0);
	assert_non_null(strstr(created, "\"status\":\"creating\""));
	assert_non_null(strstr(created, "\"annotations\":{\"io.example/who\":"
					"\"a \\\"quoted\\\" one\",\"large\":\"xxx"));
	assert_true(str_has_suffix(created, "xxx\"}}"));
	fake_agent_exit(fake_vm_agent(), "c1", 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(fs_read("/run/stopped", 1U << 20, &stopped, NULL), 0);
	assert_non_null(strstr(stopped, "\"status\":\"stopped\""));
	assert_non_null(strstr(stopped, "\"annotations\":{\"io.example/who\":"));
	stop();
}

static void hooks(void **state)
{
	(void)state;
	in_coroutine(hooks_body);
}

/* In the namespace of whoever has started us, below a folder that keeps its mounts to itself. */
static void mount_elsewhere(int namespace)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(setns(namespace, CLONE_NEWNS) < 0 ||
		      mount("elsewhere", "/run/store/merged", "tmpfs", 0, NULL) < 0 ||
		      mkdir("/run/store/merged/seen", 0755) < 0 ||
		      mkdir("/run/store/merged/volume", 0755) < 0);
	assert_int_equal(spawn_wait(pid), 0);
}

static void elsewhere_body(void)
{
	Grpc__LinuxIDMapping mapping = GRPC__LINUX_IDMAPPING__INIT, *mappings[] = {&mapping};
	Grpc__Mount volume = GRPC__MOUNT__INIT, *volumes[] = {&volume};
	char *bind[] = {(char *)"bind"};
	Grpc__Root root = GRPC__ROOT__INIT, *before = spec.root;
	const struct container_request request = {
		.id = "c1", .bundle = "/run/bundle", .spec = &spec};
	int left = sandbox_private_mounts(NULL);
	bool maps = idmap_supported();
	_cleanup_err_ struct err err = {0};
	struct stat st;

	assert_true(left >= 0);
	assert_int_equal(fs_mkdir_all("/run/store/merged", 0755), 0);
	assert_int_equal(mount("/run/store", "/run/store", NULL, MS_BIND, NULL), 0);
	mount_elsewhere(left);
	assert_false(fs_exists("/run/store/merged/seen"));
	sandbox_sources_in(left);
	root.path = (char *)"/run/store/merged";
	volume.type = (char *)"bind";
	volume.source = (char *)"/run/store/merged/volume";
	volume.destination = (char *)"/volume";
	volume.options = bind;
	volume.n_options = 1;
	mapping.hostid = 65536;
	mapping.size = 10;
	volume.uidmappings = volume.gidmappings = mappings;
	volume.n_uidmappings = volume.n_gidmappings = maps;
	spec.root = &root;
	spec.mounts = volumes;
	spec.n_mounts = 1;
	start();
	if (container_create(sandbox, &request, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/seen"));
	assert_int_equal(stat(SHARE_ROOT "/s1/shared/c1-0-volume", &st), 0);
	assert_int_equal(st.st_uid, maps ? 65536 : 0);
	stop();
	spec.root = before;
	spec.n_mounts = 0;
	sandbox_sources_in(-1);
	assert_int_equal(setns(left, CLONE_NEWNS), 0);
	fd_close(left);
	assert_int_equal(umount("/run/store/merged"), 0);
}

static void elsewhere(void **state)
{
	(void)state;
	in_coroutine(elsewhere_body);
}

static void metrics_body(void)
{
	_cleanup_(buf_fini) struct buf text = {0};
	_cleanup_err_ struct err err = {0};

	start();
	run("c1");
	assert_int_equal(sandbox_metrics(sandbox, &text, &err), 0);
	assert_non_null(strstr(text.data, "\nkata_shim_fds "));
	assert_non_null(strstr(text.data, "kata_shim_proc_status{item=\"vmrss\"} "));
	assert_non_null(strstr(text.data, "kata_hypervisor_io_stat{item=\"readbytes\"} "));
	assert_non_null(
		strstr(text.data, "kata_hypervisor_netdev{interface=\"lo\",item=\"recv_bytes\"}"));
	assert_non_null(strstr(text.data, "\nkata_agent_total_rss 1\n"));
	/* A guest cannot speak for the shim, nor spoil the page. */
	assert_null(strstr(text.data, " 666\n"));
	assert_null(strstr(text.data, "nonsense"));
	assert_non_null(strstr(text.data, "\nkata_shim_pod_overhead_memory_in_bytes "));
	assert_null(strstr(text.data, " -")); /* no figure is below zero */
	stop();
}

static void metrics(void **state)
{
	(void)state;
	in_coroutine(metrics_body);
}

static int started = 1, paused = 1, updated = 1, deleted = 1;

static void start_exec(void *arg)
{
	(void)arg;
	started = container_start(sandbox, "c1", "e1", NULL, NULL);
}

static void pause_c1(void *arg)
{
	(void)arg;
	paused = container_pause(sandbox, "c1", NULL);
}

static void update_c1(void *arg)
{
	Grpc__LinuxResources resources = GRPC__LINUX_RESOURCES__INIT;

	(void)arg;
	updated = container_update(sandbox, "c1", &resources, NULL);
}

static void delete_c1(void *arg)
{
	(void)arg;
	deleted = container_delete(sandbox, "c1", "", NULL, NULL);
}

/* Calls that wait while their container is deleted find that it is gone. */
static void late_body(void)
{
	_cleanup_err_ struct err err = {0};

	start();
	run("c1");
	assert_int_equal(container_exec(sandbox, "c1", "e1", &process, false, &err), 0);
	fake_agent_exit(fake_vm_agent(), "c1", 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &(struct process_status){0}, &err), 0);
	fake_agent_delay(fake_vm_agent(), "RemoveContainer", 100 * USEC_PER_MSEC);
	co_start(loop, delete_c1, NULL);
	co_sleep(10 * USEC_PER_MSEC);
	co_start(loop, start_exec, NULL);
	co_start(loop, pause_c1, NULL);
	co_start(loop, update_c1, NULL);
	assert_int_equal(container_delete(sandbox, "c1", "", NULL, &err), -ENOENT);
	co_sleep(10 * USEC_PER_MSEC);
	assert_int_equal(deleted, 0);
	assert_int_equal(started, -ENOENT);
	assert_int_equal(paused, -ENOENT);
	assert_int_equal(updated, -ENOENT);
	stop();
}

static void late(void **state)
{
	(void)state;
	in_coroutine(late_body);
}

static int created;

static void create_c1(void *arg)
{
	(void)arg;
	created = create("c1", NULL);
}

/* A sandbox that is stopped at any moment of a Create. Its root file system lies in the one that
 * the share is in: nobody may take it for the share's own. */
static void stopped_in_create_body(void)
{
	Grpc__Mount one = GRPC__MOUNT__INIT, *mounts[200];
	char *options[] = {(char *)"rbind"};

	one.destination = (char *)"/mnt";
	one.source = (char *)"/run/bundle/rootfs";
	one.type = (char *)"bind";
	one.options = options;
	one.n_options = 1;
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++)
		mounts[i] = &one;
	spec.mounts = mounts;
	spec.n_mounts = ARRAY_SIZE(mounts);
	assert_int_equal(fs_replace("/run/bundle/rootfs/kept", "x", 1, 0600, false), 0);
	for (uint64_t after = 0; after < 20 * USEC_PER_MSEC; after += USEC_PER_MSEC) {
		created = 1;
		start();
		co_start(loop, create_c1, NULL);
		if (after)
			co_sleep(after);
		stop();
		while (created == 1)
			co_sleep(USEC_PER_MSEC);
		no_leftovers();
		assert_true(fs_exists("/run/bundle/rootfs/kept"));
		sandbox_free(TAKE_PTR(sandbox));
		while (!fake_vm_gone())
			co_sleep(USEC_PER_MSEC);
	}
	spec.n_mounts = 0;
	assert_int_equal(unlink("/run/bundle/rootfs/kept"), 0);
}

static void stopped_in_create(void **state)
{
	(void)state;
	in_coroutine(stopped_in_create_body);
}

/* A folder that is mounted from the same file system is not the tree's own. */
static void removal(void **state)
{
	(void)state;
	assert_int_equal(fs_mkdir_all("/run/tree/a/here", 0755), 0);
	assert_int_equal(fs_mkdir_all("/run/mine/kept", 0755), 0);
	assert_int_equal(mount("/run/mine", "/run/tree/a/here", NULL, MS_BIND, NULL), 0);
	assert_int_equal(fs_remove_all("/run/tree"), -EBUSY);
	assert_true(fs_exists("/run/mine/kept"));
	assert_int_equal(umount("/run/tree/a/here"), 0);
	assert_int_equal(fs_remove_all("/run/tree"), 0);
	assert_int_equal(fs_remove_all("/run/mine"), 0);
}

SANDBOX_TESTS(TEST(create_failures), TEST(limits), TEST(volumes), TEST(shm), TEST(hooks),
	      TEST(elsewhere), TEST(metrics), TEST(late), TEST(stopped_in_create), TEST(removal))
