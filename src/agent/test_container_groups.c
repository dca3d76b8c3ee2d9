/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces, control groups and filters of containers. */
#include <glob.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include "agent/container_fixture.h"

static void own_network(struct fixture *f)
{
	add_namespace(f, "network", "");
	add_namespace(f, "cgroup", "");
	add_namespace(f, "uts", "");
}

static void bad_namespace(struct fixture *f)
{
	add_namespace(f, "netwörk", "");
}

static void wrong_namespace(struct fixture *f)
{
	add_namespace(f, "ipc", "/proc/self/ns/uts");
}

static void user_namespace(struct fixture *f)
{
	static Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT, *maps[] = {&map};

	map.hostid = 100000;
	map.size = 65536;
	f->linux_.uidmappings = f->linux_.gidmappings = maps;
	f->linux_.n_uidmappings = f->linux_.n_gidmappings = 1;
	add_namespace(f, "user", "");
	f->spec.hostname = S("inside");
	f->process.oomscoreadj = 987;
}

static void unmapped(struct fixture *f)
{
	add_namespace(f, "user", "");
}

/* getppid() is refused with EXDEV, everything else goes on. */
static void with_filter(struct fixture *f)
{
	static Grpc__LinuxSeccomp seccomp = GRPC__LINUX_SECCOMP__INIT;
	static struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	seccomp.bpf.data = (uint8_t *)program;
	seccomp.bpf.len = sizeof(program);
	seccomp.defaultaction = S("SCMP_ACT_ALLOW");
	f->linux_.seccomp = &seccomp;
}

static void with_filter_and_nnp(struct fixture *f)
{
	with_filter(f);
	f->process.nonewprivileges = true;
}

/* startContainer: says whether it could make a folder. */
static void with_filter_and_hook(struct fixture *f)
{
	static Grpc__Hooks hooks;
	static Grpc__Hook hook, *list[] = {&hook};
	static char *args[] = {S("sh"), S("-c"), S("busybox mkdir /full/made 2>/full/error; true")};
	static char *env[] = {S("PATH=/bin")};

	hooks = (Grpc__Hooks)GRPC__HOOKS__INIT;
	hook = (Grpc__Hook)GRPC__HOOK__INIT;
	hook.path = S("/bin/busybox");
	hook.args = args;
	hook.n_args = ARRAY_SIZE(args);
	hook.env = env;
	hook.n_env = 1;
	hooks.startcontainer = list;
	hooks.n_startcontainer = 1;
	f->spec.hooks = &hooks;
	with_filter(f);
	add_mount(f, "/full", "tmpfs", "tmpfs", "");
}

static void with_all_three(struct fixture *f)
{
	with_filter_and_hook(f);
	f->process.nonewprivileges = true;
}

static void named(struct fixture *f)
{
	f->spec.hostname = S("mine");
	f->spec.domainname = S("example.org");
}

static void named_otherwise(struct fixture *f)
{
	f->spec.domainname = S("example.com");
}

static void named_alone(struct fixture *f)
{
	user_namespace(f);
	f->spec.domainname = S("example.net");
}

/* One UTS namespace for the pod: the first name that comes, and the pod's host name in any case. */
static void body_names(void)
{
	static const char script[] = "cat /proc/sys/kernel/domainname; hostname";
	char host[HOST_NAME_MAX + 1];
	_cleanup_(freep) char *wanted = NULL;

	assert_int_equal(gethostname(host, sizeof(host)), 0);
	wanted = xasprintf("example.org\n%s\n", host);
	check_script(script, named, wanted);
	check_script(script, named_otherwise, wanted);
	check_script(script, named_alone, "example.net\ninside\n");
}

static void batch(struct fixture *f)
{
	static Grpc__Scheduler scheduler = GRPC__SCHEDULER__INIT;
	static Grpc__LinuxIOPriority io = GRPC__LINUX_IOPRIORITY__INIT;
	static Grpc__LinuxPersonality personality = GRPC__LINUX_PERSONALITY__INIT;

	scheduler.policy = S("SCHED_BATCH");
	scheduler.nice = 5;
	f->process.scheduler = &scheduler;
	io.class_ = S("IOPRIO_CLASS_BE");
	io.priority = 6;
	f->process.iopriority = &io;
	personality.domain = S("LINUX32");
	f->linux_.personality = &personality;
}

static void bad_scheduler(struct fixture *f)
{
	batch(f);
	f->process.scheduler->policy = S("SCHED_NONE");
}

static void bad_io_priority(struct fixture *f)
{
	batch(f);
	f->process.iopriority->priority = 8;
}

static void own_time(struct fixture *f)
{
	add_namespace(f, "time", "");
}

/* Nice value and policy (3 is SCHED_BATCH) of the program, and what else it inherits. */
static void body_process_rules(void)
{
	char here[64] = "";
	_cleanup_(freep) char *out = NULL;

	check_script("busybox cut -d' ' -f19,41 /proc/self/stat; busybox ionice -p $$;"
		     "busybox uname -m",
		     batch, "5 3\nbest-effort: prio 6\ni686\n");
	check_refused(bad_scheduler, -EINVAL, "scheduler policy \"SCHED_NONE\" is not known");
	check_refused(bad_io_priority, -EINVAL, "I/O priority IOPRIO_CLASS_BE 8 is not valid");
	assert_true(readlink("/proc/self/ns/time", here, sizeof(here) - 1) > 0);
	out = run_script("readlink /proc/self/ns/time", own_time);
	assert_true(str_has_prefix(out, "time:"));
	assert_string_not_equal(str_chomp(out), here);
}

static void body_namespaces(void)
{
	static const char denied[] =
		"error\nmkdir: can't create directory '/full/made': Invalid cross-device link\n";

	check_script("cat /proc/net/dev | wc -l; cat /proc/self/cgroup | grep ^0", own_network,
		     "3\n0::/\n");
	check_refused(bad_namespace, -EINVAL, "namespace type");
	check_refused(wrong_namespace, -EINVAL, "ipc namespace /proc/self/ns/uts");
	check_refused(unmapped, -EINVAL, "needs uidMappings");
	check_script("id -u; cat /proc/self/uid_map | tr -s ' '; hostname; touch /dev/null;"
		     "echo x >/dev/null; touch /tmp/mine && stat -c %u /tmp/mine;"
		     "cat /proc/self/oom_score_adj",
		     user_namespace, "0\n 0 100000 65536\ninside\n0\n987\n");
	check_script("mkdir /tmp/x 2>&1; grep ^Seccomp: /proc/self/status", with_filter_and_nnp,
		     "mkdir: can't create directory '/tmp/x': Invalid cross-device link\n"
		     "Seccomp:\t2\n");
	check_script("mkdir /tmp/x 2>/dev/null; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status",
		     with_filter, "NoNewPrivs:\t0\nSeccomp:\t2\n");
	/* The filter is a hook's too. */
	check_script("ls /full; cat /full/error", with_filter_and_hook, denied);
	check_script("ls /full; cat /full/error", with_all_three, denied);
}

/* Later processes have the container's filter, user namespace and mounts. */
static void body_exec_joins(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&f, "joins", ARGS("sleep", "1000"));
	user_namespace(&f);
	with_filter(&f);
	assert_int_equal(create(&f, NULL), 0);
	/* Before the start, too. */
	set_args(&f, ARGS("sh", "-c", "cat /proc/1/comm"));
	assert_int_equal(exec(&f, "joins", "early", NULL), 0);
	out = read_all("joins", "early", true);
	assert_string_equal(out, "kata-agent\n");
	assert_int_equal(start("joins", NULL), 0);
	set_args(&f, ARGS("sh", "-c",
			  "id -u; hostname; grep ^Seccomp: /proc/self/status; touch /tmp/f; "
			  "for n in mnt pid user uts ipc cgroup net; do "
			  "[ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || "
			  "echo $n differs; done"));
	assert_int_equal(exec(&f, "joins", "e", NULL), 0);
	free(out);
	out = read_all("joins", "e", true);
	assert_string_equal(out, "0\ninside\nSeccomp:\t2\n");
	f.process.terminal = true;
	set_args(&f, ARGS("sh", "-c", "tty; test -t 0 && test -t 2 && echo yes"));
	assert_int_equal(exec(&f, "joins", "t", NULL), 0);
	free(out);
	out = read_all("joins", "t", true);
	assert_non_null(strstr(out, "/dev/pts/0"));
	assert_non_null(strstr(out, "yes"));
	assert_int_equal(remove_container("joins", NULL), 0);
}

/* The first container's PID namespace for all that ask; it does not ask itself (containerd). */
static void body_shared_pids(void)
{
	struct fixture a, b;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&a, "pause", ARGS("sleep", "1111"));
	assert_int_equal(create(&a, NULL), 0);
	assert_int_equal(start("pause", NULL), 0);
	fixture_init(&b, "second",
		     ARGS("sh", "-c",
			  "ps | grep -c '[s]leep 1111'; sleep 2222 & "
			  "echo $! >/tmp/pid; exit 6"));
	b.request.sandbox_pidns = true;
	assert_int_equal(create(&b, NULL), 0);
	assert_int_equal(start("second", NULL), 0);
	out = read_all("second", "second", true);
	assert_string_equal(out, "1\n");
	assert_int_equal(wait_process("second", "second"), 6);
	set_args(&a, ARGS("sh", "-c", "sleep 0.2; ps | grep -c '[s]leep 2222'"));
	assert_int_equal(exec(&a, "pause", "look", NULL), 0);
	free(out);
	out = read_all("pause", "look", true);
	if (t.has_groups)
		assert_string_equal(out, "0\n");
	assert_int_equal(remove_container("second", NULL), 0);
	assert_int_equal(remove_container("pause", NULL), 0);
	/* Its namespace is gone; the next one makes a new one. */
	fixture_init(&a, "again", ARGS("sh", "-c", "echo $$"));
	a.request.sandbox_pidns = true;
	assert_int_equal(create(&a, NULL), 0);
	assert_int_equal(start("again", NULL), 0);
	free(out);
	out = read_all("again", "again", true);
	assert_string_equal(out, "1\n");
	assert_int_equal(remove_container("again", NULL), 0);
}

/* With a shared process namespace as well, whose /proc only its user namespace may mount. */
static void body_pod_user(void)
{
	static const char mine[] = "for n in user ipc uts pid; do readlink /proc/self/ns/$n; done";
	_cleanup_(freep) char *first = NULL, *second = NULL, *other = NULL;
	Grpc__LinuxDevice device = GRPC__LINUX_DEVICE__INIT, *devices[] = {&device};
	struct fixture a, b;

	fixture_init(&a, "infra", ARGS("sleep", "1111"));
	user_namespace(&a);
	assert_int_equal(create(&a, NULL), 0);
	assert_int_equal(start("infra", NULL), 0);
	set_args(&a, ARGS("sh", "-c", mine));
	assert_int_equal(exec(&a, "infra", "e", NULL), 0);
	first = read_all("infra", "e", true);
	fixture_init(&b, "joins",
		     ARGS("sh", "-c",
			  "for n in user ipc uts pid; do readlink /proc/self/ns/$n; done; hostname;"
			  "cat /proc/self/oom_score_adj; ps | grep -c '[s]leep 1111'; ls -d "
			  "/dev/s/class;"
			  "touch /tmp/mine && stat -c %u /tmp/mine;"
			  "stat -c '%u %a %t:%T' /dev/mine; head -c 3 /dev/mine | wc -c; exit 7"));
	user_namespace(&b);
	add_mount(&b, "/dev/s", "sysfs", "sysfs", "ro");
	device.path = S("/dev/mine");
	device.type = S("c");
	device.major = 1;
	device.minor = 5;
	device.filemode = 0640;
	device.uid = 7;
	b.linux_.devices = devices;
	b.linux_.n_devices = 1;
	b.process.oomscoreadj = 456;
	b.request.sandbox_pidns = true;
	assert_int_equal(create(&b, NULL), 0);
	assert_int_equal(start("joins", NULL), 0);
	second = read_all("joins", "joins", true);
	assert_int_equal(wait_process("joins", "joins"), 7);
	assert_true(str_has_prefix(second, first));
	assert_string_equal(second + strlen(first),
			    "inside\n456\n1\n/dev/s/class\n0\n7 640 1:5\n3\n");
	assert_int_equal(remove_container("joins", NULL), 0);
	assert_int_equal(remove_container("infra", NULL), 0);
	/* Other mappings are another namespace. */
	fixture_init(&b, "apart", ARGS("sh", "-c", "readlink /proc/self/ns/user"));
	user_namespace(&b);
	b.linux_.uidmappings[0]->hostid = 200000;
	assert_int_equal(create(&b, NULL), 0);
	assert_int_equal(start("apart", NULL), 0);
	other = read_all("apart", "apart", true);
	assert_true(str_has_prefix(other, "user:"));
	assert_false(str_has_prefix(first, other));
	assert_int_equal(remove_container("apart", NULL), 0);
}

static int pause_container(const char *id, bool on)
{
	Grpc__PauseContainerRequest pause = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest resume = GRPC__RESUME_CONTAINER_REQUEST__INIT;

	pause.container_id = resume.container_id = S(id);
	return on ? CALL_EMPTY("PauseContainer", &pause, NULL)
		  : CALL_EMPTY("ResumeContainer", &resume, NULL);
}

static uint64_t cpu_usage(const char *id)
{
	Grpc__StatsContainerRequest request = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *response;
	uint64_t usage;

	request.container_id = S(id);
	assert_int_equal(
		CALL("StatsContainer", &request, grpc__stats_container_response, &response, NULL),
		0);
	usage = response->cgroup_stats->cpu_stats->cpu_usage->total_usage;
	assert_true(response->n_network_stats >= 1);
	assert_string_equal(response->network_stats[0]->name, "lo");
	protobuf_c_message_free_unpacked(&response->base, NULL);
	return usage;
}

static void body_groups(void)
{
	Grpc__UpdateContainerRequest update = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	Grpc__LinuxResources resources = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxNetwork network = GRPC__LINUX_NETWORK__INIT;
	struct fixture f;
	uint64_t usage;

	fixture_init(&f, "groups", ARGS("sh", "-c", "while :; do :; done"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(pause_container("groups", true), -EBUSY);
	assert_int_equal(start("groups", NULL), 0);
	co_sleep(50 * USEC_PER_MSEC);
	assert_true(cpu_usage("groups") > 0);
	assert_int_equal(pause_container("groups", true), 0);
	usage = cpu_usage("groups");
	co_sleep(50 * USEC_PER_MSEC);
	assert_int_equal(cpu_usage("groups"), usage);
	assert_int_equal(exec(&f, "groups", "e", NULL), -EBUSY);
	assert_int_equal(pause_container("groups", false), 0);
	assert_int_equal(pause_container("groups", false), -EBUSY);
	update.container_id = S("groups");
	update.resources = &resources;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, NULL), 0);
	resources.network = &network;
	network.classid = 1;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, NULL), -ENOSYS);
	/* Everything in it, even while it is frozen. */
	set_args(&f, ARGS("sleep", "1000"));
	assert_int_equal(exec(&f, "groups", "e", NULL), 0);
	assert_int_equal(pause_container("groups", true), 0);
	assert_int_equal(signal_process("groups", "", SIGKILL), 0);
	assert_int_equal(wait_process("groups", "groups"), 137);
	assert_int_equal(wait_process("groups", "e"), 137);
	assert_int_equal(remove_container("groups", NULL), 0);
}

/* The clock and the random numbers: where the machine is a guest that the test may do with what it
 * likes. */
static void body_machine(void)
{
	Grpc__ReseedRandomDevRequest reseed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	Grpc__SetGuestDateTimeRequest date = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	uint8_t seed[64] = {1, 2, 3};

	reseed.data.data = seed;
	reseed.data.len = sizeof(seed);
	assert_int_equal(CALL_EMPTY("ReseedRandomDev", &reseed, NULL), 0);
	date.sec = 1500000000;
	date.usec = 999999;
	assert_int_equal(CALL_EMPTY("SetGuestDateTime", &date, NULL), 0);
	assert_in_range(clock_realtime() / USEC_PER_SEC, 1500000000, 1500000060);
}

/* --- limits: only where the hierarchy has controllers --- */

static char *group_file(const char *name)
{
	_cleanup_(freep) char *pattern = xasprintf("/sys/fs/cgroup/kata-agent-*/limits/%s", name);
	char *text = NULL;
	glob_t found;

	if (glob(pattern, 0, NULL, &found) != 0 ||
	    fs_read(found.gl_pathv[0], 65536, &text, NULL) < 0)
		text = xstrdup("missing");
	globfree(&found);
	return str_chomp(text);
}

static void check_group_file(const char *name, const char *wanted)
{
	_cleanup_(freep) char *text = group_file(name);

	if (!streq(text, wanted))
		fail_msg("%s is \"%s\", not \"%s\"", name, text, wanted);
}

static struct {
	Grpc__LinuxResources all;
	Grpc__LinuxMemory memory;
	Grpc__LinuxCPU cpu;
	Grpc__LinuxPids pids;
	Grpc__LinuxBlockIO io;
	Grpc__LinuxHugepageLimit huge, *huge_list[1];
	Grpc__LinuxResources__UnifiedEntry high, *unified[1];
} limits;

static void set_limits(struct fixture *f)
{
	limits.all = (Grpc__LinuxResources)GRPC__LINUX_RESOURCES__INIT;
	limits.memory = (Grpc__LinuxMemory)GRPC__LINUX_MEMORY__INIT;
	limits.cpu = (Grpc__LinuxCPU)GRPC__LINUX_CPU__INIT;
	limits.pids = (Grpc__LinuxPids)GRPC__LINUX_PIDS__INIT;
	limits.high = (Grpc__LinuxResources__UnifiedEntry)
		GRPC__LINUX_RESOURCES__UNIFIED_ENTRY__INIT;
	limits.memory.limit = 16 << 20;
	limits.memory.reservation = 1 << 20;
	limits.cpu.shares = 1024;
	limits.cpu.quota = 50000;
	limits.cpu.period = 100000;
	limits.pids.limit = 10;
	limits.high.key = S("memory.oom.group");
	limits.high.value = S("1");
	limits.unified[0] = &limits.high;
	limits.all.memory = &limits.memory;
	limits.all.cpu = &limits.cpu;
	limits.all.pids = &limits.pids;
	limits.all.unified = limits.unified;
	limits.all.n_unified = 1;
	f->linux_.resources = &limits.all;
}

static void body_limits(void)
{
	Grpc__UpdateContainerRequest update = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	Grpc__GetOOMEventRequest request = GRPC__GET_OOMEVENT_REQUEST__INIT;
	Grpc__OOMEvent *event;
	_cleanup_err_ struct err err = {0};
	struct fixture f;

	fixture_init(&f, "limits", ARGS("sleep", "1000"));
	set_limits(&f);
	assert_int_equal(create(&f, &err), 0);
	check_group_file("memory.max", "16777216");
	check_group_file("memory.low", "1048576");
	check_group_file("memory.oom.group", "1");
	check_group_file("cpu.max", "50000 100000");
	check_group_file("cpu.weight", "39");
	check_group_file("pids.max", "10");
	check_group_file("pids.current", "1");
	assert_int_equal(start("limits", NULL), 0);
	update.container_id = S("limits");
	update.resources = &limits.all;
	limits.all.n_unified = 0;
	limits.cpu.quota = -1;
	limits.memory.limit = 32 << 20;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, NULL), 0);
	check_group_file("cpu.max", "max 100000");
	check_group_file("memory.max", "33554432");
	limits.all.n_unified = 1;
	limits.high.key = S("memory.nonsense");
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), 0);
	limits.high.key = S("../memory.max");
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), -EINVAL);
	limits.all.n_unified = 0;
	/* What else a group of version 2 takes. */
	limits.io = (Grpc__LinuxBlockIO)GRPC__LINUX_BLOCK_IO__INIT;
	limits.huge = (Grpc__LinuxHugepageLimit)GRPC__LINUX_HUGEPAGE_LIMIT__INIT;
	limits.huge_list[0] = &limits.huge;
	limits.huge.pagesize = S("2MB");
	limits.huge.limit = 4 << 20;
	limits.io.weight = 1000;
	limits.all.blockio = &limits.io;
	limits.all.hugepagelimits = limits.huge_list;
	limits.all.n_hugepagelimits = 1;
	limits.cpu.quota = 50000;
	limits.cpu.opt_burst_case = GRPC__LINUX_CPU__OPT_BURST_BURST;
	limits.cpu.burst = 20000;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), 0);
	check_group_file("hugetlb.2MB.max", "4194304");
	check_group_file("io.weight", "default 10000");
	check_group_file("cpu.max.burst", "20000");
	limits.cpu.opt_idle_case = GRPC__LINUX_CPU__OPT_IDLE_IDLE;
	limits.cpu.idle = 1;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), 0);
	check_group_file("cpu.idle", "1");
	limits.memory.limit = 4096;
	limits.memory.reservation = 0;
	limits.memory.checkbeforeupdate = true;
	limits.memory.opt_check_before_update_case =
		GRPC__LINUX_MEMORY__OPT_CHECK_BEFORE_UPDATE_CHECK_BEFORE_UPDATE;
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), -EBUSY);
	assert_non_null(strstr(err_text(&err), "set memory.max"));
	check_group_file("memory.max", "33554432");
	/* More than 10 processes. */
	set_args(&f, ARGS("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done"));
	assert_int_equal(exec(&f, "limits", "fork", NULL), 0);
	assert_in_range(wait_process("limits", "fork"), 1, 255);
	assert_int_equal(remove_container("limits", NULL), 0);
	check_group_file("pids.max", "missing");
	/* Too little to begin with. */
	fixture_init(&f, "limits", ARGS("true"));
	set_limits(&f);
	limits.memory.limit = 4096;
	limits.memory.swap = limits.memory.limit;
	limits.memory.reservation = 0;
	assert_true(create(&f, &err) < 0);
	assert_non_null(strstr(err_text(&err), "memory"));
	/* Out of memory: the event is there before the exit. */
	fixture_init(&f, "limits", ARGS("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"));
	set_limits(&f);
	limits.memory.swap = limits.memory.limit;
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(start("limits", NULL), 0);
	assert_int_equal(wait_process("limits", "limits"), 137);
	assert_int_equal(CALL("GetOOMEvent", &request, grpc__oomevent, &event, NULL), 0);
	assert_string_equal(event->container_id, "limits");
	protobuf_c_message_free_unpacked(&event->base, NULL);
	assert_int_equal(remove_container("limits", NULL), 0);
}

/* A container that has made groups of its own, as systemd does: its top can hold no process. */
static void body_nested_groups(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&f, "nested",
		     ARGS("sh", "-c",
			  "cd /sys/fs/cgroup && mkdir -p init deep/er && "
			  "echo 1 >init/cgroup.procs && "
			  "echo +memory >cgroup.subtree_control && echo done; "
			  "sleep 1000"));
	add_namespace(&f, "cgroup", "");
	add_mount(&f, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev");
	add_mount(&f, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev");
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("nested", NULL), 0);
	expect_line("nested", "done\n");
	set_args(&f, ARGS("grep", "^0", "/proc/self/cgroup"));
	assert_int_equal(exec(&f, "nested", "e", NULL), 0);
	out = read_all("nested", "e", true);
	assert_string_equal(out, "0::/init\n");
	assert_int_equal(remove_container("nested", NULL), 0);
}

FIXTURE_MAIN(FIXTURE_TEST(namespaces), FIXTURE_TEST(names), FIXTURE_TEST(process_rules),
	     FIXTURE_TEST_GUEST(machine), FIXTURE_TEST(exec_joins), FIXTURE_TEST(shared_pids),
	     FIXTURE_TEST(pod_user), FIXTURE_TEST_GROUPS(groups), FIXTURE_TEST_CONTROLLERS(limits),
	     FIXTURE_TEST_CONTROLLERS(nested_groups))
