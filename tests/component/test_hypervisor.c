/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/path.h"
#include "base/spawn.h"
#include "base/str.h"
#include "hypervisor/probe_cache.h"
#include "hypervisor/qemu/qemu.h"
#include "hypervisor/virtiofsd.h"

/*
 * src/hypervisor against tests/fakes/qemu.py, which misbehaves as told. Every test ends with: no
 * process and no file left.
 */

#define SHORT (300 * USEC_PER_MSEC)

static struct loop *loop;
static char dir[] = "/tmp/kata-hypervisor-XXXXXX";
static char *run_dir, *exit_reason;
static struct co_cond exited;
static unsigned n_exited;

static int setup(_unused_ void **state)
{
	memcpy(dir, "/tmp/kata-hypervisor-XXXXXX", sizeof(dir));
	if (!mkdtemp(dir))
		return -1;
	run_dir = xasprintf("%s/vm/box", dir);
	n_exited = 0;
	probe_cache_dir = NULL;
	co_cond_init(&exited);
	return loop_new(&loop);
}

static int teardown(_unused_ void **state)
{
	assert_false(fs_exists(run_dir));
	/* Nobody was left behind, not even as a zombie. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	loop_free(loop);
	free(run_dir);
	free(TAKE_PTR(exit_reason));
	return fs_remove_all(dir);
}

static void on_exited(_unused_ struct vm *vm, const char *reason, _unused_ void *arg)
{
	n_exited++;
	free(exit_reason);
	exit_reason = xstrdup(reason);
	co_cond_wake_all(&exited);
}

static struct vm *make_with(const char *mode, const char *kernel)
{
	_cleanup_(freep) char *params = xasprintf("fake=%s", mode);
	_cleanup_err_ struct err err = {0};
	struct vm_listener listener = {on_exited, NULL};
	struct vm_config config = {
		.id = "box",
		.run_dir = run_dir,
		.hypervisor_path = FAKES "/qemu.py",
		.machine_type = "q35",
		.accel = "tcg",
		.allow_emulation = true,
		.kernel = kernel,
		.initrd = "/dev/null",
		.kernel_params = params,
		.vcpus = 1,
		.max_vcpus = 2,
		.memory_mib = 256,
		.max_memory_mib = 1024,
		.memory_slots = 2,
		.bridges = 1,
	};
	struct vm *vm = NULL;

	if (vm_new(loop, &config, &listener, &vm, &err) < 0)
		fail_msg("%s", err_text(&err));
	vm->qmp_usec = vm->unplug_usec = 5 * USEC_PER_SEC;
	return vm;
}

static struct vm *make(const char *mode)
{
	return make_with(mode, "/dev/null");
}

static struct vm *boot(const char *mode)
{
	_cleanup_err_ struct err err = {0};
	struct vm *vm = make(mode);

	if (vm_start(vm, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(vm_alive(vm));
	return vm;
}

static void expect_text(const char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text ? text : "");
}

static int add_disk(struct vm *vm, const char *id, struct vm_device_address *ret, struct err *err)
{
	struct vm_device d = {.type = VM_DEVICE_BLOCK, .id = id};

	d.block.fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	return vm_add_device(vm, &d, ret, err);
}

static int add_net(struct vm *vm, const char *id, struct vm_device_address *ret, struct err *err)
{
	struct vm_device d = {.type = VM_DEVICE_NET, .id = id};

	d.net.tap_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	d.net.vhost_fd = -1;
	d.net.mac = "02:00:00:00:00:01";
	return vm_add_device(vm, &d, ret, err);
}

static void await_exit(void)
{
	while (!n_exited)
		assert_int_equal(co_cond_wait(&exited, clock_after(5 * USEC_PER_SEC)), 0);
}

/* How often a command was sent. */
static json_int_t count_commands(struct vm *vm, const char *name)
{
	json_t *ret = NULL;
	json_int_t n;

	assert_int_equal(vm_call(vm, "x-count", json_pack("{s:s}", "command", name), &ret, NULL),
			 0);
	n = json_integer_value(json_object_get(ret, "n"));
	json_decref(ret);
	return n;
}

/* --- it works --- */

static void run_normal(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	_cleanup_(freep) char *pid_file = path_join(run_dir, "pid");
	struct vm_device_address at;
	struct vm *vm = boot("normal");
	struct vm_pids pids;
	struct stat st;
	uint32_t vcpus;
	uint64_t memory;

	assert_int_equal(stat(run_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(fs_exists(pid_file));
	vm_get_pids(vm, &pids);
	assert_int_equal(pids.vmm, pids.vcpus[0]);
	assert_int_equal(vm_start(vm, NULL), -EALREADY);

	assert_int_equal(add_disk(vm, "disk0", &at, &err), 0);
	assert_string_equal(at.scsi, "0:0");
	assert_int_equal(add_disk(vm, "disk1", &at, &err), 0);
	assert_string_equal(at.scsi, "0:1");
	assert_int_equal(add_disk(vm, "disk1", &at, &err), -EEXIST);
	assert_int_equal(add_net(vm, "net0", &at, &err), 0);
	assert_string_equal(at.pci_path, "02/01");
	assert_int_equal(vm_remove_device(vm, "disk0", &err), 0);
	assert_int_equal(vm_remove_device(vm, "disk0", &err), -ENOENT);
	assert_int_equal(add_disk(vm, "disk2", &at, &err), 0);
	assert_string_equal(at.scsi, "0:0"); /* its place is free again */
	assert_int_equal(vm_remove_device(vm, "net0", &err), 0);
	assert_int_equal(count_commands(vm, "netdev_del"), 1);
	assert_int_equal(count_commands(vm, "blockdev-del"), 1);
	assert_int_equal(count_commands(vm, "remove-fd"), 1);

	assert_int_equal(vm_resize(vm, 2, 300, &vcpus, &memory, &err), 0);
	assert_int_equal(vcpus, 2);
	assert_int_equal(memory, 256 + 128);
	assert_int_equal(vm_resize(vm, 1, 100, &vcpus, &memory, &err), 0);
	assert_int_equal(memory, 256 + 128); /* less changes nothing */
	assert_int_equal(vm_pause(vm, NULL), 0);
	assert_int_equal(vm_resume(vm, NULL), 0);

	assert_int_equal(vm_stop(vm, NULL), 0);
	assert_int_equal(vm_stop(vm, NULL), 0);
	assert_int_equal(n_exited, 0);
	assert_int_equal(vm_pause(vm, NULL), -ESHUTDOWN);
	assert_int_equal(add_disk(vm, "disk3", &at, NULL), -ESHUTDOWN);
	assert_int_equal(vm_remove_device(vm, "disk1", NULL), -ESHUTDOWN);
	vm_free(vm);
	loop_quit(loop, 0);
}

/* --- it grows as far as it can --- */

static void run_limits(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm *vm = boot("normal");
	uint32_t vcpus;
	uint64_t memory;

	/* Neither the last step nor what is beyond it fits: down to a whole step. */
	vm->config.max_memory_mib = 1000;
	assert_int_equal(vm_resize(vm, 3, 900, &vcpus, &memory, &err), 0);
	assert_int_equal(vcpus, 2);
	assert_int_equal(memory, 256 + 5 * 128);
	assert_int_equal(vm_resize(vm, 1000, UINT64_MAX, &vcpus, &memory, &err), 0);
	assert_int_equal(vcpus, 2);
	assert_int_equal(memory, 256 + 5 * 128);
	assert_int_equal(count_commands(vm, "object-add"), 1);
	vm_free(vm);

	vm = boot("normal");
	assert_int_equal(vm_resize(vm, 1, 300, &vcpus, &memory, &err), 0);
	assert_int_equal(vm_resize(vm, 1, 400, &vcpus, &memory, &err), 0);
	assert_int_equal(memory, 512);
	/* Both slots are taken. */
	assert_int_equal(vm_resize(vm, 2, 600, &vcpus, &memory, &err), 0);
	assert_int_equal(memory, 512);
	assert_int_equal(vcpus, 2);
	vm_free(vm);
	loop_quit(loop, 0);
}

/* --- it does not start --- */

static void run_bad_starts(_unused_ void *arg)
{
	static const struct {
		const char *mode;
		int r;
		const char *text;
	} cases[] = {
		{"exit", -EPIPE,
		 "start the VM: QEMU exited with status 3: fake-qemu: and this is the last word"},
		{"mute", -ETIMEDOUT, "start the VM: QMP greeting: Connection timed out"},
		{"foreign-thread", -EPROTO, "QEMU names a thread that is not its own"},
		{"garbage", -EPIPE, "a line that is no JSON object"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct vm *vm = make(cases[i].mode);

		if (streq(cases[i].mode, "mute"))
			vm->qmp_usec = SHORT;
		assert_int_equal(vm_start(vm, &err), cases[i].r);
		expect_text(err_text(&err), cases[i].text);
		assert_false(vm_alive(vm));
		assert_int_equal(n_exited, 0);
		vm_free(vm);
	}
	loop_quit(loop, 0);
}

/* --- it ends --- */

static void run_ends(_unused_ void *arg)
{
	static const struct {
		const char *mode, *text;
	} cases[] = {
		{"power-off", "the guest powered itself off"},
		{"console", "the guest powered itself off; guest console: Kernel panic - not "
			    "syncing | ?[31mend of it"},
		{"exit-later", "QEMU exited with status 3: fake-qemu: and this is the last word"},
		{"hangup", "QEMU ended its monitor session and was killed for it"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm *vm = boot(cases[i].mode);

		await_exit();
		assert_string_equal(exit_reason, cases[i].text);
		assert_int_equal(n_exited, 1);
		assert_false(vm_alive(vm));
		vm_free(vm);
		n_exited = 0;
	}
	loop_quit(loop, 0);
}

static void run_killed(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm *vm = boot("normal");
	struct vm_pids pids;

	vm_get_pids(vm, &pids);
	kill(pids.vmm, SIGKILL);
	await_exit();
	assert_string_equal(exit_reason, "QEMU was killed by signal 9 (Killed)");
	assert_int_equal(vm_pause(vm, &err), -ESHUTDOWN);
	assert_string_equal(err_text(&err), exit_reason);
	vm_free(vm);
	loop_quit(loop, 0);
}

/* --- it does not do what it should --- */

static void run_refuses(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm_device_address at;
	struct vm *vm = boot("refuse");

	assert_int_equal(add_net(vm, "net0", &at, &err), -EREMOTEIO);
	assert_string_equal(err_text(&err), "add device net0: QEMU refused device_add: Bus "
					    "'pci-bridge-0' does not support hotplugging");
	/* What was told before is taken back, and its place and name are free. */
	assert_int_equal(count_commands(vm, "netdev_del"), 1);
	assert_int_equal(add_disk(vm, "net0", &at, NULL), -EREMOTEIO);
	assert_int_equal(count_commands(vm, "blockdev-del"), 1);
	assert_int_equal(count_commands(vm, "remove-fd"), 1);
	assert_int_equal(vm_remove_device(vm, "net0", NULL), -ENOENT);
	vm_free(vm);

	vm = boot("refuse-fd");
	err_clear(&err);
	assert_int_equal(add_disk(vm, "disk0", &at, &err), -EREMOTEIO);
	expect_text(err_text(&err), "No file descriptor supplied");
	assert_int_equal(count_commands(vm, "blockdev-add"), 0);
	vm_free(vm);
	loop_quit(loop, 0);
}

static void run_unplug(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm_device_address at;
	struct vm *vm = boot("keep");

	vm->unplug_usec = SHORT;
	assert_int_equal(add_net(vm, "net0", &at, &err), 0);
	assert_int_equal(vm_remove_device(vm, "net0", &err), -ETIMEDOUT);
	expect_text(err_text(&err), "did not let go of it");
	assert_int_equal(count_commands(vm, "netdev_del"), 0);
	assert_int_equal(add_disk(vm, "net0", &at, NULL), -EEXIST); /* it is still there */
	vm_free(vm);

	/* The rest is done when it lets go at last, without anybody who waits. */
	vm = boot("late");
	err_clear(&err);
	vm->unplug_usec = SHORT;
	assert_int_equal(add_disk(vm, "disk0", &at, &err), 0);
	assert_int_equal(vm_remove_device(vm, "disk0", &err), -ETIMEDOUT);
	for (int i = 0; i < 500 && vm_find_device(vm, "disk0"); i++)
		co_sleep(10 * USEC_PER_MSEC);
	assert_int_equal(count_commands(vm, "blockdev-del"), 1);
	assert_int_equal(count_commands(vm, "remove-fd"), 1);
	assert_int_equal(vm_remove_device(vm, "disk0", NULL), -ENOENT);
	vm_free(vm);

	vm = boot("unplug-error");
	err_clear(&err);
	assert_int_equal(add_net(vm, "net0", &at, &err), 0);
	assert_int_equal(vm_remove_device(vm, "net0", &err), -EBUSY);
	expect_text(err_text(&err), "the guest refused");
	vm_free(vm);
	loop_quit(loop, 0);
}

static void run_dies_on_add(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm_device_address at;
	struct vm *vm = boot("die-on-add");

	assert_int_equal(add_net(vm, "net0", &at, &err), -ESHUTDOWN);
	assert_string_equal(err_text(&err),
			    "add device net0: QEMU was killed by signal 9 (Killed)");
	await_exit();
	assert_string_equal(exit_reason, "QEMU was killed by signal 9 (Killed)");
	vm_free(vm);
	loop_quit(loop, 0);
}

static void run_hangs(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct vm *vm = boot("hang");
	uint64_t began;

	vm->qmp_usec = SHORT;
	assert_int_equal(vm_pause(vm, &err), -ETIMEDOUT);
	began = clock_now();
	assert_int_equal(vm_stop(vm, &err), 0); /* by force */
	assert_true(clock_now() - began < test_limit(3 * USEC_PER_SEC));
	vm_free(vm);
	loop_quit(loop, 0);
}

static void run_flood(_unused_ void *arg)
{
	struct vm *vm = boot("flood");
	uint64_t began = clock_now();

	/* The loop still turns. */
	for (int i = 0; i < 20; i++)
		co_sleep(1000);
	assert_true(clock_now() - began < test_limit(2 * USEC_PER_SEC));
	assert_int_equal(vm_stop(vm, NULL), 0);
	vm_free(vm);
	loop_quit(loop, 0);
}

/* --- signs of life --- */

/* How often it shows one, asked ten times in five seconds. */
static unsigned count_signs(const char *mode)
{
	struct vm *vm = boot(mode);
	uint64_t last = vm_progress(vm);
	unsigned n = 0;

	for (int i = 0; i < 10; i++) {
		uint64_t now;

		co_sleep(SHORT + 200 * USEC_PER_MSEC);
		now = vm_progress(vm);
		n += now != last;
		last = now;
	}
	vm_free(vm);
	return n;
}

static void run_progress(_unused_ void *arg)
{
	/* A guest that only keeps its clock does not get anywhere … */
	assert_true(count_signs("idle") <= 3);
	/* … and one that the host has no processor for cannot help it. */
	assert_true(count_signs("starved") >= 5);
	loop_quit(loop, 0);
}

static struct vm *shared_vm;
static int stuck_result;

static void stuck(_unused_ void *arg)
{
	stuck_result = vm_pause(shared_vm, NULL);
	loop_quit(loop, 0);
}

/* Freed while somebody waits inside: he gets an error, and nothing is touched that is gone. */
static void run_freed(_unused_ void *arg)
{
	shared_vm = boot("hang");
	co_start(loop, stuck, NULL);
	co_sleep(20000);
	vm_free(shared_vm);
}

/* --- an owner that crashed --- */

static void run_cleanup(_unused_ void *arg)
{
	_cleanup_(freep) char *pid_file = path_join(run_dir, "pid");
	_cleanup_err_ struct err err = {0};
	struct vm *vm = boot("normal");
	struct vm_pids pids;
	char other[32];

	vm_get_pids(vm, &pids);
	assert_int_equal(vm_cleanup(run_dir, "box", &err), 0);
	assert_false(fs_exists(run_dir));
	await_exit();
	vm_free(vm);
	assert_int_equal(vm_cleanup(run_dir, "box", &err), 0); /* nothing there: fine */

	/* A number that is somebody else's by now: ours. */
	assert_int_equal(fs_mkdir_all(run_dir, 0755), 0);
	snprintf(other, sizeof(other), "%d\n", getpid());
	assert_int_equal(fs_replace(pid_file, other, strlen(other), 0600, false), 0);
	assert_int_equal(vm_cleanup(run_dir, "box", &err), 0);
	assert_int_equal(fs_mkdir_all(run_dir, 0755), 0);
	assert_int_equal(fs_replace(pid_file, "-1\n", 3, 0600, false), 0);
	assert_int_equal(vm_cleanup(run_dir, "box", &err), 0);
	assert_int_equal(vm_cleanup("relative/../x", "box", &err), -EINVAL);
	loop_quit(loop, 0);
}

/* It goes on under another name, where whoever cleans up finds it by its own. */
static void run_move(_unused_ void *arg)
{
	_cleanup_(freep) char *taken = xasprintf("%s/vm/taken", dir);
	_cleanup_(freep) char *moved = xasprintf("%s/vm/moved", dir);
	_cleanup_(freep) char *pid_file = path_join(moved, "pid");
	_cleanup_err_ struct err err = {0};
	struct vm_device_address at;
	struct vm *vm = boot("normal");

	assert_int_equal(fs_mkdir_all(taken, 0755), 0);
	assert_int_equal(vm_move(vm, taken, &err), -EEXIST);
	expect_text(err_text(&err), taken);
	assert_true(fs_exists(run_dir));
	assert_int_equal(rmdir(taken), 0);
	assert_int_equal(vm_move(vm, moved, NULL), 0);
	assert_false(fs_exists(run_dir));
	assert_true(fs_exists(pid_file));
	assert_int_equal(add_net(vm, "net0", &at, NULL), 0);
	assert_int_equal(vm_cleanup(moved, "moved", NULL), 0);
	assert_int_equal(n_exited, 0);
	vm_free(vm);

	vm = boot("normal");
	assert_int_equal(vm_move(vm, moved, NULL), 0);
	assert_int_equal(vm_cleanup(moved, "box", NULL), 0);
	await_exit();
	vm_free(vm);

	/* Its end removes what has the new name. */
	vm = boot("normal");
	assert_int_equal(vm_move(vm, moved, NULL), 0);
	vm_free(vm);
	assert_false(fs_exists(moved));
	loop_quit(loop, 0);
}

static void run_current(_unused_ void *arg)
{
	_cleanup_(freep) char *kernel = xasprintf("%s/kernel", dir);
	struct vm *vm = make("normal");

	assert_true(vm_is_current(vm));
	vm_free(TAKE_PTR(vm));
	assert_int_equal(fs_replace(kernel, "1", 1, 0644, false), 0);
	vm = make_with("normal", kernel);
	assert_true(vm_is_current(vm));
	/* An update writes it anew, of the same size perhaps. */
	assert_int_equal(fs_replace(kernel, "2", 1, 0644, false), 0);
	assert_false(vm_is_current(vm));
	vm_free(TAKE_PTR(vm));
	vm = make_with("normal", kernel);
	assert_true(vm_is_current(vm));
	assert_int_equal(unlink(kernel), 0);
	assert_false(vm_is_current(vm));
	vm_free(vm);
	loop_quit(loop, 0);
}

static void run_refused_config(_unused_ void *arg)
{
	_cleanup_(freep) char *other = xasprintf("%s/vm/other", dir);
	_cleanup_err_ struct err err = {0};
	struct vm *vm = make("normal"), *second = NULL;
	struct vm_config config = vm->config;

	assert_int_equal(vm_new(loop, &config, NULL, &second, &err), -EEXIST);
	config.initrd = NULL;
	assert_int_equal(vm_new(loop, &config, NULL, &second, &err), -EINVAL);
	expect_text(err_text(&err), "either an initrd or an image");
	config.image = "/nonexistent.img";
	assert_int_equal(vm_new(loop, &config, NULL, &second, &err), -ENOENT);
	expect_text(err_text(&err), "image /nonexistent.img: No such file");
	config.id = "../x";
	assert_int_equal(vm_new(loop, &config, NULL, &second, &err), -EINVAL);
	config = vm->config;
	config.run_dir = other;
	config.firmware = "/nonexistent.fd";
	assert_int_equal(vm_new(loop, &config, NULL, &second, &err), -ENOENT);
	expect_text(err_text(&err), "/nonexistent.fd: No such file");
	assert_false(fs_exists(other));
	/* Nothing of ours was closed for it. */
	assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
	vm_free(vm);
	loop_quit(loop, 0);
}

/* --- virtiofsd, either of them --- */

static char *fs_reason;

static void on_fs_exited(_unused_ struct virtiofsd *fs, const char *reason, _unused_ void *arg)
{
	free(fs_reason);
	fs_reason = xstrdup(reason);
	co_cond_wake_all(&exited);
}

static int start_fs(const char *name, struct virtiofsd **ret, int *ret_fd, struct err *err)
{
	_cleanup_(freep) char *link = xasprintf("%s/virtiofsd-%s", dir, name);
	static const char *const extra[] = {"--announce-submounts", "--thread-pool-size=1",
					    "--xattrmap=:a:"};
	struct virtiofsd_config config = {
		.path = link,
		.source = dir,
		.run_dir = dir,
		.cache = "never",
		.extra_args = extra,
		.n_extra_args = ARRAY_SIZE(extra),
	};
	struct virtiofsd_listener listener = {on_fs_exited, NULL};

	assert_int_equal(symlink(FAKES "/virtiofsd.py", link), 0);
	return virtiofsd_start(loop, &config, &listener, ret, ret_fd, err);
}

static void check_fs(const char *name, const char *before, const char *after)
{
	_cleanup_(freep) char *socket_path = path_join(dir, "virtiofsd.sock");
	_cleanup_(freep) char *args_path = path_join(dir, "args");
	_cleanup_(freep) char *expected = xasprintf("%s%s%s", before, dir, after);
	_cleanup_(freep) char *text = NULL;
	_cleanup_err_ struct err err = {0};
	struct virtiofsd *fs = NULL;
	char hello[5];
	int fd = -1;

	if (start_fs(name, &fs, &fd, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_false(fs_exists(socket_path));
	assert_true(co_wait_io(fd, EPOLLIN, clock_after(5 * USEC_PER_SEC)) > 0);
	assert_int_equal(read(fd, hello, 5), 5);
	assert_int_equal(fs_read(args_path, 4096, &text, NULL), 0);
	assert_string_equal(text, expected);
	assert_int_equal(virtiofsd_stop(fs, &err), 0);
	assert_int_equal(virtiofsd_pid(fs), 0);
	assert_int_equal(virtiofsd_stop(fs, &err), 0);
	assert_null(fs_reason);
	virtiofsd_free(fs);
	close(fd);
}

static void run_fs(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};
	struct virtiofsd *fs = NULL;
	int fd = -1;

	check_fs("c", "--fd=3 -f -o source=",
		 " -o cache=none -o log_level=warn "
		 "-o announce_submounts --thread-pool-size=1 -o xattrmap=:a:");
	check_fs("rust", "--fd=3 --shared-dir=",
		 " --cache=never --log-level=warn "
		 "--announce-submounts --thread-pool-size=1 --xattrmap=:a:");
	assert_int_equal(start_fs("other", &fs, &fd, &err), -ENOSYS);
	expect_text(err_text(&err), "is not a virtiofsd we know");

	assert_int_equal(start_fs("c-dies", &fs, &fd, &err), 0);
	while (!fs_reason)
		assert_int_equal(co_cond_wait(&exited, clock_after(5 * USEC_PER_SEC)), 0);
	assert_string_equal(fs_reason, "virtiofsd exited with status 1: the shared folder is on "
				       "fire");
	free(TAKE_PTR(fs_reason));
	virtiofsd_free(fs);
	close(fd);

	/* One that follows its QEMU does not speak before QEMU's end is known. */
	assert_int_equal(start_fs("rust-leaves", &fs, &fd, &err), 0);
	assert_true(co_wait_io(fd, EPOLLIN, clock_after(5 * USEC_PER_SEC)) > 0);
	close(fd);
	while (virtiofsd_pid(fs))
		co_sleep(1000);
	co_sleep(SHORT);
	assert_null(fs_reason);
	while (!fs_reason)
		assert_int_equal(co_cond_wait(&exited, clock_after(5 * USEC_PER_SEC)), 0);
	assert_string_equal(fs_reason, "virtiofsd exited with status 0");
	free(TAKE_PTR(fs_reason));
	virtiofsd_free(fs);

	assert_int_equal(start_fs("rust-stubborn", &fs, &fd, &err), 0);
	assert_true(co_wait_io(fd, EPOLLIN, clock_after(5 * USEC_PER_SEC)) > 0);
	co_sleep(50000);
	assert_int_equal(virtiofsd_stop(fs, &err), 0);
	virtiofsd_free(fs);
	close(fd);
	loop_quit(loop, 0);
}

/* --- saved VMs --- */

static int memory_file(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 256 << 20), 0);
	return fd;
}

static struct vm *start_with_memory(const char *mode, enum vm_memory use)
{
	_cleanup_(closep) int memory = memory_file();
	_cleanup_err_ struct err err = {0};
	struct vm *vm = make(mode);

	assert_int_equal(vm_set_memory(vm, memory, use, &err), 0);
	if (vm_start(vm, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(vm_set_memory(vm, memory, use, NULL), -EALREADY);
	return vm;
}

/* A state that was saved by a VM that is gone. */
static int save_one(void)
{
	struct vm *vm = start_with_memory("normal", VM_MEMORY_TO_SAVE);
	int state = memfd_create("state", MFD_CLOEXEC);

	assert_int_equal(vm_save(vm, state, NULL), 0);
	assert_int_equal(lseek(state, 0, SEEK_SET), 0);
	vm_free(vm);
	return state;
}

static void refuse_state(const char *mode, int state, int wanted, const char *text)
{
	_cleanup_err_ struct err err = {0};
	struct vm *vm = start_with_memory(mode, VM_MEMORY_OWN);

	vm->qmp_usec = SHORT;
	assert_int_equal(lseek(state, 0, SEEK_SET), 0);
	assert_int_equal(vm_load(vm, state, &err), wanted);
	expect_text(err_text(&err), text);
	vm_free(vm);
}

static void run_snapshot(_unused_ void *arg)
{
	_cleanup_(closep) int state = save_one(), other = memory_file();
	_cleanup_err_ struct err err = {0};
	struct vm_device_address at;
	struct vm *vm = start_with_memory("normal", true);

	assert_int_equal(vm_load(vm, state, &err), 0);
	/* It is a VM as any other. */
	assert_int_equal(add_net(vm, "net0", &at, &err), 0);
	assert_int_equal(vm_pause(vm, NULL), 0);
	assert_int_equal(vm_stop(vm, NULL), 0);
	vm_free(vm);
	refuse_state("normal", other, -ESHUTDOWN, "load of migration failed: Invalid argument");
	refuse_state("load-dies", state, -ESHUTDOWN, "QEMU exited with status 1");
	refuse_state("slow-load", state, -ETIMEDOUT,
		     "restore the VM: QEMU does not come to an end");
	vm = start_with_memory("save-fails", false);
	assert_int_equal(vm_save(vm, other, &err), -EIO);
	expect_text(err_text(&err), "save the VM: fake: the disk is full");
	vm_free(vm);
	/* One that does not wait for a state. */
	err_clear(&err);
	vm = boot("normal");
	assert_true(vm_load(vm, state, &err) < 0);
	expect_text(err_text(&err), "-incoming");
	vm_free(vm);
	/* The two that could not load. */
	assert_int_equal(n_exited, 2);
	loop_quit(loop, 0);
}

static void fingerprint(const char *mode, bool disk, char ret[VM_FINGERPRINT_SIZE])
{
	struct vm_device_address at;
	struct vm *vm = make(mode);

	if (disk)
		assert_int_equal(add_disk(vm, "disk0", &at, NULL), 0);
	assert_int_equal(vm_fingerprint(vm, ret, NULL), 0);
	vm_free(vm);
}

/* The same for the same VM under another name; another for another kernel line or device. */
static void run_fingerprint(_unused_ void *arg)
{
	char a[VM_FINGERPRINT_SIZE], b[VM_FINGERPRINT_SIZE];
	_cleanup_(freep) char *other = xasprintf("%s/vm/other", dir), *first = run_dir;

	fingerprint("normal", false, a);
	run_dir = other;
	fingerprint("normal", false, b);
	run_dir = xstrdup(first);
	assert_string_equal(a, b);
	fingerprint("hang", false, b);
	assert_string_not_equal(a, b);
	fingerprint("normal", true, b);
	assert_string_not_equal(a, b);
	loop_quit(loop, 0);
}

static void run(co_fn fn)
{
	co_start(loop, fn, NULL);
	assert_int_equal(loop_run(loop), 0);
}

#define TEST(name)                                     \
	static void test_##name(_unused_ void **state) \
	{                                              \
		run(run_##name);                       \
	}

TEST(normal)
TEST(limits)
TEST(progress)
TEST(bad_starts)
TEST(ends)
TEST(killed)
TEST(refuses)
TEST(unplug)
TEST(dies_on_add)
TEST(hangs)
TEST(flood)
TEST(cleanup)
TEST(refused_config)
TEST(fs)
TEST(snapshot)
TEST(fingerprint)
TEST(move)
TEST(current)

static void test_freed(_unused_ void **state)
{
	run(run_freed);
	assert_int_equal(stuck_result, -ESHUTDOWN);
}

#define ROW(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(normal),   ROW(bad_starts),     ROW(ends),  ROW(killed),  ROW(refuses),
		ROW(unplug),   ROW(dies_on_add),    ROW(hangs), ROW(flood),   ROW(freed),
		ROW(cleanup),  ROW(refused_config), ROW(fs),    ROW(limits),  ROW(progress),
		ROW(snapshot), ROW(fingerprint),    ROW(move),  ROW(current),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
