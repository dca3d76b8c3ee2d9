/* SPDX-License-Identifier: Apache-2.0 */
/* A sandbox that is up before its pod is known, and becomes the pod's. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fakes/fake_agent.h"
#include "runtime/boot.h"
#include "runtime/sandbox_fixture.h"

#define SPARE "spare-1"

static const char *const roots[] = {PERSIST_ROOT, PERSIST_VM_ROOT, SHARE_ROOT};

static bool has(const char *root, const char *id)
{
	_cleanup_(freep) char *path = xasprintf("%s/%s", root, id);

	return fs_exists(path);
}

/* All folders, or none. */
static void expect_folders(const char *id, bool there)
{
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
		if (has(roots[i], id) != there)
			fail_msg("%s in %s: %d", id, roots[i], !there);
}

static struct persist state_of(const char *id)
{
	_cleanup_err_ struct err err = {0};
	struct persist p = {0};

	if (persist_load(id, &p, &err) < 0)
		fail_msg("%s", err_text(&err));
	return p;
}

static void expect_state(const char *id, const char *state, const char *vm_name)
{
	struct persist p = state_of(id);
	const struct persist_process *shim = persist_holder(&p);

	assert_string_equal(p.state, state);
	assert_string_equal(p.vm_name, vm_name);
	assert_non_null(shim);
	assert_int_equal(shim->pid, getpid());
	persist_fini(&p);
}

static void prepare(void)
{
	_cleanup_err_ struct err err = {0};

	if (sandbox_new(loop, config, SPARE, NULL, NULL, &listener, &sandbox, &err) < 0 ||
	    sandbox_prepare(sandbox, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static int adopt_as(const char *id, const char *netns, struct err *err)
{
	return sandbox_adopt(sandbox, config, &spec, id, "/run/bundle", netns, &listener, err);
}

static void adopt(void)
{
	_cleanup_err_ struct err err = {0};

	if (adopt_as("s1", NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void start_adopted(void)
{
	_cleanup_err_ struct err err = {0};

	adopt();
	if (sandbox_start(sandbox, &spec, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(sandbox_running(sandbox));
}

static void drop(void)
{
	assert_int_equal(sandbox_stop(sandbox, NULL), 0);
	sandbox_free(TAKE_PTR(sandbox));
	expect_folders(SPARE, false);
}

/* After all that went wrong. */
static void expect_ordinary_start(void)
{
	fake_vm_plan.fail = NULL;
	expect_folders(SPARE, false);
	no_leftovers();
	start();
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	fake_vm_log_clear();
}

/* --- it works --- */

static void life_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct sandbox_status status;
	const char *log;

	prepare();
	sandbox_status(sandbox, &status);
	assert_int_equal(status.state, SANDBOX_SPARE);
	expect_folders(SPARE, true);
	expect_state(SPARE, "spare", "");
	/* Nobody's containers yet. */
	assert_int_equal(create("c1", &err), -EAGAIN);
	err_clear(&err);
	spec.hostname = (char *)"pod-name";
	log = fake_agent_log(fake_vm_agent());
	assert_null(strstr(log, "ReseedRandomDev"));

	start_adopted();
	spec.hostname = NULL;
	expect_folders(SPARE, false);
	expect_folders("s1", true);
	/* QEMU's own name is still the old one, by which alone it is found after a crash. */
	expect_state("s1", "running", SPARE);
	assert_true(str_has_prefix(strstr(fake_agent_log(fake_vm_agent()), "ResetSandbox"),
				   "ResetSandbox ReseedRandomDev SetGuestDateTime shm:"));
	assert_int_equal(count(fake_agent_log(fake_vm_agent()), "CreateSandbox"), 2);
	assert_string_equal(fake_agent_sandbox(fake_vm_agent()), "s1 pod-name");
	/* The root file system is found where the guest looks for it. */
	run("c1");
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/mounts/c1/rootfs"));
	assert_int_equal(count(fake_vm_log(), "vm_new"), 1);
	stop();
	expect_folders(SPARE, false);
	assert_int_equal(count(fake_vm_log(), "virtiofsd_stop"), 2);
}

static void life(_unused_ void **state)
{
	in_coroutine(life_body);
}

/* The owner and the namespace are the pod's, and its listener hears the news. */
static void belongings_body(void)
{
	struct persist p;

	prepare();
	start_adopted();
	p = state_of("s1");
	assert_string_equal(p.owner, "/run/bundle");
	assert_string_equal(p.netns, "");
	persist_fini(&p);
	run("c1");
	fake_agent_exit(fake_vm_agent(), "c1", 3);
	for (int i = 0; i < 100 && !heard.len; i++)
		co_sleep(10 * USEC_PER_MSEC);
	assert_string_equal(heard.data, "exit:c1/=3 ");
	stop();
}

static void belongings(_unused_ void **state)
{
	in_coroutine(belongings_body);
}

/* During the adoption it is not ready for anybody. */
static void names_body(void)
{
	struct persist p;

	prepare();
	adopt();
	assert_int_equal(boot_take_name(sandbox, NULL), 0);
	p = state_of("s1");
	assert_string_equal(p.state, "booting");
	persist_fini(&p);
	expect_folders(SPARE, false);
	boot_undo(sandbox);
}

static void names(_unused_ void **state)
{
	in_coroutine(names_body);
}

static void set_score(pid_t pid, const char *score)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/oom_score_adj", pid);

	assert_int_equal(fs_write(path, score), 0);
}

static void expect_score(pid_t pid, const char *score)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/oom_score_adj", pid), *text = NULL;

	assert_int_equal(fs_read(path, 16, &text, NULL), 0);
	assert_string_equal(str_chomp(text), score);
}

/* Its processes count as the pod's from then on; the next spare, which it has started, does not. */
static void processes_body(void)
{
	_cleanup_(freep) char *own = NULL;
	struct sandbox_status status;
	pid_t other = fork();
	bool may_raise;

	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(3, ~0U, 0);
		pause();
		_exit(0);
	}
	assert_int_equal(fs_read("/proc/self/oom_score_adj", 16, &own, NULL), 0);
	prepare();
	sandbox_status(sandbox, &status);
	assert_true(status.vm_pid > 0);
	set_score(status.vm_pid, "1000");
	set_score(other, "1000");
	may_raise = setpriority(PRIO_PROCESS, (id_t)status.vm_pid, 19) == 0 &&
		    setpriority(PRIO_PROCESS, (id_t)status.vm_pid, 18) == 0;
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)other, 19), 0);
	start_adopted();
	expect_score(status.vm_pid, str_chomp(own));
	expect_score(other, "1000");
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)other), 19);
	if (may_raise)
		assert_int_equal(getpriority(PRIO_PROCESS, (id_t)status.vm_pid),
				 getpriority(PRIO_PROCESS, 0));
	stop();
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static void processes(_unused_ void **state)
{
	in_coroutine(processes_body);
}

static void bind_mounts_body(void)
{
	assert_int_equal(fs_mkdir_all("/run/own", 0755), 0);
	assert_int_equal(fs_replace("/run/own/file", "x", 1, 0644, false), 0);
	strv_add(&config->runtime.sandbox_bind_mounts, "/run/own:ro");
	prepare();
	assert_false(fs_exists(SHARE_ROOT "/" SPARE "/mounts/sandbox-mounts"));
	start_adopted();
	assert_true(fs_exists(SHARE_ROOT "/s1/mounts/sandbox-mounts/own/file"));
	assert_true(fs_exists(SHARE_ROOT "/s1/shared/sandbox-mounts/own/file"));
	stop();
	assert_true(fs_exists("/run/own/file"));
}

static void bind_mounts(_unused_ void **state)
{
	in_coroutine(bind_mounts_body);
}

static void unshared_body(void)
{
	free(config->hypervisor.shared_fs);
	config->hypervisor.shared_fs = xstrdup("none");
	prepare();
	start_adopted();
	assert_false(has(SHARE_ROOT, "s1"));
	stop();
}

static void unshared(_unused_ void **state)
{
	in_coroutine(unshared_body);
}

/* One that nobody has taken leaves nothing. */
static void unused_body(void)
{
	prepare();
	drop();
	no_leftovers();
	assert_int_equal(count(fake_vm_log(), "vm_free"), 1);
}

static void unused(_unused_ void **state)
{
	in_coroutine(unused_body);
}

/* --- it is none for this pod --- */

static void expect_stale(struct config *other, const char *text)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(
		sandbox_adopt(sandbox, other, &spec, "s1", "/run/bundle", NULL, &listener, &err),
		-ESTALE);
	if (!strstr(err_text(&err), text))
		fail_msg("%s", err_text(&err));
	/* It is what it was, and somebody else's perhaps. */
	assert_string_equal(sandbox->id, SPARE);
	assert_null(sandbox->former);
	no_leftovers();
}

static void stale_body(void)
{
	_cleanup_(config_freep) struct config *other = config_copy(config);
	_cleanup_err_ struct err err = {0};

	prepare();
	other->hypervisor.default_memory = 4096;
	expect_stale(other, "another configuration");
	other->hypervisor.default_memory = config->hypervisor.default_memory;
	persist_set(&other->file, "/etc/other.toml");
	expect_stale(other, "another configuration");
	fake_vm_plan.replaced = true;
	expect_stale(config, "were replaced");
	fake_vm_plan.replaced = false;
	assert_int_equal(adopt_as("../s1", NULL, &err), -EINVAL);
	assert_int_equal(adopt_as("", NULL, NULL), -EINVAL);
	expect_folders(SPARE, true);
	/* The next one may take it. */
	start_adopted();
	stop();
}

static void stale(_unused_ void **state)
{
	in_coroutine(stale_body);
}

static void other_size_body(void)
{
	Grpc__Spec__AnnotationsEntry memory = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT;
	Grpc__Spec__AnnotationsEntry *annotations[] = {&memory};
	_cleanup_err_ struct err err = {0};

	config->runtime.static_sandbox_resource_mgmt = true;
	prepare();
	memory.key = (char *)"io.kubernetes.cri.sandbox-memory";
	memory.value = (char *)"536870912";
	spec.annotations = annotations;
	spec.n_annotations = 1;
	expect_stale(config, "another size");
	memory.value = (char *)"-1";
	assert_int_equal(adopt_as("s1", NULL, &err), -EINVAL);
	memory.value = (char *)"0";
	start_adopted();
	stop();
	spec.n_annotations = 0;
}

static void other_size(_unused_ void **state)
{
	in_coroutine(other_size_body);
}

/* Whoever waits with it is told, and it is of no use any more. */
static void dies_while_it_waits_body(void)
{
	prepare();
	fake_vm_die("the kernel killed it");
	for (int i = 0; i < 100 && !heard.len; i++)
		co_sleep(10 * USEC_PER_MSEC);
	assert_string_equal(heard.data, "died:the kernel killed it ");
	expect_stale(config, "it has died: the kernel killed it");
	drop();
	expect_ordinary_start();
}

static void dies_while_it_waits(_unused_ void **state)
{
	in_coroutine(dies_while_it_waits_body);
}

static void no_spare_body(void)
{
	static const struct {
		const char *fail, *text;
	} cases[] = {
		{"virtiofsd_start", "start virtiofsd: "},
		{"vm_start", "start the virtual machine: "},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};

		fake_vm_plan.fail = cases[i].fail;
		assert_int_equal(
			sandbox_new(loop, config, SPARE, NULL, NULL, &listener, &sandbox, &err), 0);
		assert_int_equal(sandbox_prepare(sandbox, &err), -EIO);
		assert_true(str_has_prefix(err_text(&err), cases[i].text));
		assert_int_equal(adopt_as("s1", NULL, NULL), -ESTALE);
		sandbox_free(TAKE_PTR(sandbox));
		expect_ordinary_start();
	}
	/* A foreign agent cannot end a sandbox and go on. */
	fake_vm_plan.mood = FAKE_FOREIGN;
	assert_int_equal(sandbox_new(loop, config, SPARE, NULL, NULL, &listener, &sandbox, NULL),
			 0);
	assert_int_equal(sandbox_prepare(sandbox, NULL), -ENOSYS);
	sandbox_free(TAKE_PTR(sandbox));
	expect_ordinary_start();
}

static void no_spare(_unused_ void **state)
{
	in_coroutine(no_spare_body);
}

/* --- the adoption fails --- */

static void expect_failure(const char *netns, const char *text)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(adopt_as("s1", netns, &err), 0);
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	if (!str_has_prefix(err_text(&err), text))
		fail_msg("\"%s\" is not \"%s\"", err_text(&err), text);
	assert_string_equal(sandbox_state_name(sandbox->state), "stopped");
	/* Nothing is booted in its place: its owner does that. */
	assert_int_equal(count(fake_vm_log(), "vm_new"), 1);
	assert_int_equal(count(fake_vm_log(), "vm_free"), 1);
	sandbox_stop(sandbox, NULL);
	sandbox_free(TAKE_PTR(sandbox));
	assert_int_equal(heard.len, 0);
}

static void failures_body(void)
{
	static const struct {
		const char *method, *text;
	} calls[] = {
		{"ReseedRandomDev", "make the clone its own: no"},
		{"SetGuestDateTime", "make the clone its own: no"},
		{"CreateSandbox", "create the sandbox in the guest: no"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		prepare();
		fake_agent_fail(fake_vm_agent(), calls[i].method, -EBUSY, "no");
		expect_failure(NULL, calls[i].text);
		expect_ordinary_start();
	}
	prepare();
	fake_vm_plan.fail = "vm_move";
	expect_failure(NULL, "take the pod's name: fake failure of vm_move");
	expect_ordinary_start();
}

static void failures(_unused_ void **state)
{
	in_coroutine(failures_body);
}

/* What the host does not let happen. */
static void host_failures_body(void)
{
	prepare();
	assert_int_equal(fs_mkdir_all(PERSIST_VM_ROOT "/s1", 0700), 0);
	expect_failure(NULL, "take the pod's name: rename " PERSIST_VM_ROOT "/" SPARE);
	assert_int_equal(rmdir(PERSIST_VM_ROOT "/s1"), 0);
	expect_ordinary_start();

	prepare();
	assert_int_equal(fs_mkdir_all(SHARE_ROOT "/s1", 0700), 0);
	expect_failure(NULL, "take the pod's name: rename " SHARE_ROOT "/" SPARE);
	assert_int_equal(rmdir(SHARE_ROOT "/s1"), 0);
	expect_ordinary_start();

	strv_add(&config->runtime.sandbox_bind_mounts, "/run/none/such");
	prepare();
	expect_failure(NULL, "mount what every sandbox sees: ");
	strv_fini(&config->runtime.sandbox_bind_mounts);
	expect_ordinary_start();

	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("tcfilter");
	prepare();
	expect_failure("/run/none/such", "join the pod's network: ");
	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("none");
	expect_ordinary_start();
}

static void host_failures(_unused_ void **state)
{
	in_coroutine(host_failures_body);
}

static void die_soon(_unused_ void *arg)
{
	co_sleep(50 * USEC_PER_MSEC);
	fake_vm_die("it was killed");
}

static void dies_in_adoption_body(void)
{
	prepare();
	fake_agent_delay(fake_vm_agent(), "CreateSandbox", 500 * USEC_PER_MSEC);
	co_start(loop, die_soon, NULL);
	expect_failure(NULL, "create the sandbox in the guest: ");
	expect_ordinary_start();
}

static void dies_in_adoption(_unused_ void **state)
{
	in_coroutine(dies_in_adoption_body);
}

static void stop_soon(_unused_ void *arg)
{
	co_sleep(50 * USEC_PER_MSEC);
	sandbox_stop(sandbox, NULL);
}

static void stopped_in_adoption_body(void)
{
	_cleanup_err_ struct err err = {0};

	prepare();
	fake_agent_delay(fake_vm_agent(), "CreateSandbox", 500 * USEC_PER_MSEC);
	adopt();
	co_start(loop, stop_soon, NULL);
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	assert_non_null(strstr(err_text(&err), "stopped while it booted"));
	co_sleep(100 * USEC_PER_MSEC);
	expect_folders(SPARE, false);
	no_leftovers();
}

static void stopped_in_adoption(_unused_ void **state)
{
	in_coroutine(stopped_in_adoption_body);
}

/* --- who else has the name --- */

/* A shim of that pod was killed, and nobody has cleaned up. */
static void leftover_body(void)
{
	struct persist left;

	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1", 0700), 0);
	assert_int_equal(fs_mkdir_all(PERSIST_VM_ROOT "/s1", 0700), 0);
	assert_int_equal(fs_mkdir_all(SHARE_ROOT "/s1/mounts", 0700), 0);
	assert_int_equal(fs_replace(PERSIST_VM_ROOT "/s1/old", "", 0, 0600, false), 0);
	persist_init(&left, "s1");
	persist_set(&left.state, "running");
	persist_set(&left.vm_name, "spare-of-old");
	assert_int_equal(persist_save(&left, NULL), 0);
	persist_fini(&left);
	prepare();
	start_adopted();
	assert_false(fs_exists(PERSIST_VM_ROOT "/s1/old"));
	expect_state("s1", "running", SPARE);
	stop();
	expect_folders(SPARE, false);
}

static void leftover(_unused_ void **state)
{
	in_coroutine(leftover_body);
}

/* One that lives keeps all that is its own. */
static void living_body(void)
{
	_cleanup_(freep) char *before = NULL, *after = NULL;
	_cleanup_err_ struct err err = {0};
	struct persist other;

	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1", 0700), 0);
	assert_int_equal(fs_mkdir_all(PERSIST_VM_ROOT "/s1", 0700), 0);
	persist_init(&other, "s1");
	persist_set(&other.owner, "/run/other");
	persist_add_process(&other, "shim", getpid());
	assert_int_equal(persist_save(&other, NULL), 0);
	persist_fini(&other);
	assert_int_equal(fs_read(PERSIST_ROOT "/s1/state.json", 1 << 16, &before, NULL), 0);
	prepare();
	adopt();
	assert_int_equal(sandbox_start(sandbox, &spec, &err), -EEXIST);
	assert_non_null(strstr(err_text(&err), "a sandbox s1 runs already"));
	drop();
	assert_int_equal(fs_read(PERSIST_ROOT "/s1/state.json", 1 << 16, &after, NULL), 0);
	assert_string_equal(before, after);
	assert_int_equal(rmdir(PERSIST_VM_ROOT "/s1"), 0);
	assert_int_equal(fs_remove_all(PERSIST_ROOT "/s1"), 0);
}

static void living(_unused_ void **state)
{
	in_coroutine(living_body);
}

/* --- after a crash --- */

/* How far it has got. */
enum moment { PREPARED, CLAIMED, VM_MOVED, SHARE_MOVED, NAMED, STARTED, _MOMENT_MAX };

static enum moment moment;

static void claim_name(void)
{
	struct persist left;

	persist_add_process(&sandbox->disk, "shim", getpid());
	assert_int_equal(persist_claim(&sandbox->disk, &left, NULL), 0);
}

static void crash_body(void)
{
	prepare();
	if (moment == STARTED) {
		start_adopted();
		return;
	}
	if (moment > PREPARED)
		adopt();
	if (moment == NAMED) {
		assert_int_equal(boot_take_name(sandbox, NULL), 0);
		return;
	}
	if (moment >= CLAIMED)
		claim_name();
	if (moment >= VM_MOVED)
		assert_int_equal(vm_move(sandbox->vm, PERSIST_VM_ROOT "/s1", NULL), 0);
	if (moment >= SHARE_MOVED)
		assert_int_equal(share_move(&sandbox->share, "s1", NULL), 0);
}

static void clean_up(const char *id, const char *owner)
{
	_cleanup_err_ struct err err = {0};

	if (sandbox_cleanup(id, owner, getpid(), &err) < 0)
		fail_msg("%s", err_text(&err));
}

/* `delete` of the pod, and whoever sweeps; or the other way round. */
static void crashes(void **state)
{
	for (int i = 0; i < _MOMENT_MAX * 2; i++) {
		moment = (enum moment)(i / 2);
		in_coroutine(crash_body);
		if (i % 2)
			clean_up("s1", "/run/bundle");
		if (moment < NAMED)
			clean_up(SPARE, NULL);
		if (!(i % 2))
			clean_up("s1", "/run/bundle");
		expect_folders(SPARE, false);
		no_leftovers();
		/* By its own name and no other one is QEMU found. */
		assert_non_null(strstr(fake_vm_log(), "vm_cleanup:" SPARE));
		tear_down(state);
		set_up(state);
	}
}

SANDBOX_TESTS(TEST(life), TEST(belongings), TEST(names), TEST(processes), TEST(bind_mounts),
	      TEST(unshared), TEST(unused), TEST(stale), TEST(other_size),
	      TEST(dies_while_it_waits), TEST(no_spare), TEST(failures), TEST(host_failures),
	      TEST(dies_in_adoption), TEST(stopped_in_adoption), TEST(leftover), TEST(living),
	      TEST(crashes))
