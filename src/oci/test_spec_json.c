/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "oci/spec_json.h"

/* A document that has everything once. */
static const char full[] =
	"{\"ociVersion\":\"1.2.0\",\"hostname\":\"h\",\"domainname\":\"d\","
	"\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
	"\"annotations\":{\"a\":\"1\",\"b\":\"2\"},"
	"\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":24,\"width\":80},"
	"\"user\":{\"uid\":1,\"gid\":2,\"umask\":18,\"additionalGids\":[3,4]},"
	"\"args\":[\"sh\",\"-c\"],\"env\":[\"A=b\"],\"cwd\":\"/\","
	"\"capabilities\":{\"bounding\":[\"CAP_CHOWN\"]},"
	"\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"hard\":18446744073709551615,\"soft\":0}],"
	"\"noNewPrivileges\":true,\"oomScoreAdj\":-5,\"apparmorProfile\":\"p\","
	"\"scheduler\":{\"policy\":\"SCHED_BATCH\",\"nice\":-3},"
	"\"ioPriority\":{\"class\":\"IOPRIO_CLASS_IDLE\",\"priority\":4}},"
	"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
	"\"options\":[\"nosuid\"],\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":2}]}],"
	"\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/h\",\"args\":[\"h\"],\"timeout\":3}]},"
	"\"linux\":{\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"},\"cgroupsPath\":\"/c/d\","
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/proc/1/ns/net\"}],"
	"\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":229,"
	"\"fileMode\":438,\"uid\":0,\"gid\":0}],"
	"\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
	"{\"allow\":true,\"type\":\"c\",\"major\":5,\"minor\":0,\"access\":\"r\"}],"
	"\"memory\":{\"limit\":9223372036854771712,\"checkBeforeUpdate\":true},"
	"\"cpu\":{\"shares\":2,\"quota\":-1,\"cpus\":\"0-1\",\"burst\":0,\"idle\":1},"
	"\"pids\":{\"limit\":-1},\"blockIO\":{\"weight\":10,\"throttleReadIOPSDevice\":"
	"[{\"major\":8,\"minor\":0,\"rate\":5}]},"
	"\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":7}],"
	"\"unified\":{\"memory.high\":\"5\"},\"rdma\":{\"mlx\":{\"hcaHandles\":3}}},"
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":0,"
	"\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"errnoRet\":1,"
	"\"args\":[{\"index\":0,\"value\":9223372036854775808,\"op\":\"SCMP_CMP_EQ\"}]}]},"
	"\"personality\":{\"domain\":\"LINUX32\"},"
	"\"timeOffsets\":{\"boottime\":{\"secs\":-7,\"nanosecs\":1}},"
	"\"netDevices\":{\"eth9\":{\"name\":\"eth0\"}},"
	"\"intelRdt\":{\"closID\":\"x\",\"l3CacheSchema\":\"y\"}},"
	"\"windows\":{},\"solaris\":null}";

static struct oci_spec *parse(const char *json)
{
	_cleanup_err_ struct err err = {0};
	struct oci_spec *spec = NULL;

	if (oci_spec_parse(json, strlen(json), &spec, &err) < 0)
		fail_msg("%s", err_text(&err));
	return spec;
}

static void test_full(_unused_ void **state)
{
	struct oci_spec *spec = parse(full);
	const Grpc__Process *process = spec->spec->process;
	const Grpc__Linux *linux = spec->spec->linux;
	const Grpc__LinuxResources *resources = linux->resources;

	assert_string_equal(spec->spec->version, "1.2.0");
	assert_string_equal(spec->spec->domainname, "d");
	assert_true(spec->spec->root->readonly);
	assert_int_equal(spec->spec->n_annotations, 2);
	assert_int_equal(process->consolesize->width, 80);
	assert_int_equal(process->user->opt_umask_case, GRPC__USER__OPT_UMASK_UMASK);
	assert_int_equal(process->user->umask, 022);
	assert_int_equal(process->user->additionalgids[1], 4);
	assert_string_equal(process->args[1], "-c");
	assert_true(process->rlimits[0]->hard == UINT64_MAX);
	assert_int_equal(process->oomscoreadj, -5);
	assert_int_equal(process->scheduler->nice, -3);
	assert_string_equal(process->iopriority->class_, "IOPRIO_CLASS_IDLE");
	assert_int_equal(spec->spec->mounts[0]->uidmappings[0]->size, 2);
	assert_int_equal(spec->spec->hooks->createruntime[0]->timeout, 3);
	assert_string_equal(linux->sysctl[0]->key, "net.ipv4.ip_forward");
	assert_string_equal(linux->namespaces[1]->path, "/proc/1/ns/net");
	assert_int_equal(linux->devices[0]->filemode, 0666);
	assert_int_equal(resources->devices[0]->major, -1);
	assert_int_equal(resources->devices[0]->minor, -1);
	assert_int_equal(resources->devices[1]->minor, 0);
	assert_true(resources->memory->limit == 9223372036854771712);
	assert_true(resources->memory->checkbeforeupdate);
	assert_int_equal(resources->memory->opt_use_hierarchy_case, 0);
	assert_int_equal(resources->cpu->quota, -1);
	assert_int_equal(resources->cpu->opt_burst_case, GRPC__LINUX_CPU__OPT_BURST_BURST);
	assert_int_equal(resources->cpu->idle, 1);
	assert_int_equal(resources->blockio->throttlereadiopsdevice[0]->rate, 5);
	assert_string_equal(resources->hugepagelimits[0]->pagesize, "2MB");
	assert_string_equal(resources->unified[0]->value, "5");
	assert_int_equal(resources->rdma[0]->value->hcahandles, 3);
	assert_int_equal(linux->seccomp->opt_default_errno_ret_case,
			 GRPC__LINUX_SECCOMP__OPT_DEFAULT_ERRNO_RET_DEFAULT_ERRNO_RET);
	assert_true(linux->seccomp->syscalls[0]->args[0]->value == (uint64_t)1 << 63);
	assert_int_equal(linux->seccomp->syscalls[0]->errnoret, 1);
	assert_int_equal(linux->timeoffsets[0]->value->secs, -7);
	assert_string_equal(linux->netdevices[0]->value->name, "eth0");
	assert_string_equal(linux->intelrdt->l3cacheschema, "y");
	assert_null(spec->spec->windows);
	assert_int_equal(spec->warnings.n, 0);
	oci_spec_free(spec);
}

/* What is packed and unpacked again is the same: nothing points to where protobuf-c may not go. */
static void test_round_trip(_unused_ void **state)
{
	struct oci_spec *spec = parse(full);
	size_t n = protobuf_c_message_get_packed_size(spec->message);
	_cleanup_(freep) uint8_t *first = malloc(n), *second = malloc(n);
	Grpc__Spec *copy;

	assert_int_equal(protobuf_c_message_pack(spec->message, first), n);
	copy = grpc__spec__unpack(NULL, n, first);
	assert_non_null(copy);
	assert_int_equal(grpc__spec__pack(copy, second), n);
	assert_memory_equal(first, second, n);
	grpc__spec__free_unpacked(copy, NULL);
	oci_spec_free(spec);
}

/* Every type of field of every message below Spec must be one that the walker knows. */
static void check_types(const ProtobufCMessageDescriptor *type)
{
	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
			check_types(field->descriptor);
			continue;
		}
		if (strcmp(field->name, "bpf") == 0)
			continue;
		if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BOOL &&
		    field->type != PROTOBUF_C_TYPE_UINT32 &&
		    field->type != PROTOBUF_C_TYPE_UINT64 && field->type != PROTOBUF_C_TYPE_INT32 &&
		    field->type != PROTOBUF_C_TYPE_INT64)
			fail_msg("%s.%s has a type that spec_json.c does not know", type->name,
				 field->name);
		assert_true(type->n_fields <= 64);
	}
}

static void test_types(_unused_ void **state)
{
	check_types(&grpc__spec__descriptor);
}

#define SPEC(rest)                                                                        \
	"{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\"," \
	"\"args\":[\"a\"]}" rest "}"

static void test_errors(_unused_ void **state)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
		{"", "line 1"},
		{"[]", "the document: expected an object, found an array"},
		{"{\"hostname\":1}", "hostname: expected a string, found an integer"},
		{"{\"hostname\":18446744073709551615}", "hostname: expected a string"},
		{"{\"linux\":{\"resources\":{\"memory\":{\"limit\":\"1G\"}}}}",
		 "linux.resources.memory.limit: expected an integer, found a string"},
		{"{\"linux\":{\"resources\":{\"memory\":{\"limit\":1.5}}}}",
		 "expected an integer, found a fraction"},
		{"{\"linux\":{\"resources\":{\"memory\":{\"limit\":9223372036854775808}}}}",
		 "limit: is too large"},
		{"{\"process\":{\"user\":{\"uid\":-1}}}", "process.user.uid: may not be negative"},
		{"{\"process\":{\"user\":{\"uid\":4294967296}}}", "uid: is too large"},
		{"{\"process\":{\"scheduler\":{\"nice\":-2147483649}}}", "nice: is too small"},
		{"{\"process\":{\"rlimits\":[{},{\"hard\":99999999999999999999}]}}",
		 "too big integer"},
		{"{\"process\":{\"args\":[\"a\",null]}}",
		 "process.args[1]: expected a string, found null"},
		{"{\"process\":{\"args\":\"a\"}}", "process.args: expected an array"},
		{"{\"process\":{\"terminal\":1}}", "terminal: expected true or false"},
		{"{\"annotations\":[]}", "annotations: expected an object"},
		{"{\"annotations\":{\"k\":{}}}", "annotations.k: expected a string"},
		{"{\"linux\":{\"namespaces\":[[]]}}",
		 "linux.namespaces[0]: expected an object, found an array"},
		{"{\"hostname\":\"a\",\"hostname\":\"b\"}", "duplicate"},
		{"{\"hostname\":\"a\",\"hostName\":\"b\"}", "hostName: is given twice"},
		{"{\"a\":\"\\u0000\"}", "\\u0000"},
		{SPEC("} x"), "line 1"},
		{"{\"root\":{\"path\":\"r\"}}", "ociVersion"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct oci_spec *spec = NULL;

		assert_int_equal(oci_spec_parse(cases[i].json, strlen(cases[i].json), &spec, &err),
				 -EINVAL);
		assert_null(spec);
		if (!strstr(err_text(&err), cases[i].text))
			fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].json, err_text(&err),
				 cases[i].text);
	}
}

static void test_null_and_case(_unused_ void **state)
{
	struct oci_spec *spec = parse(SPEC(",\"HOSTNAME\":\"x\",\"mounts\":null,\"linux\":null"));

	assert_string_equal(spec->spec->hostname, "x");
	assert_int_equal(spec->spec->n_mounts, 0);
	assert_null(spec->spec->linux);
	oci_spec_free(spec);
}

static void test_unknown_keys(_unused_ void **state)
{
	struct oci_spec *spec = parse(SPEC(",\"fancy\":{\"a\":[1]},\"vm\":{},\"linux\":{"
					   "\"seccomp\":{\"newRule\":[]},\"bpf\":1,"
					   "\"resources\":{\"devices\":[{\"deny\":true}]}}"));

	assert_int_equal(spec->warnings.n, 3);
	assert_true(strv_contains(&spec->warnings, "linux.seccomp.newRule: unknown, ignored"));
	assert_true(strv_contains(&spec->warnings, "linux.bpf: unknown, ignored"));
	assert_true(strv_contains(&spec->warnings,
				  "linux.resources.devices[0].deny: unknown, ignored"));
	oci_spec_free(spec);
	/* A profile cannot be smuggled in compiled. */
	spec = parse(SPEC(",\"linux\":{\"seccomp\":{\"bpf\":\"AAAA\"}}"));
	assert_int_equal(spec->spec->linux->seccomp->bpf.len, 0);
	assert_int_equal(spec->warnings.n, 1);
	oci_spec_free(spec);
}

static void test_bounds(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	size_t n = OCI_JSON_MAX + 1;
	_cleanup_(freep) char *big = malloc(n);
	struct oci_spec *spec = NULL;

	memset(big, ' ', n);
	assert_int_equal(oci_spec_parse(big, n, &spec, &err), -EFBIG);
	memset(big, '[', 100000);
	assert_int_equal(oci_spec_parse(big, 100000, &spec, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "nested deeper"));
	assert_int_equal(oci_spec_parse("{\0}", 3, &spec, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "NUL"));
	assert_null(spec);
}

static void test_process_and_resources(_unused_ void **state)
{
	static const char process[] = "{\"args\":[\"ls\"],\"cwd\":\"/tmp//x/\",\"odd\":1}";
	static const char resources[] = "{\"memory\":{\"limit\":5},\"unified\":{\"a/b\":\"\"}}";
	_cleanup_err_ struct err err = {0};
	struct oci_spec *spec = NULL;

	assert_int_equal(oci_process_parse(process, strlen(process), &spec, &err), 0);
	assert_string_equal(spec->process->args[0], "ls");
	assert_string_equal(spec->process->cwd, "/tmp/x");
	assert_string_equal(spec->warnings.v[0], "odd: unknown, ignored");
	oci_spec_free(spec);
	assert_int_equal(oci_resources_parse(resources, 21, &spec, &err), -EINVAL);
	assert_int_equal(oci_resources_parse("{\"memory\":{\"limit\":5}}", 22, &spec, &err), 0);
	assert_int_equal(spec->resources->memory->limit, 5);
	oci_spec_free(spec);
	spec = NULL;
	assert_int_equal(oci_resources_parse(resources, strlen(resources), &spec, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "unified: \"a/b\""));
}

static void test_changes(_unused_ void **state)
{
	struct oci_spec *spec = parse(SPEC(",\"mounts\":[{\"destination\":\"/a\"}]"));
	Grpc__Mount *mount = oci_spec_new_message(spec, &grpc__mount__descriptor);
	Grpc__LinuxDeviceCgroup *rule = oci_spec_new_message(
		spec, &grpc__linux_device_cgroup__descriptor);

	mount->destination = oci_spec_printf(spec, "/%s", "b");
	oci_spec_append(spec, &spec->spec->mounts, &spec->spec->n_mounts, mount);
	assert_int_equal(spec->spec->n_mounts, 2);
	assert_string_equal(spec->spec->mounts[0]->destination, "/a");
	assert_string_equal(spec->spec->mounts[1]->destination, "/b");
	assert_string_equal(mount->source, "");
	assert_int_equal(rule->major, -1);
	oci_spec_free(spec);
}

static void test_load(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	char path[] = "/tmp/test-spec-XXXXXX";
	struct oci_spec *spec = NULL;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, full, strlen(full)), strlen(full));
	assert_int_equal(oci_spec_load(path, &spec, &err), 0);
	oci_spec_free(spec);
	spec = NULL;
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(oci_spec_load(path, &spec, &err), -EINVAL);
	assert_true(str_has_prefix(err_text(&err), path));
	close(fd);
	unlink(path);
	assert_int_equal(oci_spec_load(path, &spec, &err), -ENOENT);
	assert_null(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),          cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_types),         cmocka_unit_test(test_errors),
		cmocka_unit_test(test_null_and_case), cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_bounds),        cmocka_unit_test(test_process_and_resources),
		cmocka_unit_test(test_changes),       cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
