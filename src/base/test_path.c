/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"

static char top[] = "/tmp/test-path-XXXXXX";
static int root;

static int setup(_unused_ void **state)
{
	_cleanup_(freep) char *inner = NULL;

	strcpy(top + strlen(top) - 6, "XXXXXX");
	if (!mkdtemp(top))
		return -1;
	inner = path_join(top, "root");
	if (mkdir(inner, 0700) < 0)
		return -1;
	root = open(inner, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -1 : 0;
}

static int teardown(_unused_ void **state)
{
	close(root);
	return fs_remove_all(top);
}

static void expect_take(char *got, const char *expected)
{
	assert_string_equal(got, expected);
	free(got);
}

static void test_parts(_unused_ void **state)
{
	expect_take(path_join("a", "b"), "a/b");
	expect_take(path_join("a//", "//b"), "a/b");
	expect_take(path_join("/", "b"), "/b");
	expect_take(path_join("", "b"), "/b");
	assert_string_equal(path_name("/a/b"), "b");
	assert_string_equal(path_name("b"), "b");
	assert_string_equal(path_name("/a/"), "");
	expect_take(path_dir("/a/b"), "/a");
	expect_take(path_dir("/a"), "/");
	expect_take(path_dir("a"), ".");
}

static void test_ids(_unused_ void **state)
{
	char longest[130];
	_cleanup_(freep) char *one = path_new_id("x"), *other = path_new_id("x");

	assert_true(path_is_id(one) && strlen(one) == 18);
	assert_string_not_equal(one, other);
	assert_true(path_is_id("a"));
	assert_true(path_is_id("0abc-DEF_1.2"));
	assert_false(path_is_id(NULL));
	assert_false(path_is_id(""));
	assert_false(path_is_id("."));
	assert_false(path_is_id(".."));
	assert_false(path_is_id("-a"));
	assert_false(path_is_id("a/b"));
	assert_false(path_is_id("a b"));
	assert_false(path_is_id("a\n"));
	memset(longest, 'a', sizeof(longest));
	longest[129] = '\0';
	assert_false(path_is_id(longest));
	longest[128] = '\0';
	assert_true(path_is_id(longest));
}

static void test_clean(_unused_ void **state)
{
	assert_true(path_is_clean("/"));
	assert_true(path_is_clean("/a/b"));
	assert_true(path_is_clean("/..a/.b/c.."));
	assert_false(path_is_clean(""));
	assert_false(path_is_clean("a"));
	assert_false(path_is_clean("//"));
	assert_false(path_is_clean("/a//b"));
	assert_false(path_is_clean("/a/./b"));
	assert_false(path_is_clean("/a/.."));
	assert_false(path_is_clean("/../a"));
}

/* valgrind does not know openat2(2). */
static void need_openat2(const char *test)
{
	_cleanup_(closep) int fd = path_open_in_root(root, "/", O_PATH, 0);

	if (fd == -ENOSYS)
		skip_test_of(test, "valgrind does not know openat2");
}

/* What a hostile peer may put into its folder leads back into the folder. */
static void test_stays_in_root(_unused_ void **state)
{
	_cleanup_(closep) int fd = -1;
	struct stat inside, opened;
	static const char *const ways[] = {"/", "..", "/../..", "up", "abs", "up/../up/.."};

	need_openat2(__func__);
	assert_int_equal(symlinkat("../../..", root, "up"), 0);
	assert_int_equal(symlinkat("/", root, "abs"), 0);
	assert_int_equal(symlinkat("/etc/passwd", root, "passwd"), 0);
	assert_int_equal(symlinkat("/proc/self/cwd", root, "magic"), 0);
	assert_int_equal(fstat(root, &inside), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		_cleanup_(closep) int way = path_open_in_root(root, ways[i], O_PATH, 0);

		assert_true(way >= 0);
		assert_int_equal(fstat(way, &opened), 0);
		assert_int_equal(opened.st_ino, inside.st_ino);
	}
	assert_int_equal(path_open_in_root(root, "passwd", O_RDONLY, 0), -ENOENT);
	assert_int_equal(path_open_in_root(root, "magic", O_PATH, 0), -ENOENT);
	fd = path_open_in_root(root, "up/new", O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(faccessat(root, "new", F_OK, 0), 0);
}

static void test_mkdir_in_root(_unused_ void **state)
{
	_cleanup_(closep) int a = -1, again = -1, through = -1;
	struct stat one, two;

	need_openat2(__func__);
	a = path_mkdir_in_root(root, "a//b/c/", 0700);
	assert_true(a >= 0);
	assert_int_equal(faccessat(root, "a/b/c", F_OK, 0), 0);
	again = path_mkdir_in_root(root, "/a/b/c", 0700);
	assert_true(again >= 0);
	assert_int_equal(fstat(a, &one), 0);
	assert_int_equal(fstat(again, &two), 0);
	assert_int_equal(one.st_ino, two.st_ino);
	assert_int_equal(symlinkat("/../../a", root, "l"), 0);
	through = path_mkdir_in_root(root, "l/d", 0700);
	assert_true(through >= 0);
	assert_int_equal(faccessat(root, "a/d", F_OK, 0), 0);
	assert_int_equal(symlinkat("/nowhere", root, "dangling"), 0);
	assert_true(path_mkdir_in_root(root, "dangling/x", 0700) < 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_parts),         T(test_ids),           T(test_clean),
		T(test_stays_in_root), T(test_mkdir_in_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
