/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "oci/spec_check.h"

/* Each case replaces or adds one thing to a specification that is right. */
#define HEAD          "{\"ociVersion\":\"1.0.2\","
#define ROOT          "\"root\":{\"path\":\"/r\"},"
#define PROCESS(rest) "\"process\":{\"cwd\":\"/\",\"args\":[\"a\"]" rest "}"
#define SPEC(rest)    HEAD ROOT PROCESS("") rest "}"
#define LINUX(rest)   SPEC(",\"linux\":{" rest "}")

static int parse(const char *json, struct oci_spec **ret, struct err *err)
{
	return oci_spec_parse(json, strlen(json), ret, err);
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
		{"{\"ociVersion\":\"2.0\"," ROOT PROCESS("") "}", "ociVersion: \"2.0\" is not 1.x"},
		{HEAD ROOT "\"hostname\":\"h\"}", "process: missing"},
		{HEAD PROCESS("") "}", "root.path: missing"},
		{HEAD "\"root\":{}," PROCESS("") "}", "root.path: missing"},
		{HEAD ROOT "\"process\":{\"cwd\":\"/\"}}", "process.args: nothing to run"},
		{HEAD ROOT "\"process\":{\"args\":[\"a\"]}}",
		 "process.cwd: \"\" is not an absolute path"},
		{HEAD ROOT "\"process\":{\"args\":[\"a\"],\"cwd\":\"/a/../../b\"}}",
		 "process.cwd: \"/a/../../b\" leads above the root"},
		{HEAD ROOT PROCESS(",\"oomScoreAdj\":1001") "}", "process.oomScoreAdj"},
		{HEAD ROOT PROCESS(",\"user\":{\"uid\":4294967295}") "}", "process.user"},
		{HEAD ROOT PROCESS(",\"user\":{\"additionalGids\":[1,4294967295]}") "}",
		 "additionalGids[1]"},
		{HEAD ROOT PROCESS(",\"user\":{\"umask\":512}") "}", "umask: 1000 is more"},
		{HEAD ROOT PROCESS(",\"rlimits\":[{\"type\":\"RLIMIT_X\"}]") "}",
		 "process.rlimits[0].type: unknown limit \"RLIMIT_X\""},
		{HEAD ROOT PROCESS(
			 ",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":2,\"hard\":1}]") "}",
		 "soft is above hard"},
		{HEAD ROOT PROCESS(
			 ",\"rlimits\":[{\"type\":\"RLIMIT_AS\"},{\"type\":\"RLIMIT_AS\"}]") "}",
		 "rlimits[1]: RLIMIT_AS is given twice"},
		{SPEC(",\"mounts\":[{\"destination\":\"tmp\"}]"),
		 "mounts[0].destination: \"tmp\" is not an absolute path"},
		{SPEC(",\"mounts\":[{\"destination\":\"/a\"},{\"destination\":\"/../b\"}]"),
		 "mounts[1].destination"},
		{SPEC(",\"mounts\":[{\"destination\":\"//./\"}]"), "over the root"},
		{SPEC(",\"hooks\":{\"poststop\":[{\"path\":\"x\"}]}"), "hooks.poststop[0].path"},
		{SPEC(",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"timeout\":-1}]}"),
		 "hooks.prestart[0].timeout"},
		{SPEC(",\"hostname\":"
		      "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""),
		 "hostname"},
		{LINUX("\"namespaces\":[{\"type\":\"vm\"}]"), "unknown namespace \"vm\""},
		{LINUX("\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]"),
		 "linux.namespaces[1]: pid is given twice"},
		{LINUX("\"namespaces\":[{\"type\":\"pid\",\"path\":\"x\"}]"), "namespaces[0].path"},
		{LINUX("\"devices\":[{\"path\":\"/dev/x\",\"type\":\"q\"}]"), "devices[0].type"},
		{LINUX("\"devices\":[{\"path\":\"dev\",\"type\":\"c\"}]"), "devices[0].path"},
		{LINUX("\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":4096}]"),
		 "no such device number"},
		{LINUX("\"sysctl\":{\"../../x\":\"\"}"), "linux.sysctl"},
		{LINUX("\"sysctl\":{\"a..b\":\"\"}"), "linux.sysctl"},
		{LINUX("\"sysctl\":{\"/a\":\"\"}"), "linux.sysctl"},
		{LINUX("\"sysctl\":{\"net.a b\":\"\"}"), "linux.sysctl"},
		{LINUX("\"uidMappings\":[{\"size\":0}]"), "linux.uidMappings[0]"},
		{LINUX("\"gidMappings\":[{\"size\":9,\"hostID\":4294967290}]"),
		 "linux.gidMappings[0]"},
		{LINUX("\"rootfsPropagation\":\"public\""), "rootfsPropagation"},
		{LINUX("\"cgroupsPath\":\"/a/../../b\""), "cgroupsPath"},
		{LINUX("\"maskedPaths\":[\"proc\"]"), "maskedPaths"},
		{LINUX("\"readonlyPaths\":[\"/ok\",\"/../x\"]"), "readonlyPaths"},
		{LINUX("\"resources\":{\"unified\":{\"memory/x.y\":\"\"}}"), "unified"},
		{LINUX("\"resources\":{\"unified\":{\".hidden\":\"\"}}"), "unified"},
		{LINUX("\"resources\":{\"devices\":[{\"type\":\"z\"}]}"), "devices[0].type"},
		{LINUX("\"resources\":{\"devices\":[{\"access\":\"rwx\"}]}"), "devices[0].access"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct oci_spec *spec = NULL;
		int r = parse(cases[i].json, &spec, &err);

		if (r != -EINVAL)
			fail_msg("%s: %d", cases[i].json, r);
		assert_null(spec);
		if (!strstr(err_text(&err), cases[i].text))
			fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].json, err_text(&err),
				 cases[i].text);
	}
}

static void test_paths_become_clean(_unused_ void **state)
{
	static const char json[] = HEAD ROOT
		"\"process\":{\"args\":[\"a\"],\"cwd\":\"/a/./b//c/\"},"
		"\"mounts\":[{\"destination\":\"/a/../b/\"},{\"destination\":\"/..a/b..\"}],"
		"\"linux\":{\"maskedPaths\":[\"/proc/kcore/\"],\"readonlyPaths\":[\"/\"]}}";
	struct oci_spec *spec = NULL;

	assert_int_equal(parse(json, &spec, NULL), 0);
	assert_string_equal(spec->spec->process->cwd, "/a/b/c");
	assert_string_equal(spec->spec->mounts[0]->destination, "/b");
	assert_string_equal(spec->spec->mounts[1]->destination, "/..a/b..");
	assert_string_equal(spec->spec->linux->maskedpaths[0], "/proc/kcore");
	assert_string_equal(spec->spec->linux->readonlypaths[0], "/");
	oci_spec_free(spec);
}

static void test_accepted(_unused_ void **state)
{
	static const char *const cases[] = {
		SPEC(""),
		LINUX("\"sysctl\":{\"net.ipv4.conf.eth0/"
		      "1.rp_filter\":\"1\",\"kernel.shm_rmid_forced\":\"1\"}"),
		LINUX("\"rootfsPropagation\":\"rslave\",\"cgroupsPath\":\"kubepods-x.slice:cri:"
		      "id\""),
		LINUX("\"devices\":[{\"path\":\"/dev/p\",\"type\":\"p\"}]"),
		LINUX("\"uidMappings\":[{\"hostID\":100000,\"containerID\":0,\"size\":65536}]"),
		LINUX("\"resources\":{\"devices\":[{\"allow\":true},{\"type\":\"a\",\"access\":"
		      "\"\"}]}"),
		HEAD ROOT PROCESS(",\"user\":{\"uid\":0,\"umask\":511}") "}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct oci_spec *spec = NULL;

		if (parse(cases[i], &spec, &err) < 0)
			fail_msg("%s: %s", cases[i], err_text(&err));
		oci_spec_free(spec);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_paths_become_clean),
		cmocka_unit_test(test_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
