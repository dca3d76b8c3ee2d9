/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "bootstrap.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "runtimeoptions.pb-c.h"
#include "shim/caller.h"

static const struct options from_containerd = {
	.namespace = "ns",
	.address = "/run/containerd/containerd.sock",
	.publish_binary = "/no/such/containerd",
	.id = "c1",
	.bundle = "",
	.socket = "",
	.action = ACTION_START,
};

/* An Any with runtime options that name a configuration file. */
static void pack_options(const char *type, const char *path, Google__Protobuf__Any *ret,
			 uint8_t *data)
{
	Runtimeoptions__V1__Options options = RUNTIMEOPTIONS__V1__OPTIONS__INIT;

	options.config_path = (char *)path;
	google__protobuf__any__init(ret);
	ret->type_url = (char *)type;
	ret->value.len = runtimeoptions__v1__options__pack(&options, data);
	ret->value.data = data;
}

static void test_options(_unused_ void **state)
{
	_cleanup_(caller_fini) struct caller caller = {0};
	Google__Protobuf__Any any;
	uint8_t data[256], packed[512];
	size_t n;

	setenv("TTRPC_ADDRESS", "/run/containerd/containerd.sock.ttrpc", 1);
	pack_options("type.googleapis.com/runtimeoptions.v1.Options", "/etc/kata/a.toml", &any,
		     data);
	n = google__protobuf__any__pack(&any, packed);
	assert_int_equal(caller_parse(&from_containerd, packed, n, &caller, NULL), 0);
	assert_string_equal(caller.config_path, "/etc/kata/a.toml");
	assert_string_equal(caller.address, "/run/containerd/containerd.sock");
	assert_string_equal(caller.ttrpc_address, "/run/containerd/containerd.sock.ttrpc");
	assert_false(caller.task_v3);
	caller_fini(&caller);

	/* runc's options are not ours, and no error. */
	any.type_url = (char *)"containerd.runc.v1.Options";
	n = google__protobuf__any__pack(&any, packed);
	assert_int_equal(caller_parse(&from_containerd, packed, n, &caller, NULL), 0);
	assert_string_equal(caller.config_path, "");
	caller_fini(&caller);

	unsetenv("TTRPC_ADDRESS");
	assert_int_equal(caller_parse(&from_containerd, NULL, 0, &caller, NULL), 0);
	assert_string_equal(caller.ttrpc_address, "");
}

static void test_bootstrap(_unused_ void **state)
{
	Containerd__Runtime__Bootstrap__V1__BootstrapParams params =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
	Containerd__Runtime__Bootstrap__V1__Extension extension =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
	Containerd__Runtime__Bootstrap__V1__Extension *extensions[] = {&extension};
	_cleanup_(caller_fini) struct caller caller = {0};
	Google__Protobuf__Any any;
	uint8_t data[256], packed[1024];
	size_t n;

	pack_options("runtimeoptions.v1.Options", "/b.toml", &any, data);
	extension.value = &any;
	params.instance_id = (char *)"c1";
	params.containerd_grpc_address = (char *)"/grpc";
	params.containerd_ttrpc_address = (char *)"/ttrpc";
	params.log_level = CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_TRACE;
	params.n_extensions = 1;
	params.extensions = extensions;
	n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&params, packed);
	assert_int_equal(caller_parse(&from_containerd, packed, n, &caller, NULL), 0);
	assert_true(caller.task_v3);
	assert_true(caller.debug);
	assert_string_equal(caller.address, "/grpc");
	assert_string_equal(caller.ttrpc_address, "/ttrpc");
	assert_string_equal(caller.config_path, "/b.toml");
	assert_string_equal(caller.socket_dir, "");
	caller_fini(&caller);

	/* Somebody else's: not bootstrap parameters, an Any with a type of that name. */
	params.instance_id = (char *)"c2";
	params.namespace_ = (char *)"x";
	params.containerd_grpc_address = params.containerd_ttrpc_address = (char *)"";
	params.log_level = 0;
	params.n_extensions = 0;
	n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&params, packed);
	assert_int_equal(caller_parse(&from_containerd, packed, n, &caller, NULL), 0);
	assert_false(caller.task_v3);
}

static void test_refused(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	struct caller caller = {.config_path = (char *)"untouched"};
	_cleanup_(closep) int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	assert_int_equal(caller_parse(&from_containerd, "\xff\xff", 2, &caller, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "neither runtime options"));
	assert_string_equal(caller.config_path, "untouched");
	assert_int_equal(caller_read(&from_containerd, zero, &caller, &err), -EFBIG);
	assert_string_equal(caller.config_path, "untouched");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_bootstrap),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
