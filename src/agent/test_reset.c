/* SPDX-License-Identifier: Apache-2.0 */
/* ResetSandbox: the guest goes on, and nothing of the first sandbox is left for the second. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "agent/container_fixture.h"
#include "google/protobuf/empty.pb-c.h"

#define LEFT AGENT_SANDBOX_DIR "/left"

/* --- calls --- */

static int create_sandbox(const char *id, bool full)
{
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage shm = GRPC__STORAGE__INIT, local = GRPC__STORAGE__INIT;
	Grpc__Storage *storages[] = {&shm, &local};
	char *dns[] = {S("nameserver 10.0.0.10")};
	_cleanup_err_ struct err err = {0};
	int r;

	shm.driver = S("ephemeral");
	shm.source = S("shm");
	shm.fstype = S("tmpfs");
	shm.mount_point = S(AGENT_SANDBOX_DIR "/shm");
	local.driver = local.source = local.fstype = S("local");
	local.mount_point = S(AGENT_STORAGE_DIR "/empty");
	request.sandbox_id = S(id);
	if (full) {
		request.hostname = S("the-first");
		request.dns = dns;
		request.n_dns = 1;
		request.sandbox_pidns = true;
		request.storages = storages;
		request.n_storages = 2;
	}
	r = CALL_EMPTY("CreateSandbox", &request, &err);
	if (r < 0)
		print_message("%s\n", err_text(&err));
	return r;
}

static int reset(struct err *err)
{
	Grpc__ResetSandboxRequest request = GRPC__RESET_SANDBOX_REQUEST__INIT;

	return CALL_EMPTY("ResetSandbox", &request, err);
}

static void add_live_volume(const char *name)
{
	Grpc__UpdateLiveVolumeRequest request = GRPC__UPDATE_LIVE_VOLUME_REQUEST__INIT;

	request.name = S(name);
	request.first = request.last = true;
	assert_int_equal(CALL_EMPTY("UpdateLiveVolume", &request, NULL), 0);
}

/* --- what the agent's mount namespace has --- */

static char *seen_by_agent(const char *path)
{
	return xasprintf("/proc/%d/root%s", (int)t.pid, path);
}

static bool is_there(const char *path)
{
	_cleanup_(freep) char *seen = seen_by_agent(path);

	return fs_exists(seen);
}

static void in_its_namespace(bool mounts)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		_cleanup_(freep) char *ns = xasprintf("/proc/%d/ns/mnt", (int)t.pid);
		int r = setns(open(ns, O_RDONLY | O_CLOEXEC), CLONE_NEWNS);

		if (r == 0 && mounts)
			r = fs_mkdir_all(LEFT, 0755) < 0 ||
			    mount("left", LEFT, "tmpfs", 0, NULL) < 0;
		else if (r == 0)
			r = umount(LEFT);
		_exit(r != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- tests --- */

static void queues(struct fixture *f)
{
	add_mount(f, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
}

/* A container that is there still when the sandbox ends, with a user namespace. */
static void leave_one(const char *id)
{
	static Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT;
	static Grpc__LinuxIDMapping *maps[] = {&map};
	_cleanup_err_ struct err err = {0};
	struct fixture f;

	fixture_init(&f, id, ARGS("sleep", "600"));
	map.hostid = 100000;
	map.size = 65536;
	add_namespace(&f, "user", "");
	f.linux_.uidmappings = f.linux_.gidmappings = maps;
	f.linux_.n_uidmappings = f.linux_.n_gidmappings = 1;
	if (create(&f, &err) < 0 || start(id, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void body_leaves_nothing(void)
{
	_cleanup_(freep) char *before = NULL, *first = NULL, *second = NULL;
	_cleanup_err_ struct err err = {0};

	before = run_script("hostname", NULL);
	assert_int_equal(create_sandbox("one", true), 0);
	leave_one("c1");
	add_live_volume("v1");
	first = run_script("hostname; touch /dev/mqueue/q; ls /dev/mqueue", queues);
	assert_string_equal(first, "the-first\nq\n");
	assert_true(is_there(AGENT_SANDBOX_DIR "/resolv.conf"));

	assert_int_equal(reset(&err), 0);
	assert_false(is_there(AGENT_SANDBOX_DIR));
	assert_int_equal(remove_container("c1", NULL), -ENOENT);

	assert_int_equal(create_sandbox("two", false), 0);
	second = run_script("hostname; ls /dev/mqueue", queues);
	assert_string_equal(second, before);
	assert_false(is_there(AGENT_SANDBOX_DIR "/resolv.conf"));
	assert_false(is_there(AGENT_SANDBOX_DIR "/live"));
	assert_false(is_there(AGENT_SANDBOX_DIR "/shm"));
	assert_false(is_there(AGENT_STORAGE_DIR "/empty"));
	/* The same names are free again. */
	leave_one("c1");
	assert_int_equal(reset(&err), 0);
}

static void body_none(void)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(reset(&err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "there is no sandbox"));
}

struct second {
	int r;
	struct err err;
};

static void reset_second(void *arg)
{
	struct second *second = arg;

	second->r = reset(&second->err);
}

static void body_twice(void)
{
	struct second second = {.r = 1};

	assert_int_equal(create_sandbox("one", true), 0);
	leave_one("c1");
	/* It comes while the first waits for the container's end. */
	co_start(t.loop, reset_second, &second);
	assert_int_equal(reset(NULL), 0);
	while (second.r > 0)
		co_sleep(USEC_PER_MSEC);
	assert_int_equal(second.r, -EBUSY);
	assert_string_equal(err_text(&second.err), "sandbox one is being destroyed");
	err_clear(&second.err);
	assert_int_equal(reset(NULL), -ENOENT);
}

static void body_refused(void)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(create_sandbox("one", true), 0);
	in_its_namespace(true);
	assert_int_equal(reset(&err), -EBUSY);
	assert_string_equal(err_text(&err), "reset sandbox one: " LEFT " is mounted still");
	assert_int_equal(create_sandbox("two", true), -EEXIST);
	in_its_namespace(false);
	assert_int_equal(reset(NULL), 0);
	assert_int_equal(create_sandbox("two", true), 0);
	assert_int_equal(reset(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {FIXTURE_TEST(leaves_nothing), FIXTURE_TEST(none),
					   FIXTURE_TEST(twice), FIXTURE_TEST(refused)};

	t.own_run = true;
	return fixture_main(tests, ARRAY_SIZE(tests));
}
