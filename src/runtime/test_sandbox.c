/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a sandbox: its boot, the failures of that, its end, and what a crash leaves. */
#include "runtime/boot.h"
#include "runtime/sandbox_fixture.h"

/* --- the sunny path --- */

static void life_body(void)
{
	_cleanup_err_ struct err err = {0};
	_cleanup_(freep) void *output = NULL;
	Grpc__CreateContainerRequest *sent;
	struct process_status status;
	ssize_t n;

	start();
	run("c1");
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/mounts/c1/rootfs"));
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs"));
	sent = grpc__create_container_request__unpack(
		NULL, fake_agent_last(fake_vm_agent())->len,
		(uint8_t *)fake_agent_last(fake_vm_agent())->data);
	assert_string_equal(sent->oci->root->path, "/run/kata-containers/shared/rootfs/c1/rootfs");
	grpc__create_container_request__free_unpacked(sent, NULL);
	fake_agent_say(fake_vm_agent(), "c1", "hello");
	n = container_read_output(sandbox, "c1", "", 1, &output, &err);
	assert_int_equal(n, 5);
	assert_memory_equal(output, "hello", 5);
	assert_int_equal(container_write_stdin(sandbox, "c1", "", "0123456789", 10, &err), 0);
	assert_string_equal(fake_agent_stdin(fake_vm_agent(), "c1"), "0123456789");
	assert_int_equal(container_delete(sandbox, "c1", "", NULL, &err), -EBUSY);
	fake_agent_exit(fake_vm_agent(), "c1", 3);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 3);
	assert_int_equal(status.state, PROCESS_STOPPED);
	assert_int_equal(container_read_output(sandbox, "c1", "", 1, &output, &err), 0);
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), -ENOENT);
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	assert_false(fs_exists(SHARE_ROOT "/s1/rootfs/mounts/c1"));
	/* A container can be made again after the last one has gone. */
	run("c1");
	assert_true(sandbox_running(sandbox));
	assert_int_equal(sandbox_ping(sandbox, USEC_PER_SEC, &err), 0);
	stop();
	assert_string_equal(heard.data, "exit:c1/=3 exit:c1/=137 ");
}

static void life(void **state)
{
	(void)state;
	in_coroutine(life_body);
}

static void execs_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	pid_t pid;

	start();
	run("c1");
	assert_int_equal(container_exec(sandbox, "c1", "e1", &process, true, &err), 0);
	assert_int_equal(container_exec(sandbox, "c1", "e1", &process, true, &err), -EEXIST);
	assert_int_equal(container_exec(sandbox, "c2", "e1", &process, true, &err), -ENOENT);
	/* stdin is closed before the start, which must neither wait nor be forgotten. */
	assert_int_equal(container_close_stdin(sandbox, "c1", "e1", &err), 0);
	assert_int_equal(container_resize_tty(sandbox, "c1", "e1", 80, 25, &err), 0);
	assert_int_equal(container_status(sandbox, "c1", "e1", &status, &err), 0);
	assert_int_equal(status.state, PROCESS_CREATED);
	assert_int_equal(status.pid, 0);
	assert_int_equal(container_start(sandbox, "c1", "e1", &pid, &err), 0);
	assert_non_null(strstr(fake_agent_log(fake_vm_agent()), "TtyWinResize"));
	assert_non_null(strstr(fake_agent_log(fake_vm_agent()), "CloseStdin"));
	assert_int_equal(container_start(sandbox, "c1", "e1", &pid, &err), -EBUSY);
	assert_int_equal(container_kill(sandbox, "c1", "e1", 9, false, &err), 0);
	assert_int_equal(container_wait(sandbox, "c1", "e1", &status, &err), 0);
	assert_int_equal(status.exit_status, 137);
	assert_int_equal(container_delete(sandbox, "c1", "e1", &status, &err), 0);
	assert_int_equal(container_status(sandbox, "c1", "e1", &status, &err), -ENOENT);
	/* The container is not concerned. */
	assert_int_equal(container_status(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.state, PROCESS_RUNNING);
	stop();
}

static void execs(void **state)
{
	(void)state;
	in_coroutine(execs_body);
}

/* --- failures of the boot --- */

static void boot_failures_body(void)
{
	static const char *const failures[] = {
		"vm_new",
		"virtiofsd_start",
		"vm_add_device:fs0",
		"vm_add_device:fs1",
		"vm_add_device:agent0",
		"vm_start",
		"vm_add_device:log0",
	};

	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		_cleanup_err_ struct err err = {0};

		fake_vm_plan.fail = failures[i];
		make();
		assert_true(sandbox_start(sandbox, &spec, &err) < 0);
		assert_non_null(strstr(err_text(&err), failures[i]));
		no_leftovers();
		/* Everything that was begun was ended. */
		assert_true(!strstr(fake_vm_log(), "vm_start") || strstr(fake_vm_log(), "vm_free"));
		assert_int_equal(create("c1", &err), -ESHUTDOWN);
		assert_non_null(strstr(err_text(&err), failures[i]));
		assert_int_equal(sandbox_stop(sandbox, &err), 0);
		sandbox_free(TAKE_PTR(sandbox));
	}
}

static void boot_failures(void **state)
{
	(void)state;
	in_coroutine(boot_failures_body);
}

static void silent_guest_body(void)
{
	_cleanup_err_ struct err err = {0};
	uint64_t began = clock_now();

	fake_vm_plan.no_agent = true;
	make();
	assert_int_equal(sandbox_start(sandbox, &spec, &err), -ETIMEDOUT);
	assert_non_null(strstr(err_text(&err), "reach the agent: the agent does not answer"));
	assert_non_null(strstr(err_text(&err), "last line of the console"));
	assert_true(clock_now() - began < test_limit(10 * USEC_PER_SEC));
	no_leftovers();
}

static void silent_guest(void **state)
{
	(void)state;
	in_coroutine(silent_guest_body);
}

/* A guest that gets little of a processor is given time as its boot has shown. */
static void patience_body(void)
{
	start();
	assert_int_equal(sandbox->patience, BOOT_GUEST_TIMEOUT);
	assert_int_equal(boot_guest_patience(200 * USEC_PER_SEC), 400 * USEC_PER_SEC);
	stop();
}

static void patience(void **state)
{
	(void)state;
	in_coroutine(patience_body);
}

static void dies_in_boot_body(void)
{
	_cleanup_err_ struct err err = {0};
	uint64_t began = clock_now();

	fake_vm_plan.no_agent = true;
	fake_vm_plan.dies_after_usec = 50 * USEC_PER_MSEC;
	config->agent.dial_timeout = 60;
	make();
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	assert_non_null(strstr(err_text(&err), "the guest has panicked"));
	assert_true(clock_now() - began < test_limit(4 * USEC_PER_SEC));
	no_leftovers();
}

static void dies_in_boot(void **state)
{
	(void)state;
	in_coroutine(dies_in_boot_body);
}

static void stop_while_booting(void *arg)
{
	_cleanup_err_ struct err err = {0};

	(void)arg;
	co_sleep(100 * USEC_PER_MSEC);
	assert_int_equal(sandbox_stop(sandbox, &err), 0);
	no_leftovers();
}

static void stopped_in_boot_body(void)
{
	_cleanup_err_ struct err err = {0};
	uint64_t began = clock_now();

	fake_vm_plan.no_agent = true;
	config->agent.dial_timeout = 60;
	make();
	co_start(loop, stop_while_booting, NULL);
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	assert_non_null(strstr(err_text(&err), "stopped while it booted"));
	assert_true(clock_now() - began < test_limit(4 * USEC_PER_SEC));
	co_sleep(100 * USEC_PER_MSEC);
}

static void stopped_in_boot(void **state)
{
	(void)state;
	in_coroutine(stopped_in_boot_body);
}

static void bad_agents_body(void)
{
	static const enum fake_mood moods[] = {FAKE_GARBAGE, FAKE_ABSURD};

	for (size_t i = 0; i < ARRAY_SIZE(moods); i++) {
		_cleanup_err_ struct err err = {0};
		uint64_t began = clock_now();

		fake_vm_plan.mood = moods[i];
		make();
		assert_true(sandbox_start(sandbox, &spec, &err) < 0);
		assert_non_null(strstr(err_text(&err), "reach the agent"));
		assert_true(clock_now() - began < test_limit(4 * USEC_PER_SEC));
		no_leftovers();
		sandbox_free(TAKE_PTR(sandbox));
	}
}

static void bad_agents(void **state)
{
	(void)state;
	in_coroutine(bad_agents_body);
}

static void liar_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	void *output = NULL;

	fake_vm_plan.mood = FAKE_LIAR;
	start();
	run("c1");
	assert_int_equal(container_write_stdin(sandbox, "c1", "", "x", 1, &err), -EPROTO);
	fake_agent_exit(fake_vm_agent(), "c1", 0);
	assert_int_equal(container_read_output(sandbox, "c1", "", 1, &output, &err), -EPROTO);
	assert_null(output);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 255);
	stop();
}

static void liar(void **state)
{
	(void)state;
	in_coroutine(liar_body);
}

/* --- after a crash --- */

static void crash_body(void)
{
	_cleanup_err_ struct err err = {0};

	start();
	run("c1");
	assert_true(fs_exists(PERSIST_ROOT "/s1/state.json"));
}

static void cleanup(void **state)
{
	_cleanup_err_ struct err err = {0};

	(void)state;
	in_coroutine(crash_body);
	/* Another process would have neither our memory nor our mounts; it has the state file. */
	assert_int_equal(sandbox_cleanup("s1", "/run/bundle", getpid(), &err), 0);
	no_leftovers();
	assert_non_null(strstr(fake_vm_log(), "vm_cleanup"));
	assert_int_equal(sandbox_cleanup("s1", NULL, 0, &err), 0);
	assert_int_equal(sandbox_cleanup("../s1", NULL, 0, &err), -EINVAL);
}

/* Ids are unique only for each of containerd's namespaces: who comes second is told so, and takes
 * nothing away from the first. */
static void same_id_body(void)
{
	_cleanup_(sandbox_freep) struct sandbox *second = NULL;
	_cleanup_(freep) char *before = NULL, *after = NULL, *expected = NULL;
	_cleanup_err_ struct err err = {0};
	size_t n;

	start();
	run("c1");
	assert_int_equal(fs_read(PERSIST_ROOT "/s1/state.json", 1 << 16, &before, &n), 0);
	assert_int_equal(
		sandbox_new(loop, config, "s1", "/run/other", NULL, &listener, &second, &err), 0);
	assert_int_equal(sandbox_start(second, &spec, &err), -EEXIST);
	expected = xasprintf("a sandbox s1 runs already: process %d has it, for /run/bundle",
			     getpid());
	assert_non_null(strstr(err_text(&err), expected));
	assert_int_equal(sandbox_stop(second, NULL), 0);
	/* Nor does `delete`, for another or for one that lives. */
	assert_int_equal(sandbox_cleanup("s1", "/run/other", getpid(), &err), 0);
	assert_int_equal(sandbox_cleanup("s1", "/run/bundle", 0, &err), 0);
	assert_int_equal(fs_read(PERSIST_ROOT "/s1/state.json", 1 << 16, &after, &n), 0);
	assert_string_equal(after, before);
	assert_null(strstr(fake_vm_log(), "vm_cleanup"));
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/mounts/c1/rootfs"));
	assert_true(sandbox_running(sandbox));
	stop();
}

static void same_id(void **state)
{
	(void)state;
	in_coroutine(same_id_body);
}

/* One whose owner was killed, and for which nobody has said `delete`. */
static void left_body(void)
{
	struct persist dead;

	persist_init(&dead, "s1");
	persist_set(&dead.owner, "/run/other");
	dead.processes[0] = (struct persist_process){"shim", getpid(), 1};
	dead.n_processes = 1;
	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1", 0700), 0);
	assert_int_equal(fs_mkdir_all(SHARE_ROOT "/s1/mounts/old", 0700), 0);
	assert_int_equal(persist_save(&dead, NULL), 0);
	persist_fini(&dead);
	start();
	assert_false(fs_exists(SHARE_ROOT "/s1/mounts/old"));
	run("c1");
	assert_int_equal(persist_load("s1", &dead, NULL), 0);
	assert_string_equal(dead.owner, "/run/bundle");
	persist_fini(&dead);
	stop();
}

/* What a leftover needs to be undone is never off the disk before it is. */
static void inherit(void **state)
{
	_cleanup_err_ struct err err = {0};
	struct persist dead, mine, left, now;

	(void)state;
	persist_init(&dead, "s1");
	persist_set(&dead.owner, "/run/other");
	persist_set(&dead.netns, "/run/netns/x");
	strv_add(&dead.endpoints, "eth0");
	strv_add(&dead.cgroups, "/sys/fs/cgroup/kata_s1");
	dead.processes[0] = (struct persist_process){"shim", getpid(), 1};
	dead.processes[1] = (struct persist_process){"virtiofsd", getpid(), 1};
	dead.n_processes = 2;
	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1", 0700), 0);
	assert_int_equal(persist_save(&dead, NULL), 0);
	persist_init(&mine, "s1");
	persist_set(&mine.owner, "/run/bundle");
	persist_add_process(&mine, "shim", getpid());
	assert_int_equal(persist_claim(&mine, &left, &err), 1);
	assert_int_equal(left.n_processes, 2);
	persist_fini(&left);
	assert_int_equal(persist_load("s1", &now, &err), 0);
	assert_string_equal(now.owner, "/run/bundle");
	assert_string_equal(now.netns, "/run/netns/x");
	assert_int_equal(now.endpoints.n, 1);
	assert_int_equal(now.cgroups.n, 1);
	assert_int_equal(now.n_processes, 2);
	assert_string_equal(now.processes[0].name, "virtiofsd");
	assert_string_equal(now.processes[1].name, "shim");
	assert_true(persist_alive(&now.processes[1]));
	persist_fini(&now);
	/* It is held now, until it is given up. */
	assert_int_equal(persist_claim(&mine, &left, &err), -EEXIST);
	assert_int_equal(persist_take_over("s1", "/run/bundle", 0, &left, &err), 0);
	assert_int_equal(persist_take_over("s1", "/run/other", getpid(), &left, &err), 0);
	persist_disown("s1");
	assert_int_equal(persist_take_over("s1", "/run/bundle", 0, &left, &err), 1);
	persist_fini(&left);
	assert_int_equal(persist_claim(&mine, &left, &err), -EEXIST);
	/* A record that cannot be read for another reason is not taken for a leftover. */
	persist_remove("s1");
	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1/state.json", 0700), 0);
	assert_int_equal(persist_claim(&mine, &left, &err), -EISDIR);
	persist_remove("s1");
	persist_fini(&dead);
	persist_fini(&mine);
}

static void left(void **state)
{
	(void)state;
	in_coroutine(left_body);
}

SANDBOX_TESTS(TEST(life), TEST(execs), TEST(boot_failures), TEST(silent_guest), TEST(patience),
	      TEST(dies_in_boot), TEST(stopped_in_boot), TEST(bad_agents), TEST(liar),
	      TEST(cleanup), TEST(same_id), TEST(left), TEST(inherit))
