/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "hypervisor/probe_cache.h"
#include "hypervisor/qemu/accel.h"
#include "loop/co.h"

/* The probe is a fake; it leaves a mark each time it runs, in the file it is told to try. */

static char dir[] = "/tmp/kata-accel-XXXXXX";
static char *device, *run, *cache;

static void mark(const char *path)
{
	FILE *f = fopen(path, "a");

	if (f) {
		fputc('x', f);
		fclose(f);
	}
}

static char *marks;

static int probe_works(_unused_ void *path, _unused_ void *reply)
{
	mark(marks);
	return 0;
}

static int probe_fails(_unused_ void *path, void *reply)
{
	mark(marks);
	snprintf(reply, ACCEL_REASON_MAX, "KVM_CREATE_VM: Device or resource busy");
	return -EBUSY;
}

static int probe_hangs(_unused_ void *path, _unused_ void *reply)
{
	mark(marks);
	for (;;)
		pause();
	return 0;
}

static int probe_crashes(_unused_ void *path, _unused_ void *reply)
{
	mark(marks);
	_exit(1);
	return 0;
}

static int setup(_unused_ void **state)
{
	if (!mkdtemp(dir))
		return -1;
	device = xasprintf("%s/kvm", dir);
	run = xasprintf("%s/run", dir);
	cache = xasprintf("%s/kvm-probe", run);
	probe_cache_dir = NULL;
	marks = xasprintf("%s/marks", dir);
	mark(device);
	return 0;
}

static int teardown(_unused_ void **state)
{
	fs_remove_all(dir);
	free(device);
	free(run);
	free(cache);
	free(marks);
	memcpy(dir, "/tmp/kata-accel-XXXXXX", sizeof(dir));
	return 0;
}

struct question {
	struct accel_env env;
	const char *wanted;
	bool allow;
	int r;
	enum vm_accel accel;
	struct err err;
	struct loop *loop;
};

static void choose(void *arg)
{
	struct question *q = arg;

	q->r = accel_choose(&q->env, q->wanted, q->allow, &q->accel, &q->err);
	loop_quit(q->loop, 0);
}

static void ask(struct question *q)
{
	err_clear(&q->err);
	assert_int_equal(loop_new(&q->loop), 0);
	if (!q->env.kvm_path)
		q->env.kvm_path = device;
	q->env.timeout = 50 * USEC_PER_MSEC;
	co_start(q->loop, choose, q);
	assert_int_equal(loop_run(q->loop), 0);
	loop_free(q->loop);
}

static size_t count_marks(void)
{
	_cleanup_(freep) char *text = NULL;

	return fs_read(marks, 100, &text, NULL) < 0 ? 0 : strlen(text);
}

static void test_kvm_works(_unused_ void **state)
{
	struct question q = {.env.probe = probe_works};

	ask(&q);
	assert_int_equal(q.r, 0);
	assert_int_equal(q.accel, VM_ACCEL_KVM);
	q.allow = true; /* never emulated while KVM works */
	q.wanted = "auto";
	ask(&q);
	assert_int_equal(q.accel, VM_ACCEL_KVM);
	q.wanted = "tcg";
	ask(&q);
	assert_int_equal(q.accel, VM_ACCEL_TCG);
}

static void test_no_device(_unused_ void **state)
{
	struct question q = {.env = {.kvm_path = "/nonexistent/kvm", .probe = probe_works}};

	ask(&q);
	assert_int_equal(q.r, -EOPNOTSUPP);
	assert_string_equal(err_text(&q.err),
			    "KVM does not work (/nonexistent/kvm: No such file or directory): "
			    "enable virtualisation in the firmware (or nested virtualisation) and "
			    "load kvm_intel or kvm_amd; or set allow_emulation = true, which gives "
			    "no isolation guarantee");
	assert_int_equal(count_marks(), 0);
	q.allow = true;
	ask(&q);
	assert_int_equal(q.r, 0);
	assert_int_equal(q.accel, VM_ACCEL_TCG);
	q.wanted = "kvm"; /* emulation is not what was asked for */
	ask(&q);
	assert_int_equal(q.r, -EOPNOTSUPP);
	assert_null(strstr(err_text(&q.err), "allow_emulation"));
	err_clear(&q.err);
}

static void test_probe_fails(_unused_ void **state)
{
	static const struct {
		int (*probe)(void *, void *);
		const char *text;
	} cases[] = {
		{probe_fails, "KVM_CREATE_VM: Device or resource busy"},
		{probe_hangs, "exists, but a test VM does not run"},
		{probe_crashes, "test VM: Input/output error"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct question q = {.env.probe = cases[i].probe};

		ask(&q);
		assert_int_equal(q.r, -EOPNOTSUPP);
		assert_non_null(strstr(err_text(&q.err), cases[i].text));
		q.allow = true;
		ask(&q);
		assert_int_equal(q.accel, VM_ACCEL_TCG);
		err_clear(&q.err);
	}
}

static void test_emulation_needs_permission(_unused_ void **state)
{
	struct question q = {.env.probe = probe_works, .wanted = "tcg"};

	ask(&q);
	assert_int_equal(q.r, -EOPNOTSUPP);
	assert_non_null(strstr(err_text(&q.err), "allow_emulation"));
	q.wanted = "hvf";
	ask(&q);
	assert_int_equal(q.r, -EINVAL);
	err_clear(&q.err);
}

static void test_answer_is_kept(_unused_ void **state)
{
	struct question q = {.env.probe = probe_works};

	probe_cache_dir = run;
	ask(&q);
	q.env.probe = probe_fails;
	ask(&q);
	assert_int_equal(count_marks(), 1);
	assert_int_equal(q.accel, VM_ACCEL_KVM);
	/* The device was made anew: ask again. */
	assert_int_equal(rename(device, marks), 0);
	assert_int_equal(unlink(marks), 0);
	mark(device);
	ask(&q);
	assert_int_equal(count_marks(), 1);
	assert_int_equal(q.r, -EOPNOTSUPP);
	/* A broken cache is no answer. */
	assert_int_equal(fs_replace(cache, "\0ok\n", 4, 0644, false), 0);
	ask(&q);
	assert_int_equal(count_marks(), 2);
	err_clear(&q.err);
}

/* What may be over in a moment is not believed for ever. */
static void test_failure_is_not_kept(_unused_ void **state)
{
	struct question q = {.env.probe = probe_hangs, .allow = true};

	probe_cache_dir = run;
	q.env.hang_kept = 600 * USEC_PER_SEC;
	ask(&q);
	ask(&q);
	assert_int_equal(count_marks(), 1); /* not again so soon: it takes long */
	assert_int_equal(unlink(cache), 0);
	q.env.hang_kept = 1;
	ask(&q);
	q.env.probe = probe_fails;
	ask(&q);
	assert_int_equal(count_marks(), 3);
	assert_int_equal(q.accel, VM_ACCEL_TCG);
	q.env.probe = probe_works;
	ask(&q);
	assert_int_equal(count_marks(), 4);
	assert_int_equal(q.accel, VM_ACCEL_KVM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kvm_works, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_emulation_needs_permission, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answer_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_is_not_kept, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
