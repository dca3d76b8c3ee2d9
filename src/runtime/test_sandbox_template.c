/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes that are restored from a template, the making of one, and what can go wrong with both.
 */
#include "base/path.h"
#include "base/sha256.h"
#include "runtime/sandbox_fixture.h"
#include "runtime/shared_memory.h"
#include "runtime/template_build.h"

#define ROOT "/run/templates"

static void use_templates(void)
{
	assert_int_equal(fs_remove_all(ROOT), 0);
	config->factory.enable_template = true;
	free(config->factory.template_path);
	config->factory.template_path = xstrdup(ROOT);
}

static struct template_wish wish;
static const char *template_wanted_log; /* in what the next build does; NULL: anything */

static void build_template(int wanted)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_err_ struct err err = {0};
	int r;

	template_init(&t);
	r = template_build(loop, config, &wish, &t, &err);
	if (r != wanted)
		fail_msg("%d: %s", r, err_text(&err));
	if (r >= 0)
		assert_int_equal(t.memory_size, 2048ULL << 20);
	if (template_wanted_log)
		assert_non_null(strstr(fake_vm_log(), template_wanted_log));
	template_wanted_log = NULL;
	fake_vm_log_clear();
}

static size_t n_templates(void)
{
	_cleanup_(strv_fini) struct strv keys = {0};

	assert_int_equal(template_list(ROOT, &keys, NULL), 0);
	return keys.n;
}

static char *only_template(const char *file)
{
	_cleanup_(strv_fini) struct strv keys = {0};

	assert_int_equal(template_list(ROOT, &keys, NULL), 0);
	assert_int_equal(keys.n, 1);
	return xasprintf(ROOT "/%s/%s", keys.v[0], file);
}

static bool in_log(const char *text)
{
	return strstr(fake_vm_log(), text) != NULL;
}

/* --- it works --- */

static void restore_body(void)
{
	const char *log;

	use_templates();
	build_template(1);
	/* It is there, and nothing boots for a second one. */
	build_template(0);
	assert_int_equal(n_templates(), 1);
	start();
	log = fake_vm_log();
	/* What no saved VM can have is plugged in when it runs. */
	assert_true(in_log("vm_load"));
	assert_true(strstr(log, "vm_add_device:agent0") < strstr(log, "vm_start"));
	assert_true(strstr(log, "vm_add_device:fs0") > strstr(log, "vm_load"));
	assert_true(strstr(log, "vm_add_device:fs1") > strstr(log, "vm_load"));
	/* Its own random numbers and the time, before anything else happens in it. */
	assert_true(str_has_prefix(fake_agent_log(fake_vm_agent()),
				   "GetGuestDetails ReseedRandomDev SetGuestDateTime "));
	assert_true(strstr(fake_agent_log(fake_vm_agent()), "SetGuestDateTime shm:"));
	run("c1");
	stop();
}

static void restore(_unused_ void **state)
{
	in_coroutine(restore_body);
}

/* Without shared folders one copy of the memory serves all, and nobody can change it. */
static void shared_memory_body(void)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_(freep) char *folder = NULL, *state_file = NULL;
	_cleanup_(closep) int found = -1;
	char text[sizeof(FAKE_VM_MEMORY)];
	struct stat first, second;

	use_templates();
	free(config->hypervisor.shared_fs);
	config->hypervisor.shared_fs = xstrdup("none");
	config->factory.shared_clones = true;
	build_template(1);
	state_file = only_template("state");
	folder = path_dir(state_file);
	template_init(&t);
	assert_int_equal(template_open_at(folder, &t, NULL), 0);
	assert_int_equal(shared_memory_find(t.state_digest, t.memory_size), -ENOENT);
	start();
	assert_true(in_log("vm_set_memory:shared"));
	found = shared_memory_find(t.state_digest, t.memory_size);
	assert_true(found >= 0);
	assert_int_equal(pread(found, text, sizeof(text), 8192), sizeof(text));
	assert_string_equal(text, FAKE_VM_MEMORY);
	assert_int_equal(fstat(found, &first), 0);
	assert_int_equal(fstat(sandbox->memory_fd, &second), 0);
	assert_int_equal(first.st_ino, second.st_ino);
	assert_int_equal(pwrite(sandbox->memory_fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(sandbox->memory_fd, 0), -1);
	/* That of another template, or of another size, is not taken for it. */
	assert_int_equal(shared_memory_find(t.state_digest, t.memory_size / 2), -ENOENT);
	t.state_digest[0] = t.state_digest[0] == 'a' ? 'b' : 'a';
	assert_int_equal(shared_memory_find(t.state_digest, t.memory_size), -ENOENT);
	t.state_digest[0] = '\0';
	/* A state that names another descriptor of ours. */
	sandbox->disk.memory_fd = 0;
	sandbox_save(sandbox);
	assert_int_equal(shared_memory_find(t.state_digest, t.memory_size), -ENOENT);
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	fake_vm_log_clear();
	config->factory.shared_clones = false;
	start();
	assert_true(in_log("vm_set_memory:own"));
	assert_int_equal(sandbox->memory_fd, -1);
	stop();
}

static void shared_memory(_unused_ void **state)
{
	in_coroutine(shared_memory_body);
}

/* A clone that is tried gets cards, which the guest can configure, and nothing of them is left. */
static void trial_network_body(void)
{
	use_templates();
	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("tcfilter");
	fake_vm_plan.fail = "vm_add_device:net0";
	build_template(-EIO);
	fake_vm_plan.fail = "vm_add_device:net1";
	build_template(-EIO);
	fake_vm_plan.fail = NULL;
	assert_int_equal(n_templates(), 0);
	template_wanted_log = "UpdateInterface";
	build_template(1);
}

static void trial_network(_unused_ void **state)
{
	in_coroutine(trial_network_body);
}

/* A time that was long on its way is sent again, but not for ever. */
static void slow_clock_body(void)
{
	unsigned int n;

	use_templates();
	build_template(1);
	fake_vm_plan.slow_method = "SetGuestDateTime";
	start();
	n = count(fake_agent_log(fake_vm_agent()), "SetGuestDateTime");
	assert_true(n > 1 && n < 10);
	stop();
}

static void slow_clock(_unused_ void **state)
{
	in_coroutine(slow_clock_body);
}

static void without_template_body(void)
{
	use_templates();
	start();
	assert_false(in_log("vm_load"));
	assert_true(strstr(fake_vm_log(), "vm_add_device:fs0") < strstr(fake_vm_log(), "vm_start"));
	assert_null(strstr(fake_agent_log(fake_vm_agent()), "ReseedRandomDev"));
	stop();
}

static void without_template(_unused_ void **state)
{
	in_coroutine(without_template_body);
}

/* A sandbox of another shape does not take it; one that says so neither. */
static void other_shape_body(void)
{
	use_templates();
	build_template(1);
	free(config->hypervisor.kernel_params);
	config->hypervisor.kernel_params = xstrdup("different");
	start();
	assert_false(in_log("vm_load"));
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	free(config->hypervisor.kernel_params);
	config->hypervisor.kernel_params = xstrdup("");
	config->factory.enable_template = false;
	fake_vm_log_clear();
	start();
	assert_false(in_log("vm_load"));
	stop();
	assert_int_equal(n_templates(), 1);
}

static void other_shape(_unused_ void **state)
{
	in_coroutine(other_shape_body);
}

/* --- the first one has it made --- */

static const char *wanted_by_next(void)
{
	const char *key, *file;
	static char copy[VM_FINGERPRINT_SIZE];

	start();
	key = sandbox_wanted_template(sandbox, &file);
	snprintf(copy, sizeof(copy), "%s", key ? key : "");
	if (key)
		assert_string_equal(file, config->file);
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	return copy;
}

static void wanted_body(void)
{
	char key[VM_FINGERPRINT_SIZE];

	assert_string_equal(wanted_by_next(), "");
	use_templates();
	snprintf(key, sizeof(key), "%s", wanted_by_next());
	assert_int_equal(strlen(key), VM_FINGERPRINT_SIZE - 1);
	config->factory.auto_build_template = false;
	assert_string_equal(wanted_by_next(), "");
	config->factory.auto_build_template = true;
	assert_int_equal(fs_mkdir_all(ROOT, 0700), 0);
	template_note_failure(ROOT, key);
	assert_string_equal(wanted_by_next(), "");
	/* Of another kind: nothing is made, and that is no failure of it. */
	wish.key = "another";
	build_template(-ESTALE);
	assert_int_equal(n_templates(), 0);
	assert_string_equal(wanted_by_next(), "");
	wish.key = key;
	build_template(1);
	assert_string_equal(wanted_by_next(), "");
	assert_int_equal(n_templates(), 1);
	assert_int_equal(template_remove(ROOT, NULL, NULL), 0);
	assert_string_equal(wanted_by_next(), key);
	wish = (struct template_wish){0};
}

static void wanted(_unused_ void **state)
{
	in_coroutine(wanted_body);
}

/* What it is called is known without a VM that runs, and nothing is left of asking. */
static void key_body(void)
{
	char key[VM_FINGERPRINT_SIZE] = "";
	_cleanup_err_ struct err err = {0};
	_cleanup_(strv_fini) struct strv left = {0};

	assert_int_equal(template_key(loop, config, key, &err), -ENOSYS);
	err_clear(&err);
	use_templates();
	assert_int_equal(template_key(loop, config, key, &err), 0);
	assert_false(in_log("vm_start"));
	assert_int_equal(count(fake_vm_log(), "vm_free"), 1);
	assert_int_equal(persist_list(&left, NULL), 0);
	assert_int_equal(left.n, 0);
	assert_string_equal(wanted_by_next(), key);
	fake_vm_plan.fail = "vm_new";
	assert_true(template_key(loop, config, key, &err) < 0);
	err_clear(&err);
	config->hypervisor.enable_hugepages = true;
	assert_int_equal(template_key(loop, config, key, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err_text(&err), "enable_hugepages"));
	config->hypervisor.enable_hugepages = false;
}

static void key(_unused_ void **state)
{
	in_coroutine(key_body);
}

/* --- a restore that fails --- */

static void expect_boot_instead(void)
{
	start();
	/* It was tried, undone, and booted. */
	assert_int_equal(count(fake_vm_log(), "vm_new"), 2);
	assert_int_equal(count(fake_vm_log(), "vm_free"), 1);
	assert_true(sandbox->boots);
	assert_null(strstr(fake_agent_log(fake_vm_agent()), "ReseedRandomDev"));
	run("c1");
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	fake_vm_log_clear();
}

static void bad_state_body(void)
{
	use_templates();
	build_template(1);
	fake_vm_plan.fail = "vm_load";
	expect_boot_instead();
	assert_int_equal(n_templates(), 0);
	/* It heals. */
	fake_vm_plan.fail = NULL;
	build_template(1);
	start();
	assert_true(in_log("vm_load"));
	stop();
}

static void bad_state(_unused_ void **state)
{
	in_coroutine(bad_state_body);
}

/* The clone dies before its agent has answered. */
static void dies_in_trial_body(void)
{
	use_templates();
	build_template(1);
	fake_vm_plan.fail_once = "vm_add_device:fs0";
	expect_boot_instead();
	assert_int_equal(n_templates(), 0);
}

static void dies_in_trial(_unused_ void **state)
{
	in_coroutine(dies_in_trial_body);
}

/* What goes wrong later, or on the host alone, is not the template's fault. */
static void not_its_fault_body(void)
{
	use_templates();
	build_template(1);
	fake_vm_plan.fail_once = "virtiofsd_start";
	expect_boot_instead();
	assert_int_equal(n_templates(), 1);
}

static void not_its_fault(_unused_ void **state)
{
	in_coroutine(not_its_fault_body);
}

/* What fails both ways is reported once, as it would be without templates. */
static void fails_both_ways_body(void)
{
	_cleanup_err_ struct err err = {0};

	use_templates();
	build_template(1);
	fake_vm_plan.fail = "vm_start";
	make();
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	assert_true(str_has_prefix(err_text(&err),
				   "start the virtual machine: fake failure of vm_start"));
	assert_int_equal(count(fake_vm_log(), "vm_new"), 2);
	assert_int_equal(count(fake_vm_log(), "vm_free"), 2);
	no_leftovers();
}

static void fails_both_ways(_unused_ void **state)
{
	in_coroutine(fails_both_ways_body);
}

static void damage_body(void)
{
	_cleanup_(freep) char *memory = NULL, *state = NULL;

	use_templates();
	build_template(1);
	memory = only_template("memory");
	assert_int_equal(truncate(memory, 4096), 0);
	start();
	/* Nothing was begun with it. */
	assert_int_equal(count(fake_vm_log(), "vm_new"), 1);
	assert_false(in_log("vm_load"));
	stop();
	sandbox_free(TAKE_PTR(sandbox));
	assert_int_equal(n_templates(), 0);
	build_template(1);
	state = only_template("state");
	assert_int_equal(fs_replace(state, "x", 1, 0600, false), 0);
	start();
	assert_false(in_log("vm_load"));
	stop();
	assert_int_equal(n_templates(), 0);
}

static void damage(_unused_ void **state)
{
	in_coroutine(damage_body);
}

static void stop_soon(void *arg)
{
	(void)arg;
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(sandbox_stop(sandbox, NULL), 0);
}

/* A sandbox that is stopped while it is restored does not boot then. */
static void stopped_body(void)
{
	_cleanup_err_ struct err err = {0};

	use_templates();
	build_template(1);
	fake_vm_plan.mood = FAKE_MUTE;
	config->agent.dial_timeout = 60;
	make();
	co_start(loop, stop_soon, NULL);
	assert_true(sandbox_start(sandbox, &spec, &err) < 0);
	assert_int_equal(count(fake_vm_log(), "vm_new"), 1);
	co_sleep(100 * USEC_PER_MSEC);
	no_leftovers();
}

static void stopped(_unused_ void **state)
{
	in_coroutine(stopped_body);
}

/* --- the making of one --- */

static void expect_no_build(const char *text)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_err_ struct err err = {0};
	_cleanup_(strv_fini) struct strv left = {0};

	template_init(&t);
	assert_true(template_build(loop, config, &wish, &t, &err) < 0);
	if (!strstr(err_text(&err), text))
		fail_msg("%s", err_text(&err));
	assert_int_equal(n_templates(), 0);
	fake_vm_log_clear();
	assert_int_equal(persist_list(&left, NULL), 0);
	assert_int_equal(left.n, 0);
}

static void build_failures_body(void)
{
	static const char *const failures[] = {"vm_new",
					       "vm_fingerprint",
					       "vm_set_memory:to_save",
					       "vm_set_memory:own",
					       "vm_start",
					       "vm_save",
					       "vm_load"};

	use_templates();
	config->factory.enable_template = false;
	expect_no_build("enable_template");
	config->factory.enable_template = true;
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		fake_vm_plan.fail = failures[i];
		expect_no_build(failures[i]);
	}
	fake_vm_plan.fail = NULL;
	/* An agent that cannot be a template's. */
	fake_vm_plan.mood = FAKE_FOREIGN;
	expect_no_build("kata-c.template");
	/* A clone in which no process can run. */
	fake_vm_plan.mood = FAKE_FAILING;
	expect_no_build("a clone of the new template fails: warm the guest up: wait for what was "
			"executed: it has ended with 1");
	fake_vm_plan.mood = FAKE_GOOD;
	build_template(1);
}

static void build_failures(_unused_ void **state)
{
	in_coroutine(build_failures_body);
}

SANDBOX_TESTS(TEST(restore), TEST(shared_memory), TEST(trial_network), TEST(slow_clock),
	      TEST(without_template), TEST(other_shape), TEST(wanted), TEST(key), TEST(bad_state),
	      TEST(dies_in_trial), TEST(not_its_fault), TEST(fails_both_ways), TEST(damage),
	      TEST(stopped), TEST(build_failures))
