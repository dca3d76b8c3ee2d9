/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/path.h"
#include "base/test.h"
#include "kernel/cgroup.h"

static void test_weights(_unused_ void **state)
{
	assert_int_equal(cgroup_weight_of_shares(0), 0);
	assert_int_equal(cgroup_weight_of_shares(1), 1);
	assert_int_equal(cgroup_weight_of_shares(2), 1);
	assert_int_equal(cgroup_weight_of_shares(1024), 39);
	assert_int_equal(cgroup_weight_of_shares(262144), 10000);
	assert_int_equal(cgroup_weight_of_shares(UINT64_MAX), 10000);
	assert_int_equal(cgroup_io_weight(0), 0);
	assert_int_equal(cgroup_io_weight(10), 1);
	assert_int_equal(cgroup_io_weight(1000), 10000);
	assert_int_equal(cgroup_io_weight(UINT32_MAX), 10000);
}

static void test_swap(_unused_ void **state)
{
	int64_t value = 7;

	assert_int_equal(cgroup_swap_max(0, 0, &value), 0);
	assert_int_equal(cgroup_swap_max(0, 100, &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(cgroup_swap_max(300, 100, &value), 1);
	assert_int_equal(value, 200);
	assert_int_equal(cgroup_swap_max(100, 100, &value), 1);
	assert_int_equal(value, 0);
	assert_int_equal(cgroup_swap_max(-1, 100, &value), 1);
	assert_int_equal(value, -1);
	assert_int_equal(cgroup_swap_max(0, -1, &value), 1);
	assert_int_equal(value, -1);
	assert_int_equal(cgroup_swap_max(50, 100, &value), -EINVAL);
	assert_int_equal(cgroup_swap_max(50, 0, &value), -EINVAL);
	assert_int_equal(cgroup_swap_max(-2, 100, &value), -EINVAL);
}

/* --- limits: a folder stands for a group --- */

static char dir[] = "/tmp/kata-test-cgroup-XXXXXX";

static int make_group(_unused_ void **state)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_group(_unused_ void **state)
{
	return fs_remove_all(dir);
}

static void put_file(const char *name, const char *text)
{
	_cleanup_(freep) char *path = path_join(dir, name);

	assert_int_equal(fs_replace(path, text, strlen(text), 0644, false), 0);
}

static int apply(const struct cgroup_resources *resources, char **ret_file)
{
	struct cgroup cg = {.root = -1, .program = -1, .strict = true};
	int r;

	cg.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(cg.dir >= 0);
	r = cgroup_apply(&cg, resources, ret_file);
	close(cg.dir);
	return r;
}

/* The file has `wanted` after the resources were set, which was empty before. */
static void check_set(const struct cgroup_resources *resources, const char *name,
		      const char *wanted)
{
	_cleanup_(freep) char *path = path_join(dir, name), *text = NULL;

	put_file(name, "");
	assert_int_equal(apply(resources, NULL), 0);
	assert_int_equal(fs_read(path, 256, &text, NULL), 0);
	assert_string_equal(text, wanted);
}

static void test_block_io(_unused_ void **state)
{
	static const struct cgroup_io_limit limit = {8, 16, 1048576}, none = {8, 16, 0};
	static const struct cgroup_io_limit weight = {8, 16, 1000};

	check_set(&(struct cgroup_resources){.io_rbps = &limit, .n_io_rbps = 1}, "io.max",
		  "8:16 rbps=1048576");
	check_set(&(struct cgroup_resources){.io_wbps = &none, .n_io_wbps = 1}, "io.max",
		  "8:16 wbps=max");
	check_set(&(struct cgroup_resources){.io_riops = &limit, .n_io_riops = 1}, "io.max",
		  "8:16 riops=1048576");
	check_set(&(struct cgroup_resources){.io_wiops = &limit, .n_io_wiops = 1}, "io.max",
		  "8:16 wiops=1048576");
	check_set(&(struct cgroup_resources){.io_weight = 10}, "io.weight", "1");
	check_set(&(struct cgroup_resources){.io_weights = &weight, .n_io_weights = 1}, "io.weight",
		  "8:16 10000");
	/* The scheduler's own scale is that of version 1. */
	check_set(&(struct cgroup_resources){.io_weight = 500}, "io.bfq.weight", "500");
}

static void test_huge_pages(_unused_ void **state)
{
	static const struct cgroup_huge_limit two = {"2MB", 4194304}, bad = {"../x", 1};
	static const struct cgroup_resources wrong = {.huge = &bad, .n_huge = 1};
	static const struct cgroup_resources right = {.huge = &two, .n_huge = 1};

	put_file("hugetlb.2MB.max", "");
	check_set(&right, "hugetlb.2MB.rsvd.max", "4194304");
	check_set(&right, "hugetlb.2MB.max", "4194304");
	assert_int_equal(apply(&wrong, NULL), -EINVAL);
}

static void test_cpu(_unused_ void **state)
{
	static const struct cgroup_resources idle = {
		.has_cpu_idle = true, .cpu_idle = 1, .cpu_shares = 1024};
	static const struct cgroup_resources no_burst = {.has_cpu_burst = true};
	static const struct cgroup_resources burst = {
		.has_cpu_burst = true, .cpu_burst = 20000, .cpu_quota = 50000};

	/* An idle group takes no weight: there is no such file here. */
	check_set(&idle, "cpu.idle", "1");
	check_set(&no_burst, "cpu.max.burst", "0");
	put_file("cpu.max", "");
	check_set(&burst, "cpu.max.burst", "20000");
	check_set(&burst, "cpu.max", "50000 100000");
}

static void test_memory_check(_unused_ void **state)
{
	struct cgroup_resources lower = {.memory_limit = 4096, .memory_check = true};
	_cleanup_(freep) char *file = NULL;

	put_file("memory.max", "");
	put_file("memory.current", "5000\n");
	assert_int_equal(apply(&lower, &file), -EBUSY);
	assert_string_equal(file, "memory.max");
	check_set(&(struct cgroup_resources){.memory_limit = 4096}, "memory.max", "4096");
	lower.memory_limit = 8192;
	check_set(&lower, "memory.max", "8192");
}

static void test_access(_unused_ void **state)
{
	assert_int_equal(cgroup_parse_access(""), 0);
	assert_int_equal(cgroup_parse_access("rwm"), 7);
	assert_int_equal(cgroup_parse_access("m"), CGROUP_ACCESS_MKNOD);
	assert_int_equal(cgroup_parse_access("rx"), -EINVAL);
}

static void check_path(const char *given, const char *wanted)
{
	_cleanup_(freep) char *path = cgroup_normalize_path(given, "id");

	assert_string_equal(path, wanted);
}

static void test_paths(_unused_ void **state)
{
	_cleanup_(freep) char *deep = xcalloc(1, 2 * CGROUP_DEPTH_MAX + 8);

	check_path(NULL, "/id");
	check_path("", "/id");
	check_path("/kubepods/burstable/pod1/abc", "/kubepods/burstable/pod1/abc");
	check_path("system.slice:cri-containerd:abc", "/system.slice/cri-containerd-abc.scope");
	check_path("kubepods-besteffort-pod1.slice:crio:abc",
		   "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/"
		   "crio-abc.scope");
	check_path("a--b.slice:crio:abc", "/id");
	check_path("a-.slice:crio:abc", "/id");
	check_path("/", "/id");
	check_path("/a/", "/id");
	check_path("relative/a", "/id");
	check_path("/a/../../etc", "/id");
	check_path("a:../b:c", "/id");
	check_path("kubepods-burstable-pod1_2.slice:cri-containerd:abc",
		   "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/"
		   "cri-containerd-abc.scope");
	check_path("-.slice:b:c", "/b-c.scope");
	check_path(":b:c", "/system.slice/b-c.scope");
	check_path("a:b:c", "/id");
	check_path(".slice:b:c", "/id");
	check_path("a-.slice:b:c", "/id");
	check_path("a--b.slice:b:c", "/id");
	check_path("a/b:c:d", "/id");
	for (size_t i = 0; i < CGROUP_DEPTH_MAX + 1; i++)
		strcat(deep, "/a");
	check_path(deep, "/id");
}

static void test_fields(_unused_ void **state)
{
	const char *text = "oom 3\noom_kill 12\nmax 5";

	assert_int_equal(cgroup_stat_field(text, "oom"), 3);
	assert_int_equal(cgroup_stat_field(text, "oom_kill"), 12);
	assert_int_equal(cgroup_stat_field(text, "max"), 5);
	assert_int_equal(cgroup_stat_field(text, "kill"), 0);
	assert_int_equal(cgroup_stat_field(NULL, "max"), 0);
	assert_int_equal(cgroup_stat_field("", "max"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_swap),
		cmocka_unit_test_setup_teardown(test_block_io, make_group, remove_group),
		cmocka_unit_test_setup_teardown(test_huge_pages, make_group, remove_group),
		cmocka_unit_test_setup_teardown(test_cpu, make_group, remove_group),
		cmocka_unit_test_setup_teardown(test_memory_check, make_group, remove_group),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
