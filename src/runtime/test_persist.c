/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/persist.h"

#include <errno.h>
#include <unistd.h>

#include "base/test.h"

static void round_trip(void **state)
{
	_cleanup_(freep) char *text = NULL;
	struct persist a, b;
	struct err err = {0};

	(void)state;
	persist_init(&a, "abc-1");
	persist_set(&a.state, "running");
	persist_set(&a.netns, "/run/netns/x\"y\n");
	persist_set(&a.owner, "/run/bundle");
	a.emulated = true;
	a.memory_fd = 17;
	persist_add_process(&a, "shim", getpid());
	persist_add_process(&a, "nobody", 0);
	strv_add(&a.endpoints, "eth0");
	strv_add(&a.cgroups, "/sys/fs/cgroup/x");
	strv_add(&a.cgroups, "/sys/fs/cgroup/x/y");
	text = persist_format(&a);
	assert_int_equal(persist_parse(text, strlen(text), &b, &err), 0);
	assert_string_equal(b.id, "abc-1");
	assert_string_equal(b.state, "running");
	assert_string_equal(b.netns, a.netns);
	assert_string_equal(b.reason, "");
	assert_string_equal(b.owner, "/run/bundle");
	assert_true(b.emulated);
	assert_int_equal(b.memory_fd, 17);
	assert_int_equal(b.created_at, a.created_at);
	assert_int_equal(b.n_processes, 1);
	assert_int_equal(b.processes[0].pid, getpid());
	assert_true(persist_alive(&b.processes[0]));
	b.processes[0].start_time++;
	assert_false(persist_alive(&b.processes[0]));
	assert_int_equal(b.endpoints.n, 1);
	assert_int_equal(b.cgroups.n, 2);
	assert_string_equal(b.cgroups.v[1], "/sys/fs/cgroup/x/y");
	persist_fini(&a);
	persist_fini(&b);
}

/* Of a version that did not write who owns it. */
static void no_owner(void **state)
{
	static const char text[] = "{\"version\":1,\"id\":\"a\",\"state\":\"running\","
				   "\"netns\":\"\",\"reason\":\"\",\"config_file\":\"\"}";
	_cleanup_err_ struct err err = {0};
	struct persist p;

	(void)state;
	assert_int_equal(persist_parse(text, strlen(text), &p, &err), 0);
	assert_string_equal(p.state, "running");
	assert_string_equal(p.owner, "");
	assert_int_equal(p.memory_fd, -1);
	persist_fini(&p);
}

/* Whatever stands in the file, nothing may be read out of it that could be killed or removed. */
static void hostile(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"version\":2}",
		"{\"version\":1,\"id\":\"../x\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\"}",
		"{\"version\":1,\"id\":\"a\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\",\"processes\":[{\"name\":\"x\",\"pid\":1,"
		"\"start_time\":5}]}",
		"{\"version\":1,\"id\":\"a\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\",\"processes\":[{\"name\":\"x\",\"pid\":-4,"
		"\"start_time\":5}]}",
		"{\"version\":1,\"id\":\"a\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\",\"cgroups\":[7]}",
		"{\"version\":1,\"id\":7}",
		"{\"version\":1,\"id\":\"a\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\",\"memory_fd\":-1}",
		"{\"version\":1,\"id\":\"a\",\"state\":\"\",\"netns\":\"\",\"reason\":\"\","
		"\"config_file\":\"\",\"owner\":\"\",\"memory_fd\":\"3\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_err_ struct err err = {0};
		struct persist p;

		assert_true(persist_parse(bad[i], strlen(bad[i]), &p, &err) < 0);
		assert_non_null(err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(no_owner),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
