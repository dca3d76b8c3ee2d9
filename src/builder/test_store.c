/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"
#include "builder/store.h"

static char base[] = "/tmp/kata-test-store-XXXXXX";

static char *read_in(const char *dir, const char *name)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	char *text = NULL;

	return fs_read(path, 100, &text, NULL) < 0 ? NULL : text;
}

/* A generation with a kernel and an initrd of this text. */
static void make_generation(struct store *s, const char *name, const char *text)
{
	_cleanup_(freep) char *building = NULL;

	assert_int_equal(store_begin(s, &building, NULL), 0);
	assert_int_equal(store_write(building, STORE_KERNEL, text, strlen(text), NULL), 0);
	assert_int_equal(store_write(building, STORE_INITRD, text, strlen(text), NULL), 0);
	assert_int_equal(store_write(building, MANIFEST_FILE, "", 0, NULL), 0);
	assert_int_equal(store_commit(s, building, name, NULL), 0);
}

static void test_generations(_unused_ void **state)
{
	_cleanup_(freep) char *dir = path_join(base, "deep/images"), *link = NULL;
	_cleanup_(freep) char *leftover = path_join(dir, ".build-crash");
	_cleanup_(freep) char *foreign = path_join(dir, "foreign");
	_cleanup_(store_fini) struct store s = {.lock = -1}, look = {.lock = -1};

	assert_int_equal(store_open(dir, &s, NULL), 0);
	assert_null(s.current);
	assert_false(fs_exists(dir));
	assert_int_equal(fs_mkdir_all(leftover, 0755), 0);
	assert_int_equal(fs_mkdir_all(foreign, 0755), 0);
	assert_int_equal(store_lock(&s, NULL), 0);
	assert_false(fs_exists(leftover));

	for (int i = 1; i <= 4; i++) {
		_cleanup_(freep) char *name = xasprintf("gen-%d", i), *kernel = NULL;
		_cleanup_(freep) char *initrd = NULL, *text = xasprintf("%d", i);

		make_generation(&s, name, text);
		kernel = read_in(dir, STORE_KERNEL);
		initrd = read_in(dir, STORE_INITRD);
		assert_string_equal(kernel, text);
		assert_string_equal(initrd, text);
	}
	/* The current one and the one before stay; what is not ours stays too. */
	link = path_join(dir, "gen-4");
	assert_string_equal(s.current, link);
	for (int i = 1; i <= 4; i++) {
		_cleanup_(freep) char *gen = xasprintf("%s/gen-%d", dir, i);

		assert_int_equal(fs_exists(gen), i >= 3);
	}
	assert_true(fs_exists(foreign));
	assert_int_equal(store_open(dir, &look, NULL), 0);
	assert_string_equal(look.current, s.current);
}

/* The same name again: replaced as a whole; a file that is not there any more loses its link. */
static void test_replace(_unused_ void **state)
{
	_cleanup_(freep) char *dir = path_join(base, "again"), *building = NULL, *initrd = NULL;
	_cleanup_(freep) char *kernel = NULL, *link = path_join(dir, STORE_INITRD);
	_cleanup_(store_fini) struct store s = {.lock = -1};
	struct stat st;

	assert_int_equal(store_open(dir, &s, NULL), 0);
	assert_int_equal(store_lock(&s, NULL), 0);
	make_generation(&s, "gen", "old");
	assert_int_equal(store_begin(&s, &building, NULL), 0);
	assert_int_equal(store_link(&s, building, STORE_KERNEL), 0);
	assert_int_equal(store_link(&s, building, "absent"), -ENOENT);
	assert_int_equal(store_commit(&s, building, "gen", NULL), 0);
	kernel = read_in(dir, STORE_KERNEL);
	assert_string_equal(kernel, "old");
	assert_int_equal(lstat(link, &st), -1);
}

static void test_hostile_current(_unused_ void **state)
{
	static const char *const targets[] = {"/etc", "../x", "a/b", ".", ".hidden"};
	_cleanup_(freep) char *link = path_join(base, "current");

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		_cleanup_(store_fini) struct store s = {.lock = -1};

		assert_int_equal(symlink(targets[i], link), 0);
		assert_int_equal(store_open(base, &s, NULL), 0);
		assert_null(s.current);
		assert_int_equal(unlink(link), 0);
	}
}

static void test_errors(_unused_ void **state)
{
	_cleanup_(freep) char *file = path_join(base, "file"), *below = path_join(file, "dir");
	_cleanup_(store_fini) struct store s = {.lock = -1};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(store_open("relative", &s, &err), 0);
	assert_int_equal(s.dir[0], '/');
	assert_true(str_has_suffix(s.dir, "/relative"));
	store_fini(&s);
	assert_int_equal(fs_replace(file, "", 0, 0644, false), 0);
	assert_int_equal(store_open(below, &s, NULL), 0);
	assert_int_equal(store_lock(&s, &err), -ENOTDIR);
	assert_non_null(strstr(err_text(&err), below));
	assert_int_equal(store_write("/dev/null/x", "name", "", 0, NULL), -ENOTDIR);
}

static int make_base(_unused_ void **state)
{
	return mkdtemp(base) ? 0 : -1;
}

static int remove_base(_unused_ void **state)
{
	return fs_remove_all(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generations),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_hostile_current),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, make_base, remove_base);
}
