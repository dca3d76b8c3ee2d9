/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"

static char top[] = "/tmp/test-fs-XXXXXX";

static int setup(_unused_ void **state)
{
	strcpy(top + strlen(top) - 6, "XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int teardown(_unused_ void **state)
{
	return fs_remove_all(top);
}

static char *at(const char *name)
{
	return path_join(top, name);
}

static void test_read(_unused_ void **state)
{
	_cleanup_(freep) char *path = at("f"), *text = NULL, *proc = NULL;
	size_t n = 77;

	assert_int_equal(fs_read(path, 10, &text, &n), -ENOENT);
	assert_null(text);
	assert_int_equal(fs_replace(path, "0123456789", 10, 0600, false), 0);
	assert_int_equal(fs_read(path, 9, &text, &n), -EFBIG);
	assert_int_equal(n, 77);
	assert_int_equal(fs_read(path, 10, &text, &n), 0);
	assert_int_equal(n, 10);
	assert_string_equal(text, "0123456789");
	/* No size is known beforehand. */
	assert_int_equal(fs_read("/proc/self/status", 1 << 20, &proc, NULL), 0);
	assert_non_null(strstr(proc, "Pid:"));
	assert_int_equal(fs_read(top, 10, &text, &n), -EISDIR);
}

static void test_large_file(_unused_ void **state)
{
	_cleanup_(freep) char *path = at("large"), *text = NULL;
	size_t size = 300000, n;
	_cleanup_(freep) char *data = malloc(size);

	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 7);
	assert_int_equal(fs_replace(path, data, size, 0600, true), 0);
	assert_int_equal(fs_read(path, size, &text, &n), 0);
	assert_int_equal(n, size);
	assert_memory_equal(text, data, size);
}

static void test_replace(_unused_ void **state)
{
	_cleanup_(freep) char *path = at("f"), *missing = at("no/f"), *text = NULL;
	struct stat st;

	assert_int_equal(fs_replace(path, "old", 3, 0600, false), 0);
	assert_int_equal(fs_replace(path, "new!", 4, 0640, false), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(fs_read(path, 100, &text, NULL), 0);
	assert_string_equal(text, "new!");
	assert_int_equal(fs_replace(missing, "x", 1, 0600, false), -ENOENT);
	/* A folder in the way: the temporary file does not stay behind. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(fs_replace(path, "x", 1, 0600, false), -EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(top), 0);
	assert_int_equal(mkdir(top, 0700), 0);
}

static void test_write(_unused_ void **state)
{
	_cleanup_(freep) char *path = at("f"), *text = NULL;

	assert_int_equal(fs_write(path, "x"), -ENOENT); /* never creates */
	assert_int_equal(fs_replace(path, "abc", 3, 0600, false), 0);
	assert_int_equal(fs_write(path, "z"), 0);
	assert_int_equal(fs_read(path, 100, &text, NULL), 0);
	assert_string_equal(text, "zbc");
}

static void test_mkdir_all(_unused_ void **state)
{
	_cleanup_(freep) char *deep = at("a/b//c/"), *file = at("a/f"), *below = at("a/f/g");

	assert_int_equal(fs_mkdir_all(deep, 0700), 0);
	assert_int_equal(fs_mkdir_all(deep, 0700), 0);
	assert_true(fs_exists(deep));
	assert_int_equal(fs_replace(file, "", 0, 0600, false), 0);
	assert_int_equal(fs_mkdir_all(file, 0700), -ENOTDIR);
	assert_int_equal(fs_mkdir_all(below, 0700), -ENOTDIR);
	assert_int_equal(fs_mkdir_all("", 0700), -ENOENT);
}

static void test_remove_all(_unused_ void **state)
{
	_cleanup_(freep) char *tree = at("t"), *deep = at("t/a/b"), *file = at("t/a/f"),
			      *link = at("t/a/l"), *keep = at("keep"), *kept = at("keep/f"),
			      *outer = at("outer");

	assert_int_equal(fs_mkdir_all(deep, 0700), 0);
	assert_int_equal(fs_mkdir_all(keep, 0700), 0);
	assert_int_equal(fs_replace(file, "", 0, 0600, false), 0);
	assert_int_equal(fs_replace(kept, "", 0, 0600, false), 0);
	assert_int_equal(symlink(keep, link), 0);
	assert_int_equal(fs_remove_all(tree), 0);
	assert_false(fs_exists(tree));
	assert_true(fs_exists(kept)); /* never through a link */
	assert_int_equal(fs_remove_all(tree), 0);
	assert_int_equal(symlink(keep, outer), 0);
	assert_int_equal(fs_remove_all(outer), 0);
	assert_true(fs_exists(kept));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_read),  T(test_large_file), T(test_replace),
		T(test_write), T(test_mkdir_all),  T(test_remove_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
