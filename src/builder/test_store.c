/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
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

static bool has(const char *dir, const char *name)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	struct stat st;

	return lstat(path, &st) == 0;
}

/* The same name again is another folder, and the one before stays; a file that is not there any
 * more loses its link. */
static void replace(const char *dir)
{
	_cleanup_(freep) char *building = NULL, *kernel = NULL, *third = path_join(dir, "gen.3");
	_cleanup_(store_fini) struct store s = {.lock = -1};

	assert_int_equal(store_open(dir, &s, NULL), 0);
	assert_int_equal(store_lock(&s, NULL), 0);
	make_generation(&s, "gen", "old");
	assert_true(has(dir, "gen.2") && has(dir, STORE_INITRD));
	assert_int_equal(store_begin(&s, &building, NULL), 0);
	assert_int_equal(store_link(&s, building, STORE_KERNEL), 0);
	assert_int_equal(store_link(&s, building, "absent"), -ENOENT);
	assert_int_equal(store_write(building, MANIFEST_FILE, "", 0, NULL), 0);
	assert_int_equal(store_commit(&s, building, "gen", NULL), 0);
	assert_string_equal(s.current, third);
	kernel = read_in(dir, STORE_KERNEL);
	assert_string_equal(kernel, "old");
	assert_true(has(dir, "gen.2") && !has(dir, "gen") && !has(dir, STORE_INITRD));
	make_generation(&s, "gen", "new");
	assert_true(has(dir, "gen") && has(dir, "gen.3") && !has(dir, "gen.2"));
}

/* An image that was there before. */
static void make_first(const char *dir)
{
	_cleanup_(store_fini) struct store s = {.lock = -1};

	assert_int_equal(store_open(dir, &s, NULL), 0);
	assert_int_equal(store_lock(&s, NULL), 0);
	make_generation(&s, "gen", "first");
}

static void test_replace(_unused_ void **state)
{
	_cleanup_(freep) char *dir = path_join(base, "again");

	make_first(dir);
	replace(dir);
}

/* On an overlay that can neither rename nor exchange the folders of its lower layer. */
static void test_replace_in_overlay(_unused_ void **state)
{
	_cleanup_(freep) char *layers = path_join(base, "layers"), *dir = path_join(base, "merged");
	_cleanup_(freep) char *lower = path_join(layers, "lower"),
			      *upper = path_join(layers, "upper");
	_cleanup_(freep) char *work = path_join(layers, "work"), *options = NULL;

	options = xasprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=off", lower, upper,
			    work);
	assert_int_equal(fs_mkdir_all(layers, 0755), 0);
	assert_int_equal(fs_mkdir_all(dir, 0755), 0);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		skip_test("needs root");
	assert_int_equal(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", layers, "tmpfs", 0, NULL), 0);
	assert_int_equal(fs_mkdir_all(upper, 0755), 0);
	assert_int_equal(fs_mkdir_all(work, 0755), 0);
	make_first(lower);
	assert_int_equal(mount("overlay", dir, "overlay", 0, options), 0);
	replace(dir);
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
	assert_int_equal(umount2(layers, MNT_DETACH), 0);
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
		cmocka_unit_test(test_replace_in_overlay),
		cmocka_unit_test(test_hostile_current),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, make_base, remove_base);
}
