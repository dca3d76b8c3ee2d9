/* SPDX-License-Identifier: Apache-2.0 */
/* What dies or hangs under a sandbox that runs. */
#include "runtime/disk.h"
#include "runtime/sandbox_fixture.h"

/* --- death --- */

static void (*killer)(const char *);

static void hang_up(const char *reason)
{
	(void)reason;
	fake_vm_hang_up();
}

static void kill_soon(void *arg)
{
	(void)arg;
	co_sleep(50 * USEC_PER_MSEC);
	killer("it fell over");
}

static void death_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	uint64_t began;
	pid_t pid;

	start();
	run("c1");
	run("c2");
	assert_int_equal(container_exec(sandbox, "c1", "e1", &process, true, &err), 0);
	assert_int_equal(container_start(sandbox, "c1", "e1", &pid, &err), 0);
	co_start(loop, kill_soon, NULL);
	began = clock_now();
	assert_int_equal(container_wait(sandbox, "c1", "e1", &status, &err), 0);
	assert_true(clock_now() - began < test_limit(USEC_PER_SEC));
	assert_int_equal(status.exit_status, 137);
	co_sleep(20 * USEC_PER_MSEC);
	assert_non_null(strstr(heard.data, "exit:c1/=137 "));
	assert_non_null(strstr(heard.data, "exit:c1/e1=137 "));
	assert_non_null(strstr(heard.data, "exit:c2/=137 "));
	/* The last word is the death. */
	assert_true(strstr(heard.data, "died:") > strstr(heard.data, "exit:c1/e1"));
	assert_true(strstr(heard.data, "died:") > strstr(heard.data, "exit:c2/"));
	assert_false(sandbox_running(sandbox));
	assert_int_equal(create("c3", &err), -ESHUTDOWN);
	assert_non_null(
		strstr(err_text(&err), killer == hang_up
					       ? "connection to the agent has ended: end of stream"
					       : "it fell over"));
	assert_int_equal(container_pause(sandbox, "c1", &err), -ESHUTDOWN);
	assert_int_equal(container_wait(sandbox, "c2", "", &status, &err), 0);
	assert_int_equal(container_delete(sandbox, "c1", "e1", &status, &err), 0);
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	stop();
}

static void vm_dies(void **state)
{
	(void)state;
	killer = fake_vm_die;
	in_coroutine(death_body);
}

static void virtiofsd_dies(void **state)
{
	(void)state;
	killer = fake_vm_virtiofsd_die;
	in_coroutine(death_body);
}

static void agent_dies(void **state)
{
	(void)state;
	killer = hang_up;
	in_coroutine(death_body);
}

/* The agent is gone, and the sandbox is not known to be dead yet: `rm -f` must not fail for that.
 */
static void kill_without_agent_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;

	start();
	run("c1");
	fake_vm_hang_up();
	co_sleep(50 * USEC_PER_MSEC);
	assert_true(sandbox_running(sandbox));
	assert_int_equal(container_kill(sandbox, "c1", "", 9, true, &err), 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 137);
	assert_false(sandbox_running(sandbox));
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	stop();
}

static void kill_without_agent(void **state)
{
	(void)state;
	in_coroutine(kill_without_agent_body);
}

/* SIGKILL is final, whatever the guest makes of it (virtiofsd was stopped). */
static void stuck_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	uint64_t began;

	fake_vm_plan.mood = FAKE_STUCK;
	start();
	run("c1");
	run("c2");
	began = clock_now();
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), 0);
	assert_true(clock_now() - began < test_limit(USEC_PER_SEC));
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 137);
	assert_true(clock_now() - began < test_limit(5 * USEC_PER_SEC));
	/* The other one is not concerned. */
	assert_int_equal(container_status(sandbox, "c2", "", &status, &err), 0);
	assert_int_equal(status.state, PROCESS_RUNNING);
	began = clock_now();
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	stop();
	assert_true(clock_now() - began < test_limit(3 * USEC_PER_SEC));
	/* The guest answers, so it ends the other one in its own way. */
	assert_non_null(strstr(fake_vm_log(), "DestroySandbox"));
}

static void stuck(void **state)
{
	(void)state;
	in_coroutine(stuck_body);
}

static void thaw(void *arg)
{
	(void)arg;
	co_sleep(500 * USEC_PER_MSEC);
	fake_agent_become(fake_vm_agent(), FAKE_GOOD);
}

static void plug_disk(const char *id, bool read_only)
{
	_cleanup_err_ struct err err = {0};
	struct container *c = container_find(sandbox, id, &err);
	const struct disk *disk;

	assert_non_null(c);
	if (access("/run/disk", F_OK) < 0)
		assert_int_equal(fs_replace("/run/disk", "x", 1, 0600, false), 0);
	if (disk_plug(c, "/run/disk", read_only, &disk, &err) < 0)
		fail_msg("%s", err_text(&err));
	container_unref(c);
}

static void freeze(bool with_disk)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	uint64_t began;

	start();
	run("c1");
	run("c2");
	if (with_disk)
		plug_disk("c2", false);
	fake_agent_become(fake_vm_agent(), FAKE_FROZEN);
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 137);
	began = clock_now();
	if (with_disk)
		co_start(loop, thaw, NULL);
	stop();
	if (!with_disk)
		assert_true(clock_now() - began < test_limit(500 * USEC_PER_MSEC));
}

/* A guest whose agent does not answer costs no time … */
static void frozen_body(void)
{
	freeze(false);
	assert_null(strstr(fake_vm_log(), "DestroySandbox"));
}

static void frozen(void **state)
{
	(void)state;
	in_coroutine(frozen_body);
}

/* … but the chance to write what it has for a disk. */
static void frozen_with_disk_body(void)
{
	freeze(true);
	assert_non_null(strstr(fake_vm_log(), "DestroySandbox"));
}

static void frozen_with_disk(void **state)
{
	(void)state;
	in_coroutine(frozen_with_disk_body);
}

/* … and one that answers again is no longer stuck. */
static void thawed_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;

	start();
	run("c1");
	fake_agent_become(fake_vm_agent(), FAKE_FROZEN);
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), 0);
	for (int i = 0; i < 100 && !sandbox->stuck; i++)
		co_sleep(50 * USEC_PER_MSEC);
	assert_true(sandbox->stuck);
	fake_agent_become(fake_vm_agent(), FAKE_GOOD);
	assert_int_equal(container_delete(sandbox, "c1", "", &status, &err), 0);
	assert_false(sandbox->stuck);
	stop();
	assert_non_null(strstr(fake_vm_log(), "DestroySandbox"));
}

static void thawed(void **state)
{
	(void)state;
	in_coroutine(thawed_body);
}

/* A SIGKILL that was not sent ends nothing, neither now nor when it would have been overdue. */
static void not_killed_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;

	start();
	run("c1");
	fake_agent_fail(fake_vm_agent(), "SignalProcess", -ENOENT, "no");
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), -ENOENT);
	co_sleep(3500 * USEC_PER_MSEC);
	assert_int_equal(container_status(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.state, PROCESS_RUNNING);
	fake_agent_fail(fake_vm_agent(), "x", 0, "");
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 137);
	stop();
}

static void not_killed(void **state)
{
	(void)state;
	in_coroutine(not_killed_body);
}

static void kill_c1(void *arg)
{
	_cleanup_err_ struct err err = {0};

	(void)arg;
	co_sleep(50 * USEC_PER_MSEC);
	assert_int_equal(container_kill(sandbox, "c1", "", 9, false, &err), 0);
	/* The start is over by now, the process is not. */
	co_sleep(200 * USEC_PER_MSEC);
	fake_agent_exit(fake_vm_agent(), "c1", 42);
}

/* SIGKILL while the start is under way: its end is no end of the process. */
static void killed_in_start_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct process_status status;
	pid_t pid;

	fake_vm_plan.mood = FAKE_STUCK;
	start();
	assert_int_equal(create("c1", &err), 0);
	fake_agent_delay(fake_vm_agent(), "StartContainer", 100 * USEC_PER_MSEC);
	co_start(loop, kill_c1, NULL);
	assert_int_equal(container_start(sandbox, "c1", "", &pid, &err), 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, &err), 0);
	assert_int_equal(status.exit_status, 42);
	stop();
}

static void killed_in_start(void **state)
{
	(void)state;
	in_coroutine(killed_in_start_body);
}

/* A disk that the guest does not let go of is not forgotten. */
static void kept_disk_body(void)
{
	_cleanup_err_ struct err err = {0};

	start();
	for (int i = 1; i <= 3; i++) {
		char id[8];

		snprintf(id, sizeof(id), "c%d", i);
		run(id);
		fake_agent_exit(fake_vm_agent(), id, 0);
		assert_int_equal(container_wait(sandbox, id, "", &(struct process_status){0}, &err),
				 0);
	}
	plug_disk("c1", false);
	fake_vm_plan.fail = "vm_remove_device:disk0";
	assert_int_equal(container_delete(sandbox, "c1", "", NULL, &err), 0);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device:disk0"), 1);
	assert_int_equal(container_delete(sandbox, "c2", "", NULL, &err), 0);
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device:disk0"), 2);
	assert_int_equal(sandbox->n_disks, 1);
	fake_vm_plan.fail = NULL;
	run("c1");
	fake_agent_exit(fake_vm_agent(), "c1", 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &(struct process_status){0}, &err), 0);
	assert_int_equal(container_delete(sandbox, "c1", "", NULL, &err), 0);
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device:disk0"), 3);
	assert_int_equal(sandbox->n_disks, 0);
	/* It is gone: that is all. */
	assert_int_equal(container_delete(sandbox, "c3", "", NULL, &err), 0);
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device:disk0"), 3);
	stop();
}

static void kept_disk(void **state)
{
	(void)state;
	in_coroutine(kept_disk_body);
}

/* What two containers write to is one disk, which stays until both are gone. */
static void shared_disk_body(void)
{
	_cleanup_err_ struct err err = {0};
	static const char *const ids[] = {"c1", "c2"};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		run(ids[i]);
		plug_disk(ids[i], false);
		fake_agent_exit(fake_vm_agent(), ids[i], 0);
		assert_int_equal(
			container_wait(sandbox, ids[i], "", &(struct process_status){0}, &err), 0);
	}
	assert_int_equal(sandbox->n_disks, 1);
	plug_disk("c2", true);
	assert_int_equal(sandbox->n_disks, 2);
	assert_int_equal(container_delete(sandbox, "c1", "", NULL, &err), 0);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device"), 0);
	assert_int_equal(container_delete(sandbox, "c2", "", NULL, &err), 0);
	assert_int_equal(count(fake_vm_log(), "vm_add_device:disk"), 2);
	assert_int_equal(count(fake_vm_log(), "vm_remove_device:disk"), 2);
	assert_int_equal(sandbox->n_disks, 0);
	stop();
}

static void shared_disk(void **state)
{
	(void)state;
	in_coroutine(shared_disk_body);
}

SANDBOX_TESTS(TEST(vm_dies), TEST(virtiofsd_dies), TEST(agent_dies), TEST(kill_without_agent),
	      TEST(stuck), TEST(frozen), TEST(frozen_with_disk), TEST(killed_in_start),
	      TEST(kept_disk), TEST(shared_disk), TEST(thawed), TEST(not_killed))
