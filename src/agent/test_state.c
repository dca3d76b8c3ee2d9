/* SPDX-License-Identifier: Apache-2.0 */
/* What needs neither rights nor processes: tables, options, resources, checks, look-ups. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/container.h"
#include "agent/device/device.h"
#include "agent/init/init.h"
#include "agent/init/mount_spec.h"
#include "agent/resources.h"
#include "agent/spec_check.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/test.h"

#define S(text) ((char *)(uintptr_t)(text))

/* Every pair has an answer, and the ways through are those that are meant. */
static void test_states(_unused_ void **state)
{
	for (int s = 0; s < _CONTAINER_STATE_MAX; s++) {
		assert_non_null(container_state_name((enum container_state)s));
		for (int e = 0; e < _CONTAINER_EVENT_MAX; e++)
			assert_in_range(
				container_next((enum container_state)s, (enum container_event)e) +
					1,
				0, _CONTAINER_STATE_MAX);
		/* Nothing comes back from the end, and nobody enters what is not alive. */
		if (s != CONTAINER_REMOVING)
			assert_int_equal(container_next((enum container_state)s, CONTAINER_REMOVE),
					 CONTAINER_REMOVING);
		assert_true(container_next((enum container_state)s, CONTAINER_EXEC) == -1 ||
			    s == CONTAINER_RUNNING || s == CONTAINER_CREATED);
	}
	assert_int_equal(container_next(CONTAINER_REMOVING, CONTAINER_REMOVE), -1);
	assert_int_equal(container_next(CONTAINER_CREATED, CONTAINER_START), CONTAINER_RUNNING);
	assert_int_equal(container_next(CONTAINER_RUNNING, CONTAINER_START), -1);
	assert_int_equal(container_next(CONTAINER_STOPPED, CONTAINER_START), -1);
	assert_int_equal(container_next(CONTAINER_CREATED, CONTAINER_EXIT), CONTAINER_STOPPED);
	assert_int_equal(container_next(CONTAINER_PAUSED, CONTAINER_EXIT), CONTAINER_STOPPED);
	assert_int_equal(container_next(CONTAINER_PAUSED, CONTAINER_RESUME), CONTAINER_RUNNING);
	assert_int_equal(container_next(CONTAINER_STOPPED, CONTAINER_PAUSE), -1);
}

/* --- mounts --- */

static struct mount_spec parse(int wanted, char *const *options, size_t n)
{
	struct mount_spec m = {0};

	assert_int_equal(mount_spec_parse(&m, options, n, NULL), wanted);
	return m;
}

#define PARSE(wanted, ...) \
	parse(wanted, (char *[]){__VA_ARGS__}, ARRAY_SIZE(((char *[]){__VA_ARGS__})))

static void test_mount_words(_unused_ void **state)
{
	struct mount_spec m = PARSE(0, S("rbind"), S("ro"), S("nosuid"), S("rprivate"));

	assert_true(m.bind && m.recursive && m.propagation_recursive);
	assert_int_equal(m.attr_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
	assert_int_equal(m.propagation, MS_PRIVATE);
	assert_int_equal(m.data.n, 0);
	mount_spec_fini(&m);

	m = PARSE(0, S("rro"), S("ro"), S("rw"), S("noexec"));
	assert_false(m.bind);
	assert_int_equal(m.recursive_set, MOUNT_ATTR_RDONLY);
	assert_int_equal(m.attr_set, MOUNT_ATTR_NOEXEC);
	assert_int_equal(m.attr_clear, MOUNT_ATTR_RDONLY);
	mount_spec_fini(&m);

	m = PARSE(0, S("noatime"), S("relatime"), S("strictatime"));
	assert_int_equal(m.attr_set, MOUNT_ATTR_STRICTATIME);
	assert_int_equal(m.attr_clear, MOUNT_ATTR__ATIME);
	mount_spec_fini(&m);

	m = PARSE(0, S("mode=755"), S("sync"), S("tmpcopyup"), S("size=1k"), S(""), S("rsize=5"));
	assert_true(m.tmpcopyup);
	assert_int_equal(m.data.n, 3);
	assert_string_equal(m.data.v[2], "rsize=5");
	assert_string_equal(m.superblock.v[0], "sync");
	mount_spec_fini(&m);

	m = PARSE(0, S("bind"), S("slave"), S("rdefaults"));
	assert_true(m.bind && !m.recursive && !m.propagation_recursive);
	assert_string_equal(m.data.v[0], "rdefaults");
	mount_spec_fini(&m);
	PARSE(-ENOTSUP, S("ro"), S("idmap"));
	PARSE(-ENOTSUP, S("ridmap"));
}

/* --- resources --- */

static void test_resources(_unused_ void **state)
{
	Grpc__LinuxResources m = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxResources__UnifiedEntry entry = GRPC__LINUX_RESOURCES__UNIFIED_ENTRY__INIT;
	Grpc__LinuxResources__UnifiedEntry *entries[] = {&entry};
	struct resources r;

	assert_int_equal(resources_parse(&r, NULL, NULL), 0);
	memory.limit = 1 << 20;
	memory.swap = 2 << 20;
	cpu.shares = 512;
	cpu.quota = 50000;
	cpu.period = 100000;
	cpu.cpus = S("0-1");
	pids.limit = 10;
	entry.key = S("memory.high");
	entry.value = S("max");
	m.memory = &memory;
	m.cpu = &cpu;
	m.pids = &pids;
	m.unified = entries;
	m.n_unified = 1;
	assert_int_equal(resources_parse(&r, &m, NULL), 0);
	assert_int_equal(r.limits.memory_swap, 2 << 20);
	assert_int_equal(r.limits.cpu_quota, 50000);
	assert_int_equal(r.limits.pids_limit, 10);
	assert_string_equal(r.limits.unified[0].file, "memory.high");
	assert_false(r.limits.has_cpu_burst);
	resources_fini(&r);
	memory.disableoomkiller = true;
	assert_int_equal(resources_parse(&r, &m, NULL), -EOPNOTSUPP);
	memory.disableoomkiller = false;
	cpu.realtimeruntime = 1;
	assert_int_equal(resources_parse(&r, &m, NULL), -EOPNOTSUPP);
}

static void test_device_rules(_unused_ void **state)
{
	Grpc__LinuxResources m = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxDeviceCgroup deny = GRPC__LINUX_DEVICE_CGROUP__INIT;
	Grpc__LinuxDeviceCgroup *rules[] = {&deny};
	Grpc__LinuxDevice device = GRPC__LINUX_DEVICE__INIT, *devices[] = {&device};
	_cleanup_(resources_fini) struct resources r = {0};

	device.type = S("b");
	device.major = 8;
	device.minor = 16;
	/* Without rules a device of the specification may be used. */
	assert_int_equal(resources_add_devices(&r, NULL, devices, 1, NULL), 0);
	assert_false(r.rules[0].allow);
	assert_int_equal(r.rules[0].type, 'a');
	assert_true(r.rules[1].allow && r.rules[1].type == 'b' && r.rules[1].minor == 16);
	/* With rules they decide. */
	deny.access = S("rwm");
	m.devices = rules;
	m.n_devices = 1;
	assert_int_equal(resources_add_devices(&r, &m, devices, 1, NULL), 0);
	assert_false(r.rules[1].allow);
	assert_int_equal(r.rules[1].type, 'a');
	assert_int_equal(r.rules[1].major, -1);
	deny.type = S("cx");
	assert_int_equal(resources_add_devices(&r, &m, devices, 1, NULL), -EINVAL);
	deny.type = S("c");
	deny.access = S("rwz");
	assert_int_equal(resources_add_devices(&r, &m, devices, 1, NULL), -EINVAL);
	m.n_devices = CGROUP_RULES_MAX;
	assert_int_equal(resources_add_devices(&r, &m, devices, 1, NULL), -E2BIG);
}

/* --- what is refused --- */

/* Two disks change places: /dev/b is here what /dev/a was on the host. */
static void test_devices_placed(_unused_ void **state)
{
	const struct device devices[] = {
		{.container_path = S("/dev/a"), .type = 'b', .major = 8, .minor = 16},
		{.container_path = S("/dev/b"), .type = 'b', .major = 8, .minor = 32},
		{.container_path = S(""), .type = 'b', .major = 8, .minor = 48},
	};
	Grpc__LinuxDevice entries[2], *entry_list[] = {&entries[0], &entries[1]};
	Grpc__LinuxDeviceCgroup rules[3], *rule_list[] = {&rules[0], &rules[1], &rules[2]};
	Grpc__LinuxResources resources = GRPC__LINUX_RESOURCES__INIT;
	Grpc__Linux linux_ = GRPC__LINUX__INIT;

	for (size_t i = 0; i < 3; i++) {
		rules[i] = (Grpc__LinuxDeviceCgroup)GRPC__LINUX_DEVICE_CGROUP__INIT;
		rules[i].type = S(i == 2 ? "c" : "b");
		rules[i].major = 8;
		rules[i].minor = i == 1 ? 16 : 0;
	}
	for (size_t i = 0; i < 2; i++) {
		entries[i] = (Grpc__LinuxDevice)GRPC__LINUX_DEVICE__INIT;
		entries[i].path = devices[i].container_path;
		entries[i].major = 8;
		entries[i].minor = i == 1 ? 16 : 0;
	}
	resources.devices = rule_list;
	resources.n_devices = 3;
	linux_.resources = &resources;
	linux_.devices = entry_list;
	linux_.n_devices = 2;
	device_place_all(devices, 3, &linux_);
	assert_int_equal(entries[0].minor, 16);
	assert_int_equal(entries[1].minor, 32);
	assert_int_equal(rules[0].minor, 16);
	assert_int_equal(rules[1].minor, 32);
	assert_int_equal(rules[2].minor, 0);
}

static void test_sysctls(_unused_ void **state)
{
	assert_int_equal(sysctl_check("kernel.shmmax", NULL), 0);
	assert_int_equal(sysctl_check("kernel/shmmax", NULL), 0);
	assert_int_equal(sysctl_check("net.ipv4.ip_forward", NULL), 0);
	assert_int_equal(sysctl_check("fs.mqueue.msg_max", NULL), 0);
	assert_int_equal(sysctl_check("kernel.panic", NULL), -EPERM);
	assert_int_equal(sysctl_check("vm.swappiness", NULL), -EPERM);
	assert_int_equal(sysctl_check("kernel.shmmaxx", NULL), -EPERM);
	assert_int_equal(sysctl_check("net/../kernel/core_pattern", NULL), -EINVAL);
	assert_int_equal(sysctl_check("net..kernel", NULL), -EINVAL);
	assert_int_equal(sysctl_check("", NULL), -EINVAL);
	assert_int_equal(sysctl_check(".net", NULL), -EINVAL);
	assert_int_equal(sysctl_check("net.", NULL), -EINVAL);
}

static void test_spec_checks(_unused_ void **state)
{
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Root root = GRPC__ROOT__INIT;
	Grpc__Process process = GRPC__PROCESS__INIT;
	Grpc__Linux linux_spec = GRPC__LINUX__INIT;
	Grpc__LinuxSeccomp seccomp = GRPC__LINUX_SECCOMP__INIT;
	Grpc__LinuxIntelRdt rdt = GRPC__LINUX_INTEL_RDT__INIT;
	Grpc__POSIXRlimit limit = GRPC__POSIXRLIMIT__INIT, *limits[] = {&limit};
	char *args[] = {S("x")}, *flags[] = {S("SECCOMP_FILTER_FLAG_NEW_LISTENER")};
	uint8_t bpf[8] = {0};

	assert_int_equal(spec_check(NULL, NULL), -EINVAL);
	assert_int_equal(spec_check(&spec, NULL), -EINVAL);
	spec.root = &root;
	spec.process = &process;
	spec.linux = &linux_spec;
	root.path = S("/r/../etc");
	assert_int_equal(spec_check(&spec, NULL), -EINVAL);
	root.path = S("/r");
	assert_int_equal(spec_check(&spec, NULL), -EINVAL); /* no arguments */
	process.args = args;
	process.n_args = 1;
	assert_int_equal(spec_check(&spec, NULL), 0);
	process.rlimits = limits;
	process.n_rlimits = 1;
	limit.type = S("RLIMIT_NONSENSE");
	assert_int_equal(spec_check(&spec, NULL), -EINVAL);
	limit.type = S("RLIMIT_CORE");
	linux_spec.seccomp = &seccomp;
	assert_int_equal(spec_check(&spec, NULL), 0);
	seccomp.defaultaction = S("SCMP_ACT_ERRNO");
	assert_int_equal(spec_check(&spec, NULL), -ENOSYS);
	seccomp.bpf.data = bpf;
	seccomp.bpf.len = 7;
	assert_int_equal(spec_check(&spec, NULL), -EINVAL);
	seccomp.bpf.len = 8;
	assert_int_equal(spec_check(&spec, NULL), 0);
	seccomp.flags = flags;
	seccomp.n_flags = 1;
	assert_int_equal(spec_check(&spec, NULL), -ENOSYS);
	seccomp.n_flags = 0;
	linux_spec.intelrdt = &rdt;
	assert_int_equal(spec_check(&spec, NULL), 0);
	rdt.closid = S("x");
	assert_int_equal(spec_check(&spec, NULL), -ENOSYS);
}

/* --- hooks --- */

/* What a hook reads is whole or nothing. */
static void test_hook_state(_unused_ void **state)
{
	_cleanup_(freep) char *bundle = xcalloc(1, 70001);
	_cleanup_(freep) char *wanted = NULL;
	static char text[65536];
	int fd;

	memset(bundle, 'b', 60000);
	wanted = xasprintf("{\"ociVersion\":\"1.0.2\",\"id\":\"c\",\"status\":\"created\","
			   "\"pid\":7,\"bundle\":\"%s\"}",
			   bundle);
	fd = hooks_state_pipe("c", "created", 7, bundle);
	assert_true(fd >= 0);
	assert_int_equal(fd_read_full(fd, text, sizeof(text)), strlen(wanted));
	assert_memory_equal(text, wanted, strlen(wanted));
	close(fd);
	memset(bundle, 'b', 70000);
	assert_int_equal(hooks_state_pipe("c", "created", 7, bundle), -E2BIG);
}

/* --- the program --- */

static void check_find(Grpc__Process *p, const char *name, int wanted, const char *text)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_err_ struct err err = {0};

	p->args[0] = S(name);
	assert_int_equal(program_find(p, &path, &err), wanted);
	assert_string_equal(path ? path : err_text(&err), text);
}

static void test_program(_unused_ void **state)
{
	char dir[] = "/tmp/kata-test-XXXXXX", *args[1], *env[2];
	_cleanup_(freep) char *program = NULL, *plain = NULL, *text = NULL;
	Grpc__Process p = GRPC__PROCESS__INIT;

	assert_non_null(mkdtemp(dir));
	program = path_join(dir, "run");
	plain = path_join(dir, "plain");
	assert_int_equal(fs_replace(program, "", 0, 0755, false), 0);
	assert_int_equal(fs_replace(plain, "", 0, 0644, false), 0);
	p.args = args;
	p.n_args = 1;
	p.env = env;
	p.n_env = 2;
	env[0] = S("PATH=/nonexistent");
	env[1] = xasprintf("PATH=:rel:/nonexistent:%s", dir);
	check_find(&p, "run", 0, program);
	check_find(&p, program, 0, program);
	check_find(&p, "walk", -ENOENT, "exec: \"walk\": executable file not found in $PATH");
	check_find(&p, "plain", -EACCES, "exec: \"plain\": permission denied");
	check_find(&p, "/nonexistent/x", -ENOENT,
		   "exec: \"/nonexistent/x\": stat /nonexistent/x: no such file or directory");
	check_find(&p, "/tmp", -EISDIR, "exec: \"/tmp\": is a directory");
	text = xasprintf("exec: \"%s/x\": stat %s/x: not a directory", plain, plain);
	free(TAKE_PTR(plain));
	plain = xasprintf("%s/plain/x", dir);
	check_find(&p, plain, -ENOTDIR, text);
	free(env[1]);
	/* No PATH, no look-up: not even in the working directory. */
	p.n_env = 0;
	check_find(&p, "run", -ENOENT, "exec: \"run\": executable file not found in $PATH");
	check_find(&p, "", -ENOENT, "exec: \"\": executable file not found in $PATH");
	fs_remove_all(dir);
}

static void test_environment(_unused_ void **state)
{
	Grpc__Process p = GRPC__PROCESS__INIT;
	char *env[] = {S("A=1"), S("HOME=/h"), S("bad"), S("=bad"), S("A=2"), S("B=")};
	char **result;

	p.env = env;
	p.n_env = ARRAY_SIZE(env);
	result = program_environment(&p);
	assert_string_equal(result[0], "HOME=/h");
	assert_string_equal(result[1], "A=2");
	assert_string_equal(result[2], "B=");
	assert_null(result[3]);
	for (size_t i = 0; result[i]; i++)
		free(result[i]);
	free(result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),         cmocka_unit_test(test_mount_words),
		cmocka_unit_test(test_resources),      cmocka_unit_test(test_device_rules),
		cmocka_unit_test(test_devices_placed), cmocka_unit_test(test_sysctls),
		cmocka_unit_test(test_spec_checks),    cmocka_unit_test(test_program),
		cmocka_unit_test(test_environment),    cmocka_unit_test(test_hook_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
