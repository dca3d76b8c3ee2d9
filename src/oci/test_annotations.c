/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "oci/annotations.h"
#include "oci/spec_json.h"

static struct oci_spec *with(const char *annotations)
{
	_cleanup_(freep) char *json = xasprintf(
		"{\"ociVersion\":\"1.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\","
		"\"args\":[\"a\"]},\"annotations\":{%s}}",
		annotations);
	struct oci_spec *spec = NULL;

	assert_int_equal(oci_spec_parse(json, strlen(json), &spec, NULL), 0);
	return spec;
}

static void test_kinds(_unused_ void **state)
{
	static const struct {
		const char *annotations;
		int r;
		enum oci_kind kind;
		const char *sandbox;
	} cases[] = {
		{"", 0, OCI_KIND_SINGLE, NULL},
		{"\"x\":\"y\"", 0, OCI_KIND_SINGLE, NULL},
		{"\"io.kubernetes.cri.container-type\":\"sandbox\","
		 "\"io.kubernetes.cri.sandbox-id\":\"s1\"",
		 0, OCI_KIND_SANDBOX, "s1"},
		{"\"io.kubernetes.cri.container-type\":\"container\","
		 "\"io.kubernetes.cri.sandbox-id\":\"s1\"",
		 0, OCI_KIND_CONTAINER, "s1"},
		{"\"io.kubernetes.cri-o.ContainerType\":\"container\","
		 "\"io.kubernetes.cri-o.SandboxID\":\"s2\"",
		 0, OCI_KIND_CONTAINER, "s2"},
		{"\"io.kubernetes.cri-o.ContainerType\":\"sandbox\"", 0, OCI_KIND_SANDBOX, NULL},
		{"\"io.kubernetes.docker.type\":\"podsandbox\"", 0, OCI_KIND_SANDBOX, NULL},
		{"\"io.kubernetes.cri.container-type\":\"pod\"", -EINVAL, 0, NULL},
		{"\"io.kubernetes.cri.container-type\":\"container\"", -EINVAL, 0, NULL},
		{"\"io.kubernetes.cri.container-type\":\"container\","
		 "\"io.kubernetes.cri.sandbox-id\":\"../x\"",
		 -EINVAL, 0, "../x"},
		{"\"io.kubernetes.cri.container-type\":\"container\","
		 "\"io.kubernetes.cri.sandbox-id\":\"\"",
		 -EINVAL, 0, ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct oci_spec *spec = with(cases[i].annotations);
		_cleanup_err_ struct err err = {0};
		enum oci_kind kind = (enum oci_kind)77;

		assert_int_equal(oci_kind(spec->spec, &kind, &err), cases[i].r);
		assert_int_equal(kind, cases[i].r < 0 ? 77 : cases[i].kind);
		assert_true(streq(oci_sandbox_id(spec->spec), cases[i].sandbox));
		oci_spec_free(spec);
	}
}

static void test_names(_unused_ void **state)
{
	struct oci_spec *spec = with("\"io.kubernetes.cri.container-type\":\"container\","
				     "\"io.kubernetes.cri.sandbox-name\":\"web\","
				     "\"io.kubernetes.cri.sandbox-namespace\":\"shop\","
				     "\"io.kubernetes.cri.container-name\":\"nginx\"");

	assert_string_equal(oci_sandbox_name(spec->spec), "web");
	assert_string_equal(oci_sandbox_namespace(spec->spec), "shop");
	assert_string_equal(oci_container_name(spec->spec), "nginx");
	assert_null(oci_annotation(spec->spec, "nope"));
	oci_spec_free(spec);
	spec = with("");
	assert_null(oci_sandbox_name(spec->spec));
	oci_spec_free(spec);
}

static void test_size(_unused_ void **state)
{
	struct oci_spec *spec = with("\"io.kubernetes.cri.sandbox-cpu-quota\":\"-1\","
				     "\"io.kubernetes.cri.sandbox-cpu-period\":\"100000\","
				     "\"io.kubernetes.cri.sandbox-memory\":\"1073741824\"");
	struct oci_sandbox_size size;
	_cleanup_err_ struct err err = {0};

	assert_int_equal(oci_sandbox_size(spec->spec, &size, &err), 0);
	assert_int_equal(size.cpu_quota, -1);
	assert_int_equal(size.cpu_period, 100000);
	assert_int_equal(size.cpu_shares, 0);
	assert_int_equal(size.memory, 1073741824);
	oci_spec_free(spec);
	spec = with("\"io.kubernetes.cri.sandbox-memory\":\"-5\"");
	assert_int_equal(oci_sandbox_size(spec->spec, &size, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "sandbox-memory: \"-5\""));
	oci_spec_free(spec);
	spec = with("\"io.kubernetes.cri.sandbox-cpu-quota\":\"1x\"");
	assert_int_equal(oci_sandbox_size(spec->spec, &size, &err), -EINVAL);
	assert_int_equal(size.cpu_quota, -1); /* untouched */
	oci_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
