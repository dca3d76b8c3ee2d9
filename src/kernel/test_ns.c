/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"
#include "kernel/ns.h"

static void test_names(_unused_ void **state)
{
	assert_int_equal(ns_parse("pid"), CLONE_NEWPID);
	assert_int_equal(ns_parse("network"), CLONE_NEWNET);
	assert_int_equal(ns_parse("time"), CLONE_NEWTIME);
	assert_int_equal(ns_parse("net"), 0);
	assert_int_equal(ns_parse(""), 0);
	assert_string_equal(ns_proc_name(CLONE_NEWNS), "mnt");
	assert_null(ns_proc_name(CLONE_VM));
}

static void test_open(_unused_ void **state)
{
	_cleanup_(closep) int fd = ns_open("/proc/self/ns/ipc", CLONE_NEWIPC);

	assert_true(fd >= 0);
	assert_int_equal(ns_open("/proc/self/ns/ipc", CLONE_NEWUTS), -EINVAL);
	assert_int_equal(ns_open("/dev/null", CLONE_NEWUTS), -EINVAL);
	assert_int_equal(ns_open("/nonexistent", CLONE_NEWUTS), -ENOENT);
}

static void test_maps(_unused_ void **state)
{
	static struct ns_mapping many[NS_MAPPINGS_MAX + 1];
	const struct ns_maps none = {0}, too_many = {.uids = many, .n_uids = ARRAY_SIZE(many)};

	assert_int_equal(ns_write_maps(1, &too_many), -E2BIG);
	assert_int_equal(ns_write_maps(1, &none), -EINVAL);
}

static void test_parse_maps(_unused_ void **state)
{
	static const char *const bad[] = {"",       "0",      "0:1",    "0:1:2:3",        "0:1:2,",
					  "0:1:-2", "a:1:2",  "0::2",   "0:1:4294967296", ",0:1:2",
					  "0:1 :2", "0:1:2;", "0,1:2:3"};
	_cleanup_(ns_maps_fini) struct ns_maps maps, copy, none;
	struct buf many = {0};

	assert_int_equal(ns_maps_parse("0:65536:1000,1000:7:1", "5:6:7", &maps), 0);
	assert_int_equal(maps.n_uids, 2);
	assert_int_equal(maps.uids[0].outside, 65536);
	assert_int_equal(maps.uids[1].inside, 1000);
	assert_int_equal(maps.uids[1].size, 1);
	assert_int_equal(maps.n_gids, 1);
	assert_int_equal(maps.gids[0].outside, 6);
	assert_int_equal(ns_map_id(maps.uids, maps.n_uids, 999), 66535);
	assert_int_equal(ns_map_id(maps.uids, maps.n_uids, 1000), 7);
	assert_int_equal(ns_map_id(maps.uids, maps.n_uids, 1001), NS_NOBODY);
	assert_int_equal(ns_map_id(NULL, 0, 1001), 1001);
	copy = ns_maps_copy(&maps);
	assert_true(ns_maps_equal(&maps, &copy));
	copy.uids[1].size = 2;
	assert_false(ns_maps_equal(&maps, &copy));
	copy.uids[1].size = 1;
	copy.n_gids = 0;
	assert_false(ns_maps_equal(&maps, &copy));
	copy.n_gids = 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (i && ns_maps_parse(bad[i], "0:0:1", &none) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
		assert_int_equal(ns_maps_parse("0:0:1", bad[i], &none), -EINVAL);
		assert_null(none.uids);
	}
	for (size_t i = 0; i <= NS_MAPPINGS_MAX; i++)
		buf_addf(&many, "%s%zu:1:1", i ? "," : "", i);
	assert_int_equal(ns_maps_parse(many.data, "0:0:1", &none), -E2BIG);
	buf_fini(&many);
}

/* What a program without rights may map: itself. */
static void test_new_user(_unused_ void **state)
{
	struct ns_mapping uid = {0, getuid(), 1}, twice[] = {{0, 5, 1}, {0, 6, 1}};
	struct ns_maps bad = {.uids = twice, .gids = twice, .n_uids = 2, .n_gids = 2};
	struct ns_maps own = {.uids = &uid, .n_uids = 1};
	int fd;

	assert_true(ns_open_new_user(&bad) < 0);
	assert_int_equal(waitpid(-1, NULL, 0), -1);
	if (getuid())
		skip_test("needs root");
	own.gids = &uid;
	own.n_gids = 1;
	fd = ns_open_new_user(&own);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, NS_GET_NSTYPE), CLONE_NEWUSER);
	close(fd);
	assert_int_equal(waitpid(-1, NULL, 0), -1);
	assert_int_equal(errno, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),    cmocka_unit_test(test_open),
		cmocka_unit_test(test_maps),     cmocka_unit_test(test_parse_maps),
		cmocka_unit_test(test_new_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
