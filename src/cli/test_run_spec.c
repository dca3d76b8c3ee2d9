/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/run_spec.h"
#include "oci/spec_json.h"

static struct oci_spec *make(const struct run_request *request)
{
	_cleanup_(freep) char *json = run_spec_json(request);
	_cleanup_err_ struct err err = {0};
	struct oci_spec *spec = NULL;

	if (oci_spec_parse(json, strlen(json), &spec, &err) < 0)
		fail_msg("%s", err_text(&err));
	if (spec->warnings.n)
		fail_msg("%s", spec->warnings.v[0]);
	return spec;
}

static struct run_request request_of(const char *const *args, size_t n_args, const char *const *env,
				     size_t n_env)
{
	struct run_request r = {.rootfs = "/r", .id = "i", .hostname = "h", .cwd = "/"};

	for (size_t i = 0; i < n_args; i++)
		strv_add(&r.args, args[i]);
	for (size_t i = 0; i < n_env; i++)
		strv_add(&r.env, env[i]);
	return r;
}

static bool has(char *const *v, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i], text) == 0)
			return true;
	return false;
}

/* The text is a specification that our own parser accepts, whatever is in the strings. */
static void test_spec(_unused_ void **state)
{
	static const char *const args[] = {"/bin/sh", "-c", "echo \"a\\b\"\n\xc3\xa9"};
	static const char *const env[] = {"A=\"\t"};
	struct run_request r = request_of(args, 3, env, 1);
	_cleanup_(oci_spec_freep) struct oci_spec *s = NULL;

	r.uid = 1000;
	r.gid = 100;
	r.read_only = true;
	s = make(&r);
	assert_string_equal(s->spec->process->args[2], args[2]);
	assert_int_equal(s->spec->process->user->uid, 1000);
	assert_int_equal(s->spec->process->user->gid, 100);
	assert_true(s->spec->process->nonewprivileges);
	assert_false(s->spec->process->terminal);
	assert_true(s->spec->root->readonly);
	assert_string_equal(s->spec->hostname, "h");
	assert_int_equal(s->spec->process->n_env, 2);
	assert_true(has(s->spec->process->env, 2, env[0]));
	assert_false(has(s->spec->process->capabilities->bounding,
			 s->spec->process->capabilities->n_bounding, "CAP_SYS_ADMIN"));
	assert_true(s->spec->linux->n_maskedpaths > 5);
	strv_fini(&r.args);
	strv_fini(&r.env);
}

static void test_environment(_unused_ void **state)
{
	static const char *const args[] = {"x"}, *const env[] = {"PATH=/p", "B="};
	struct run_request r = request_of(args, 1, env, 2);
	_cleanup_(oci_spec_freep) struct oci_spec *s = NULL;

	setenv("TERM", "vt100", 1);
	r.terminal = true;
	s = make(&r);
	assert_int_equal(s->spec->process->n_env, 3);
	assert_true(has(s->spec->process->env, 3, "PATH=/p"));
	assert_true(has(s->spec->process->env, 3, "TERM=vt100"));
	assert_true(s->spec->process->terminal);
	strv_fini(&r.args);
	strv_fini(&r.env);
}

static void test_user(_unused_ void **state)
{
	static const char *const bad[] = {"",      "root", "1:",         ":1",
					  "1:2:3", "-1",   "4294967296", "1 "};
	uint32_t uid = 7, gid = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(run_parse_user(bad[i], &uid, &gid) < 0);
	assert_int_equal(uid, 7);
	assert_int_equal(run_parse_user("12:34", &uid, &gid), 0);
	assert_int_equal(uid, 12);
	assert_int_equal(gid, 34);
	assert_int_equal(run_parse_user("5", &uid, &gid), 0);
	assert_int_equal(gid, 0);
}

static void test_memory(_unused_ void **state)
{
	static const char *const bad[] = {"", "0", "1K", "x", "-5", "99999999T"};
	uint32_t mib = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(run_parse_memory(bad[i], &mib) < 0);
	assert_int_equal(run_parse_memory("512", &mib), 0);
	assert_int_equal(mib, 512);
	assert_int_equal(run_parse_memory("2G", &mib), 0);
	assert_int_equal(mib, 2048);
	assert_int_equal(run_parse_memory("300MiB", &mib), 0);
	assert_int_equal(mib, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
