/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spec_guest.h"

#include <errno.h>

#include "base/str.h"
#include "base/test.h"
#include "oci/spec_json.h"

static Grpc__Spec *parse(const char *linux, const char *more)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	_cleanup_(freep) char *json = NULL;
	_cleanup_err_ struct err err = {0};

	json = xasprintf("{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"args\":[\"sh\"],"
			 "\"user\":{\"uid\":0,\"gid\":0},\"apparmorProfile\":\"p\","
			 "\"selinuxLabel\":\"l\"},\"root\":{\"path\":\"rootfs\"},"
			 "\"linux\":{%s}%s}",
			 linux, more);
	if (oci_spec_parse(json, strlen(json), &spec, &err) < 0)
		fail_msg("%s", err_text(&err));
	return spec_copy(spec->spec);
}

static void namespaces(void **state)
{
	Grpc__Spec *spec = parse("\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/7/ns/pid\"},"
				 "{\"type\":\"network\",\"path\":\"/run/netns/x\"},"
				 "{\"type\":\"ipc\",\"path\":\"/proc/7/ns/ipc\"},"
				 "{\"type\":\"mount\"}]",
				 "");
	bool shared = false;

	(void)state;
	assert_int_equal(spec_to_guest(spec, &shared, NULL), 0);
	assert_true(shared);
	assert_int_equal(spec->linux->n_namespaces, 2);
	assert_string_equal(spec->linux->namespaces[0]->type, "ipc");
	assert_string_equal(spec->linux->namespaces[0]->path, "");
	assert_string_equal(spec->linux->namespaces[1]->type, "mount");
	assert_string_equal(spec->process->apparmorprofile, "");
	assert_string_equal(spec->process->selinuxlabel, "");
	grpc__spec__free_unpacked(spec, NULL);

	spec = parse("\"namespaces\":[{\"type\":\"pid\"}]", "");
	shared = true;
	assert_int_equal(spec_to_guest(spec, &shared, NULL), 0);
	assert_false(shared);
	assert_int_equal(spec->linux->n_namespaces, 1);
	grpc__spec__free_unpacked(spec, NULL);
}

static void resources(void **state)
{
	Grpc__Spec *spec = parse(
		"\"cgroupsPath\":\"/kubepods/pod1/c1\",\"resources\":{\"cpu\":{\"shares\":512,"
		"\"quota\":5000,\"cpus\":\"60-63\",\"mems\":\"1\"},\"memory\":{\"limit\":1000000},"
		"\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":0}],"
		"\"blockIO\":{\"weight\":100,\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":0,"
		"\"rate\":1}]},\"network\":{\"classID\":7}}",
		"");
	bool shared;

	(void)state;
	assert_int_equal(spec_to_guest(spec, &shared, NULL), 0);
	assert_string_equal(spec->linux->cgroupspath, "/kubepods/pod1/c1");
	assert_int_equal(spec->linux->resources->cpu->shares, 512);
	assert_string_equal(spec->linux->resources->cpu->cpus, "");
	assert_string_equal(spec->linux->resources->cpu->mems, "");
	assert_int_equal(spec->linux->resources->memory->limit, 1000000);
	assert_int_equal(spec->linux->resources->n_hugepagelimits, 0);
	assert_int_equal(spec->linux->resources->blockio->weight, 100);
	assert_int_equal(spec->linux->resources->blockio->n_throttlereadbpsdevice, 0);
	assert_null(spec->linux->resources->network);
	grpc__spec__free_unpacked(spec, NULL);
}

static void hooks(void **state)
{
	_cleanup_err_ struct err err = {0};
	Grpc__Spec *spec = parse("", ",\"hooks\":{\"prestart\":[{\"path\":\"/a\"}],"
				     "\"createRuntime\":[{\"path\":\"/b\"}],"
				     "\"startContainer\":[{\"path\":\"/c\"}],"
				     "\"poststop\":[{\"path\":\"/d\"}]}");
	bool shared;

	(void)state;
	assert_int_equal(spec_to_guest(spec, &shared, NULL), 0);
	assert_int_equal(spec->hooks->n_prestart, 0);
	assert_int_equal(spec->hooks->n_createruntime, 0);
	assert_int_equal(spec->hooks->n_poststop, 0);
	/* The one that runs inside the container. */
	assert_int_equal(spec->hooks->n_startcontainer, 1);
	grpc__spec__free_unpacked(spec, NULL);

	spec = parse("", ",\"hooks\":{\"createContainer\":[{\"path\":\"/usr/bin/x\"}]}");
	assert_int_equal(spec_to_guest(spec, &shared, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "/usr/bin/x"));
	grpc__spec__free_unpacked(spec, NULL);
}

static void privileged(void **state)
{
	Grpc__Spec *spec = parse("\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
				 "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3}]}",
				 "");

	(void)state;
	assert_false(spec_privileged(spec));
	grpc__spec__free_unpacked(spec, NULL);
	spec = parse("\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwm\"}]}", "");
	assert_true(spec_privileged(spec));
	grpc__spec__free_unpacked(spec, NULL);
	spec = parse("", "");
	assert_false(spec_privileged(spec));
	grpc__spec__free_unpacked(spec, NULL);
}

static void no_process(void **state)
{
	_cleanup_err_ struct err err = {0};
	Grpc__Spec spec = GRPC__SPEC__INIT, *copy = spec_copy(&spec);
	bool shared;

	(void)state;
	assert_int_equal(spec_to_guest(copy, &shared, &err), -EINVAL);
	grpc__spec__free_unpacked(copy, NULL);
}

/* The original, which is the caller's, stays as it was. */
static void strings_and_lists(void **state)
{
	Grpc__Spec *spec = parse("\"devices\":[{\"path\":\"/dev/a\",\"type\":\"c\"},"
				 "{\"path\":\"/dev/b\",\"type\":\"c\"}]",
				 "");

	(void)state;
	spec_set(&spec->hostname, "one");
	spec_set(&spec->hostname, "two");
	assert_string_equal(spec->hostname, "two");
	spec_set(&spec->hostname, NULL);
	assert_string_equal(spec->hostname, "");
	SPEC_REMOVE(spec->linux, devices, 0);
	assert_int_equal(spec->linux->n_devices, 1);
	assert_string_equal(spec->linux->devices[0]->path, "/dev/b");
	SPEC_REMOVE(spec->linux, devices, 0);
	assert_int_equal(spec->linux->n_devices, 0);
	assert_null(spec->linux->devices);
	grpc__spec__free_unpacked(spec, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(namespaces), cmocka_unit_test(resources),
		cmocka_unit_test(hooks),      cmocka_unit_test(privileged),
		cmocka_unit_test(no_process), cmocka_unit_test(strings_and_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
