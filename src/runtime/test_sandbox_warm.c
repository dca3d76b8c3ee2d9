/* SPDX-License-Identifier: Apache-2.0 */
/* The warm-up of a guest in which no pod runs yet. */
#include "base/path.h"
#include "fakes/fake_agent.h"
#include "runtime/boot.h"
#include "runtime/sandbox_fixture.h"

#define FOLDER     SHARE_ROOT "/s1/rootfs/mounts/.warm-up"
#define GUEST_ROOT "/run/kata-containers/sandbox/warm-up"

static Grpc__CreateContainerRequest *last_container(void)
{
	const struct buf *last = fake_agent_last(fake_vm_agent());
	Grpc__CreateContainerRequest *r = grpc__create_container_request__unpack(
		NULL, last->len, (const uint8_t *)last->data);

	assert_non_null(r);
	return r;
}

static void start_trial(void)
{
	_cleanup_err_ struct err err = {0};

	make();
	if (sandbox_prepare(sandbox, &err) < 0)
		fail_msg("%s", err_text(&err));
}

/* --- it works --- */

static void order_body(void)
{
	static const char wanted[] = "CreateSandbox CreateContainer ExecProcess ReadStdout "
				     "WaitProcess StartContainer ReadStdout WaitProcess "
				     "RemoveContainer ResetSandbox";
	Grpc__CreateContainerRequest *r;

	start_trial();
	assert_true(str_has_suffix(fake_agent_log(fake_vm_agent()), wanted));
	assert_int_equal(count(fake_agent_log(fake_vm_agent()), "CreateSandbox"), 1);
	assert_false(fs_exists(FOLDER));
	r = last_container();
	assert_string_equal(r->oci->root->path, "/run/kata-containers/shared/rootfs/.warm-up");
	assert_string_equal(r->oci->process->args[1], "--version");
	assert_int_equal(r->n_storages, 1);
	assert_string_equal(r->storages[0]->source, "/proc/self/exe");
	grpc__create_container_request__free_unpacked(r, NULL);
	/* There is no sandbox to end. */
	fake_agent_fail(fake_vm_agent(), "DestroySandbox", -ENOENT, "there is no sandbox");
	stop();
	assert_false(sandbox->stuck);
}

static void order(_unused_ void **state)
{
	in_coroutine(order_body);
}

static int result;

static void warm_up(void *arg)
{
	result = boot_warm_up(sandbox, arg);
}

/* What the guest finds in the root, which it cannot change. */
static void mount_points_body(void)
{
	static const char *const names[] = {"proc", "dev", "sys", "agent"};
	_cleanup_err_ struct err err = {0};

	start();
	fake_agent_delay(fake_vm_agent(), "StartContainer", 200 * USEC_PER_MSEC);
	result = 1;
	co_start(loop, warm_up, &err);
	while (!strstr(fake_agent_log(fake_vm_agent()), "StartContainer"))
		co_sleep(USEC_PER_MSEC);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = path_join(FOLDER, names[i]);
		struct stat st;

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(S_ISDIR(st.st_mode), !streq(names[i], "agent"));
	}
	while (result > 0)
		co_sleep(USEC_PER_MSEC);
	assert_int_equal(result, 0);
	assert_false(fs_exists(FOLDER));
	stop();
}

static void mount_points(_unused_ void **state)
{
	in_coroutine(mount_points_body);
}

static void nothing_shared_body(void)
{
	Grpc__CreateContainerRequest *r;

	free(config->hypervisor.shared_fs);
	config->hypervisor.shared_fs = xstrdup("none");
	start_trial();
	r = last_container();
	assert_string_equal(r->oci->root->path, GUEST_ROOT);
	assert_int_equal(r->n_storages, 2);
	assert_string_equal(r->storages[1]->driver, "local");
	assert_string_equal(r->storages[1]->mount_point, GUEST_ROOT);
	grpc__create_container_request__free_unpacked(r, NULL);
	stop();
}

static void nothing_shared(_unused_ void **state)
{
	in_coroutine(nothing_shared_body);
}

/* --- it does not --- */

static void expect_failure(int code, const char *text)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(boot_warm_up(sandbox, &err), code);
	assert_string_equal(err_text(&err), text);
	assert_false(fs_exists(FOLDER));
}

/* Every call that the agent refuses is named. */
static void refusals_body(void)
{
	static const struct {
		const char *method, *text;
	} cases[] = {
		{"CreateSandbox", "create a sandbox: no"},
		{"CreateContainer", "create a container: no"},
		{"ExecProcess", "execute a process: no"},
		{"ReadStdout", "wait for what was executed: no"},
		{"WaitProcess", "wait for what was executed: no"},
		{"StartContainer", "start the container: no"},
		{"RemoveContainer", "remove the container: no"},
		{"ResetSandbox", "end the sandbox: no"},
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_agent_fail(fake_vm_agent(), cases[i].method, -EBUSY, "no");
		expect_failure(-EBUSY, cases[i].text);
	}
	stop();
}

static void refusals(_unused_ void **state)
{
	in_coroutine(refusals_body);
}

static void bad_end_body(void)
{
	start();
	fake_agent_become(fake_vm_agent(), FAKE_FAILING);
	expect_failure(-EIO, "wait for what was executed: it has ended with 1");
	stop();
}

static void bad_end(_unused_ void **state)
{
	in_coroutine(bad_end_body);
}

static void no_end_body(void)
{
	_cleanup_err_ struct err err = {0};

	start();
	fake_agent_become(fake_vm_agent(), FAKE_STUCK);
	sandbox->patience = 100 * USEC_PER_MSEC;
	assert_int_equal(boot_warm_up(sandbox, &err), -ETIMEDOUT);
	assert_true(str_has_prefix(err_text(&err), "wait for what was executed: "));
	assert_false(fs_exists(FOLDER));
	stop();
}

static void no_end(_unused_ void **state)
{
	in_coroutine(no_end_body);
}

static void other_agent_body(void)
{
	fake_vm_plan.mood = FAKE_FOREIGN;
	start();
	expect_failure(-ENOSYS, "the agent has no feature kata-c.spare");
	stop();
}

static void other_agent(_unused_ void **state)
{
	in_coroutine(other_agent_body);
}

SANDBOX_TESTS(TEST(order), TEST(mount_points), TEST(nothing_shared), TEST(refusals), TEST(bad_end),
	      TEST(no_end), TEST(other_agent))
