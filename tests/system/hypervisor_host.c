/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Drives src/hypervisor with a real QEMU and hypervisor_guest.c as the guest, for
 * test_hypervisor.py: hypervisor_host SCENARIO RUN_DIR KERNEL INITRD WORK_DIR. Prints "name value"
 * lines of what it measured; exits 0 when everything was as it should be, else says what was not.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/virtiofsd.h"
#include "loop/co.h"

#define ANSWER_USEC (120 * USEC_PER_SEC) /* a busy machine boots slowly */
#define MAC         "02:00:00:00:00:17"

static struct loop *loop;
static const char *scenario, *run_dir, *work_dir;
static struct vm_config config;
static char *exit_reason;
static struct co_cond exited;
static uint64_t began;
static struct err failure;

#define CHECK(condition, ...)                                                           \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__);                                   \
			fputc('\n', stderr);                                            \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

#define MUST(call)                                   \
	do {                                         \
		struct err *err = &failure;          \
		int _r = (call);                     \
		CHECK(_r >= 0, "%s", err_text(err)); \
	} while (0)

static void measured(const char *name, uint64_t since)
{
	printf("%s %.1f ms\n", name, (double)(clock_now() - since) / 1000);
	fflush(stdout);
}

static void on_exited(_unused_ struct vm *vm, const char *reason, _unused_ void *arg)
{
	exit_reason = xstrdup(reason);
	co_cond_wake_all(&exited);
}

/* One command to the guest, its answer (the next call overwrites it). */
static const char *ask(int port, const char *command)
{
	static char answer[512];
	_cleanup_(freep) char *line = xasprintf("%s\n", command);
	size_t n = 0;

	CHECK(send(port, line, strlen(line), MSG_NOSIGNAL) > 0, "%m");
	for (;;) {
		ssize_t r;

		CHECK(co_wait_io(port, EPOLLIN, clock_after(ANSWER_USEC)) > 0, "no answer to %s",
		      command);
		r = recv(port, answer + n, sizeof(answer) - 1 - n, 0);
		CHECK(r > 0, "port closed");
		n += (size_t)r;
		answer[n] = '\0';
		if (answer[n - 1] == '\n')
			return str_chomp(answer);
	}
}

/* Asks again until the guest answers so, or 5 s are over. */
static void await_answer(int port, const char *command, const char *prefix)
{
	uint64_t deadline = clock_after(5 * USEC_PER_SEC);
	const char *answer;

	do {
		answer = ask(port, command);
		if (str_has_prefix(answer, prefix))
			return;
		co_sleep(2000);
	} while (clock_now() < deadline);
	CHECK(false, "%s: \"%s\", not \"%s\"", command, answer, prefix);
}

static int add_port(struct vm *vm)
{
	struct vm_device device = {.type = VM_DEVICE_SERIAL, .id = "agent"};
	int ends[2];

	CHECK(fd_socketpair(ends) == 0, "%m");
	device.serial.name = "org.kata-containers.agent.0";
	device.serial.fd = ends[1];
	MUST(vm_add_device(vm, &device, NULL, err));
	return ends[0];
}

static int open_tap(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd;

	/* In a network namespace of our own. */
	CHECK(unshare(CLONE_NEWNET) == 0, "%m");
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	CHECK(fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0, "%m");
	return fd;
}

static struct virtiofsd *add_fs(struct vm *vm, const char *program, struct vm_device_address *ret)
{
	_cleanup_(freep) char *source = path_join(work_dir, "shared");
	_cleanup_(freep) char *hello = path_join(source, "hello");
	static const char *const extra[] = {"--announce-submounts", "--thread-pool-size=1"};
	struct virtiofsd_config fs_config = {
		.path = program,
		.source = source,
		.run_dir = run_dir,
		.extra_args = extra,
		.n_extra_args = 2,
	};
	struct vm_device device = {.type = VM_DEVICE_FS, .id = "shared"};
	struct virtiofsd *fs = NULL;
	uint64_t since = clock_now();

	CHECK(fs_mkdir_all(source, 0755) == 0, "%m");
	CHECK(fs_replace(hello, "from the host\n", 14, 0644, false) == 0, "%m");
	device.fs.tag = "kataShared";
	MUST(virtiofsd_start(loop, &fs_config, NULL, &fs, &device.fs.fd, err));
	measured("virtiofsd-start", since);
	MUST(vm_add_device(vm, &device, ret, err));
	return fs;
}

static int make_disk(void)
{
	_cleanup_(freep) char *path = path_join(work_dir, "disk");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0, "%m");
	CHECK(pwrite(fd, "disk contents\n", 14, 0) == 14, "%m");
	return fd;
}

static void add_disk(struct vm *vm, struct vm_device_address *ret)
{
	struct vm_device device = {.type = VM_DEVICE_BLOCK, .id = "disk0"};

	device.block.fd = make_disk();
	device.block.format = "raw";
	MUST(vm_add_device(vm, &device, ret, err));
}

static void add_net(struct vm *vm, int tap, struct vm_device_address *ret)
{
	struct vm_device device = {.type = VM_DEVICE_NET, .id = "network-0"};

	device.net.tap_fd = tap;
	device.net.vhost_fd = -1;
	device.net.mac = MAC;
	device.net.mtu = 1450;
	MUST(vm_add_device(vm, &device, ret, err));
}

static struct vm *boot(int *ret_port, void (*before)(struct vm *vm))
{
	struct vm_listener listener = {on_exited, NULL};
	struct vm *vm = NULL;
	int port;

	MUST(vm_new(loop, &config, &listener, &vm, err));
	port = add_port(vm);
	if (before)
		before(vm);
	began = clock_now();
	MUST(vm_start(vm, err));
	measured("vm-start", began);
	CHECK(streq(ask(port, "ping"), "pong"), "%s", vm_console_tail(vm));
	measured("boot-to-answer", began);
	*ret_port = port;
	return vm;
}

static void stop(struct vm *vm)
{
	uint64_t since = clock_now();

	MUST(vm_stop(vm, err));
	measured("vm-stop", since);
	CHECK(!vm_alive(vm), "alive");
	CHECK(!exit_reason, "%s", exit_reason);
	vm_free(vm);
	CHECK(!fs_exists(run_dir), "%s is left", run_dir);
}

static void pci_command(const struct vm_device_address *address, char *out, size_t n)
{
	snprintf(out, n, "pci %s", address->pci_path);
}

/* --- everything plugged into a running VM, and out again --- */

static void replug(struct vm *vm, int port, const char *id, const char *command)
{
	uint64_t since = clock_now();

	MUST(vm_remove_device(vm, id, err));
	printf("unplug-%s %.1f ms\n", id, (double)(clock_now() - since) / 1000);
	await_answer(port, command, "none");
}

static void run_hot(_unused_ void *arg)
{
	struct vm_device_address disk, net, fs_at;
	struct virtiofsd *fs;
	char command[64];
	uint32_t vcpus = 0;
	uint64_t memory = 0, progress, since;
	int before, port, tap = open_tap();
	struct vm *vm = boot(&port, NULL);
	struct vm_pids pids;

	vm_get_pids(vm, &pids);
	CHECK(pids.vmm > 0 && pids.n_vcpus == 1 && pids.vcpus[0] > 0, "pids");
	progress = vm_progress(vm);

	since = clock_now();
	add_disk(vm, &disk);
	await_answer(port, "block",
		     streq(config.block_device_driver, "virtio-blk") ? "vda disk contents"
								     : "sda disk contents");
	measured("plug-disk", since);
	since = clock_now();
	add_net(vm, tap, &net);
	await_answer(port, "net " MAC, "eth");
	measured("plug-net", since);
	pci_command(&net, command, sizeof(command));
	await_answer(port, command, "0x1af4:0x1041 virtio-pci");
	since = clock_now();
	fs = add_fs(vm, "/usr/lib/qemu/virtiofsd", &fs_at);
	pci_command(&fs_at, command, sizeof(command));
	await_answer(port, command, "0x1af4:0x105a virtio-pci");
	await_answer(port, "fs kataShared", "from the host");
	measured("plug-fs", since);

	since = clock_now();
	MUST(vm_pause(vm, err));
	MUST(vm_resume(vm, err));
	measured("pause-resume", since);
	CHECK(streq(ask(port, "ping"), "pong"), "resumed");
	before = atoi(ask(port, "memory"));
	MUST(vm_resize(vm, 2, 256 + 100, &vcpus, &memory, err));
	CHECK(vcpus == 2 && memory == 256 + 128, "%u vcpus, %" PRIu64 " MiB", vcpus, memory);
	await_answer(port, "cpus", "2");
	CHECK(atoi(ask(port, "memory")) > before + 100, "memory %s, %d before", ask(port, "memory"),
	      before);
	vm_get_pids(vm, &pids);
	CHECK(pids.n_vcpus == 2, "%u vcpus", pids.n_vcpus);
	/* A guest that is kept busy shows it, and not before half a second has passed. */
	since = clock_now();
	while (vm_progress(vm) <= progress && clock_now() - since < 10 * USEC_PER_SEC)
		(void)ask(port, "memory");
	CHECK(vm_progress(vm) > progress, "no progress");

	replug(vm, port, "shared", command);
	MUST(virtiofsd_stop(fs, err));
	virtiofsd_free(fs);
	replug(vm, port, "network-0", "net " MAC);
	replug(vm, port, "disk0", "block");
	add_disk(vm, &disk);
	await_answer(port, "block", "");
	stop(vm);
	close(port);
	loop_quit(loop, 0);
}

/* --- the same devices on the command line --- */

static struct vm_device_address cold_disk, cold_net, cold_fs;
static struct virtiofsd *cold_daemon;
static int cold_tap;

static void add_cold(struct vm *vm)
{
	add_disk(vm, &cold_disk);
	add_net(vm, cold_tap, &cold_net);
	cold_daemon = add_fs(vm, "/usr/lib/qemu/virtiofsd", &cold_fs);
}

static void run_cold(_unused_ void *arg)
{
	char command[64];
	struct vm *vm;
	int port;

	cold_tap = open_tap();
	vm = boot(&port, add_cold);
	await_answer(port, "block",
		     streq(config.block_device_driver, "virtio-blk") ? "vda disk contents"
								     : "sda disk contents");
	await_answer(port, "net " MAC, "eth");
	CHECK(streq(ask(port, "fs kataShared"), "from the host"), "fs");
	pci_command(&cold_net, command, sizeof(command));
	await_answer(port, command, "0x1af4:0x1041 virtio-pci");
	stop(vm);
	MUST(virtiofsd_stop(cold_daemon, err));
	virtiofsd_free(cold_daemon);
	close(port);
	loop_quit(loop, 0);
}

/* --- how it may end --- */

static void await_exit(const char *expected)
{
	uint64_t deadline = clock_after(20 * USEC_PER_SEC);

	while (!exit_reason)
		CHECK(co_cond_wait(&exited, deadline) == 0, "the VM goes on");
	printf("reason %s\n", exit_reason);
	CHECK(strstr(exit_reason, expected), "%s", exit_reason);
	free(TAKE_PTR(exit_reason));
}

static void run_ends(_unused_ void *arg)
{
	static const struct {
		const char *command, *expected;
	} ends[] = {
		{"off\n", "the guest powered itself off"},
		{"panic\n", "the guest reset itself"},
		{NULL, "QEMU was killed by signal 9"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct vm_pids pids;
		int port;
		struct vm *vm = boot(&port, NULL);

		vm_get_pids(vm, &pids);
		if (ends[i].command)
			CHECK(send(port, ends[i].command, strlen(ends[i].command), 0) > 0, "%m");
		else
			kill(pids.vmm, SIGKILL);
		await_exit(ends[i].expected);
		CHECK(!vm_alive(vm), "alive");
		CHECK(vm_pause(vm, NULL) == -ESHUTDOWN, "pause");
		vm_free(vm);
		CHECK(!fs_exists(run_dir), "%s is left", run_dir);
		close(port);
	}
	loop_quit(loop, 0);
}

/* Runs until it is killed. */
static void run_forever(_unused_ void *arg)
{
	struct vm_pids pids;
	struct vm *vm;
	int port;

	cold_tap = open_tap();
	vm = boot(&port, add_cold);
	vm_get_pids(vm, &pids);
	printf("ready %d %d\n", pids.vmm, virtiofsd_pid(cold_daemon));
	fflush(stdout);
	co_sleep(60 * USEC_PER_SEC);
	_exit(1);
}

/* A guest image instead of an initrd: QEMU takes it; no kernel of this host has the drivers in it.
 */
static void run_image(_unused_ void *arg)
{
	_cleanup_(freep) char *path = path_join(work_dir, "image");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && ftruncate(fd, 16 << 20) == 0, "%m");
	close(fd);
	config.initrd = NULL;
	config.image = path;
	for (int i = 0; i < 2; i++) {
		struct vm *vm = NULL;

		config.image_nvdimm = i == 0;
		MUST(vm_new(loop, &config, NULL, &vm, err));
		MUST(vm_start(vm, err));
		stop(vm);
	}
	loop_quit(loop, 0);
}

static void run_bad(_unused_ void *arg)
{
	struct vm *vm = NULL;

	config.machine_accelerators = "nonsense=on";
	MUST(vm_new(loop, &config, NULL, &vm, err));
	CHECK(vm_start(vm, &failure) < 0, "started");
	printf("reason %s\n", err_text(&failure));
	CHECK(strstr(err_text(&failure), "nonsense"), "%s", err_text(&failure));
	err_clear(&failure);
	vm_free(vm);
	CHECK(!fs_exists(run_dir), "%s is left", run_dir);
	loop_quit(loop, 0);
}

static const struct {
	const char *name;
	co_fn fn;
} scenarios[] = {
	{"hot", run_hot}, {"cold", run_cold},   {"ends", run_ends},
	{"bad", run_bad}, {"image", run_image}, {"forever", run_forever},
};

int main(int argc, char **argv)
{
	if (argc < 6)
		return 2;
	scenario = argv[1];
	run_dir = argv[2];
	work_dir = argv[5];
	config = (struct vm_config){
		.id = "smoke",
		.run_dir = run_dir,
		.hypervisor_path = "/usr/bin/qemu-system-x86_64",
		.machine_type = "q35",
		.accel = "tcg",
		.allow_emulation = true,
		.kernel = argv[3],
		.initrd = argv[4],
		.kernel_params = "console=hvc0 console=ttyS0 panic=1 no_timer_check "
				 "noreplace-smp reboot=k cryptomgr.notests net.ifnames=0 "
				 "pci=lastbus=0 quiet",
		.vcpus = 1,
		.max_vcpus = 4,
		.memory_mib = 256,
		.max_memory_mib = 4096,
		.memory_slots = 10,
		.shared_memory = true,
		.bridges = getenv("ROOT_PORTS") ? 0 : 1,
		.root_ports = getenv("ROOT_PORTS") ? 3 : 0,
		.block_device_driver = getenv("BLOCK_DRIVER") ? getenv("BLOCK_DRIVER")
							      : "virtio-scsi",
		.block_device_aio = "io_uring",
		.debug = true,
		.uid = 65534,
		.gid = 65534,
	};
	co_cond_init(&exited);
	if (loop_new(&loop) < 0)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (streq(scenario, scenarios[i].name))
			co_start(loop, scenarios[i].fn, NULL);
	loop_run(loop);
	loop_free(loop);
	return 0;
}
