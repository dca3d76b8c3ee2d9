/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "shim/options.h"

#define PARSE(o, err, ...)                                              \
	({                                                              \
		char *const argv[] = {(char *)"shim", __VA_ARGS__};     \
		options_parse((int)ARRAY_SIZE(argv), argv, (o), (err)); \
	})

/* Word for word what containerd 1.6, 2.2 and CRI-O pass. */
static void test_callers(_unused_ void **state)
{
	struct options o;

	assert_int_equal(PARSE(&o, NULL, (char *)"-namespace", (char *)"k8s.io", (char *)"-address",
			       (char *)"/run/containerd/containerd.sock", (char *)"-publish-binary",
			       (char *)"/usr/bin/containerd", (char *)"-id", (char *)"abc",
			       (char *)"-debug", (char *)"start"),
			 0);
	assert_string_equal(o.namespace, "k8s.io");
	assert_string_equal(o.address, "/run/containerd/containerd.sock");
	assert_string_equal(o.publish_binary, "/usr/bin/containerd");
	assert_string_equal(o.id, "abc");
	assert_true(o.debug);
	assert_int_equal(o.action, ACTION_START);

	assert_int_equal(PARSE(&o, NULL, (char *)"--namespace=default", (char *)"-address",
			       (char *)"", (char *)"--id", (char *)"x", (char *)"-bundle=/b",
			       (char *)"delete"),
			 0);
	assert_string_equal(o.namespace, "default");
	assert_string_equal(o.address, "");
	assert_string_equal(o.bundle, "/b");
	assert_int_equal(o.action, ACTION_DELETE);
	assert_false(o.debug);

	/* The action may come first: Go's flags would stop there, we go on. */
	assert_int_equal(PARSE(&o, NULL, (char *)"start", (char *)"-id", (char *)"x",
			       (char *)"-namespace", (char *)"n", (char *)"-debug=false"),
			 0);
	assert_false(o.debug);
}

static void test_alone(_unused_ void **state)
{
	struct options o;

	assert_int_equal(PARSE(&o, NULL, (char *)"-v"), 0);
	assert_true(o.version);
	assert_int_equal(PARSE(&o, NULL, (char *)"--version"), 0);
	assert_true(o.version);
	assert_int_equal(PARSE(&o, NULL, (char *)"-info"), 0);
	assert_true(o.info);
	assert_int_equal(PARSE(&o, NULL, (char *)"--help"), 0);
	assert_true(o.help);
}

static void refused(struct options *o, int r, struct err *err, const char *text)
{
	assert_int_equal(r, -EINVAL);
	assert_non_null(strstr(err_text(err), text));
	assert_string_equal(o->id, "untouched");
	err_clear(err);
}

static void test_refused(_unused_ void **state)
{
	struct options o = {.id = "untouched"};
	_cleanup_err_ struct err err = {0};
	char *const none[] = {(char *)"shim"};

	refused(&o, options_parse(1, none, &o, &err), &err, "no action");
	refused(&o, PARSE(&o, &err, (char *)"-frobnicate", (char *)"start"), &err, "-frobnicate");
	refused(&o, PARSE(&o, &err, (char *)"start", (char *)"-id"), &err, "needs a value");
	refused(&o, PARSE(&o, &err, (char *)"-id", (char *)"x", (char *)"start"), &err,
		"-namespace");
	refused(&o, PARSE(&o, &err, (char *)"-namespace", (char *)"n", (char *)"start"), &err,
		"-id");
	refused(&o, PARSE(&o, &err, (char *)"run"), &err, "\"run\"");
	refused(&o, PARSE(&o, &err, (char *)"start", (char *)"delete"), &err, "one action");
	refused(&o, PARSE(&o, &err, (char *)"-debug=maybe", (char *)"start"), &err, "maybe");
	refused(&o,
		PARSE(&o, &err, (char *)"-namespace", (char *)"n", (char *)"-id",
		      (char *)"../../etc", (char *)"start"),
		&err, "letters");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_callers),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
