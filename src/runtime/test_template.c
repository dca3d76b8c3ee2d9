/* SPDX-License-Identifier: Apache-2.0 */
/* The files of templates: what is written comes back, and whatever is wrong with them is noticed.
 */
#include "runtime/template.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/test.h"

#define KEY  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEY2 "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MIB  (1U << 20)
#define SIZE (64U * MIB)

static char dir[] = "/tmp/kata-template-XXXXXX";
static char *root;

static int setup(_unused_ void **state)
{
	memcpy(dir, "/tmp/kata-template-XXXXXX", sizeof(dir));
	if (!mkdtemp(dir))
		return -1;
	root = path_join(dir, "a/templates");
	return 0;
}

static int teardown(_unused_ void **state)
{
	free(root);
	return fs_remove_all(dir);
}

/* Memory with something in pages 0, 3 and the last one, and zeros that were written in page 5. */
static int guest_memory(void)
{
	static const char zeros[4096];
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(pwrite(fd, "first", 5, 0), 5);
	assert_int_equal(pwrite(fd, "third", 5, 3 * 4096 + 4091), 5);
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 5 * 4096), sizeof(zeros));
	assert_int_equal(pwrite(fd, "last", 4, SIZE - 4), 4);
	return fd;
}

static void check_memory(int fd)
{
	static const struct {
		off_t offset;
		const char *text;
	} parts[] = {{0, "first"}, {3 * 4096 + 4091, "third"}, {SIZE - 4, "last"}};
	uint8_t page[4096];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		char text[8] = "";

		assert_true(pread(fd, text, strlen(parts[i].text), parts[i].offset) > 0);
		assert_string_equal(text, parts[i].text);
	}
	assert_int_equal(pread(fd, page, sizeof(page), 5 * 4096), sizeof(page));
	for (size_t i = 0; i < sizeof(page); i++)
		assert_int_equal(page[i], 0);
}

static void publish(const char *key)
{
	_cleanup_(freep) char *folder = NULL;
	_cleanup_err_ struct err err = {0};
	_cleanup_(closep) int lock = template_lock(root, true, &err), memory = guest_memory();
	_cleanup_(closep) int state = -1;

	assert_true(lock >= 0);
	assert_int_equal(template_begin(root, &folder, &err), 0);
	state = template_create_state(folder, &err);
	assert_int_equal(write(state, "devices", 7), 7);
	if (template_write(folder, memory, SIZE, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(template_commit(root, folder, key, &err), 0);
}

static void test_round_trip(_unused_ void **state)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_(strv_fini) struct strv keys = {0};
	_cleanup_(closep) int clone = memfd_create("clone", MFD_CLOEXEC);
	_cleanup_err_ struct err err = {0};
	struct stat st;
	uint64_t copied;
	char text[8] = "";

	template_init(&t);
	assert_int_equal(template_open(root, KEY, &t, &err), -ENOENT);
	assert_int_equal(template_list(root, &keys, NULL), 0);
	assert_int_equal(keys.n, 0);
	publish(KEY);
	publish(KEY2);
	/* A second one of that key takes the place of the first. */
	publish(KEY);
	assert_int_equal(template_list(root, &keys, NULL), 0);
	assert_int_equal(keys.n, 2);
	err_clear(&err);
	if (template_open(root, KEY, &t, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_string_equal(t.key, KEY);
	assert_int_equal(t.memory_size, SIZE);
	/* Three pages, and none of the written zeros. */
	assert_int_equal(t.memory_used, 3 * 4096);
	assert_int_equal(t.state_size, 7);
	assert_int_equal(read(t.state_fd, text, sizeof(text)), 7);
	assert_string_equal(text, "devices");
	assert_int_equal(template_copy_memory(t.memory_fd, clone, SIZE, false, &copied), 0);
	assert_int_equal(copied, 3 * 4096);
	check_memory(clone);
	assert_int_equal(stat(root, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* What is open goes on, whoever removes it. */
	assert_int_equal(template_remove(root, KEY, NULL), 0);
	check_memory(t.memory_fd);
	assert_int_equal(template_open(root, KEY, &t, NULL), -ENOENT);
	assert_int_equal(template_remove(root, KEY, NULL), 0);
}

/* --- damage --- */

static char *file_of(const char *name)
{
	return xasprintf("%s/" KEY "/%s", root, name);
}

static void shorten_memory(void)
{
	_cleanup_(freep) char *path = file_of("memory");

	assert_int_equal(truncate(path, SIZE / 2), 0);
}

static void remove_memory(void)
{
	_cleanup_(freep) char *path = file_of("memory");

	unlink(path);
}

static void link_memory(void)
{
	_cleanup_(freep) char *path = file_of("memory");

	unlink(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
}

static void change_state(void)
{
	_cleanup_(freep) char *path = file_of("state");

	assert_int_equal(fs_replace(path, "Devices", 7, 0600, false), 0);
}

static void shorten_state(void)
{
	_cleanup_(freep) char *path = file_of("state");

	assert_int_equal(truncate(path, 6), 0);
}

static void grow_state(void)
{
	_cleanup_(freep) char *path = file_of("state");

	assert_int_equal(truncate(path, 1 << 30), 0);
}

static void empty_info(void)
{
	_cleanup_(freep) char *path = file_of("info");

	assert_int_equal(truncate(path, 0), 0);
}

static void foreign_info(void)
{
	static const char text[] = "kata-c template 2\nmemory 67108864\n";
	_cleanup_(freep) char *path = file_of("info");

	assert_int_equal(fs_replace(path, text, strlen(text), 0600, false), 0);
}

static void test_damage(_unused_ void **state)
{
	static const struct {
		void (*damage)(void);
		const char *text;
	} cases[] = {
		{shorten_memory, "has 33554432 bytes instead of 67108864"},
		{remove_memory, "no file \"memory\""},
		{link_memory, ""},
		{change_state, "state was changed"},
		{shorten_state, "state was changed"},
		{grow_state, "state was changed"},
		{empty_info, "info cannot be read"},
		{foreign_info, "info cannot be read"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(template_fini) struct template t;
		_cleanup_err_ struct err err = {0};
		int r;

		template_init(&t);
		publish(KEY);
		cases[i].damage();
		r = template_open(root, KEY, &t, &err);
		if (r >= 0 || !strstr(err_text(&err), cases[i].text))
			fail_msg("case %zu: %d: %s", i, r, err_text(&err));
		assert_true(t.memory_fd < 0 && t.state_fd < 0);
	}
}

/* One that was killed leaves its folder, which is nobody's template and goes with the next. */
static void test_unfinished(_unused_ void **state)
{
	_cleanup_(freep) char *folder = NULL, *next = NULL;
	_cleanup_(strv_fini) struct strv keys = {0};
	int lock = template_lock(root, true, NULL);
	_cleanup_err_ struct err err = {0};

	assert_true(lock >= 0);
	assert_int_equal(template_lock(root, true, &err), -EBUSY);
	assert_int_equal(template_begin(root, &folder, NULL), 0);
	fd_close(template_create_state(folder, NULL));
	assert_int_equal(template_list(root, &keys, NULL), 0);
	assert_int_equal(keys.n, 0);
	assert_int_equal(template_begin(root, &next, NULL), 0);
	assert_false(fs_exists(folder));
	assert_true(fs_exists(next));
	fd_close(lock);
	publish(KEY);
	assert_int_equal(template_remove(root, NULL, NULL), 0);
	assert_false(fs_exists(next));
}

/* A failure is remembered until it succeeds, or an hour has passed. */
static void test_failures(_unused_ void **state)
{
	_cleanup_(freep) char *path = xasprintf("%s/.failed-" KEY, root);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 0}};

	assert_false(template_has_failed(root, KEY));
	assert_int_equal(fs_mkdir_all(root, 0700), 0);
	template_note_failure(root, KEY);
	assert_true(template_has_failed(root, KEY));
	assert_false(template_has_failed(root, KEY2));
	times[1].tv_sec = time(NULL) - 3700;
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_false(template_has_failed(root, KEY));
	/* The clock was set back. */
	times[1].tv_sec = time(NULL) + 3700;
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_false(template_has_failed(root, KEY));
	template_note_failure(root, KEY);
	assert_true(template_has_failed(root, KEY));
	publish(KEY);
	assert_false(template_has_failed(root, KEY));
	template_note_failure(root, KEY2);
	assert_int_equal(template_remove(root, NULL, NULL), 0);
	assert_false(template_has_failed(root, KEY2));
}

static void test_no_room(_unused_ void **state)
{
	_cleanup_(freep) char *folder = NULL;
	_cleanup_(closep) int lock = -1, memory = guest_memory();
	_cleanup_err_ struct err err = {0};

	if (geteuid() != 0)
		skip_test("needs root");
	assert_int_equal(fs_mkdir_all(root, 0700), 0);
	assert_int_equal(mount("small", root, "tmpfs", 0, "size=8k,nr_inodes=100"), 0);
	lock = template_lock(root, true, NULL);
	assert_int_equal(template_begin(root, &folder, NULL), 0);
	fd_close(template_create_state(folder, NULL));
	assert_int_equal(template_write(folder, memory, SIZE, &err), -ENOSPC);
	assert_non_null(strstr(err_text(&err), "no room for the template's memory"));
	assert_non_null(strstr(err_text(&err), "template_path"));
	assert_int_equal(umount2(root, MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unfinished, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
