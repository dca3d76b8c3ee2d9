/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "builder/cpio.h"

static void make_tree(struct tree *t)
{
	tree_add_file(t, "/z/deep/file", 0644, xstrdup("hello"), 5);
	tree_add_symlink(t, "bin/sh", "busybox");
	tree_add_device(t, "dev/console", S_IFCHR | 0600, 5, 1);
	tree_add_dir(t, "tmp", 01777);
	tree_add_file(t, "empty", 0600, NULL, 0);
	tree_sort(t);
}

struct record {
	const char *name, *data;
	unsigned mode, size, links, rdev_major, rdev_minor, mtime;
};

/* Reads one record the way the kernel does; returns what follows. */
static const char *read_record(const char *start, const char *p, struct record *ret)
{
	unsigned f[13];

	assert_memory_equal(p, "070701", 6);
	for (int i = 0; i < 13; i++)
		assert_int_equal(sscanf(p + 6 + 8 * i, "%8x", &f[i]), 1);
	*ret = (struct record){.name = p + 110,
			       .mode = f[1],
			       .links = f[4],
			       .mtime = f[5],
			       .size = f[6],
			       .rdev_major = f[9],
			       .rdev_minor = f[10]};
	assert_int_equal(f[2] | f[3], 0);
	assert_int_equal(strlen(ret->name) + 1, f[11]);
	p += (110 + f[11] + (size_t)(p - start) % 4 + 3) & ~(size_t)3;
	ret->data = p;
	return p + ((f[6] + 3) & ~3U);
}

static void test_records(_unused_ void **state)
{
	static const struct {
		const char *name;
		unsigned mode;
		const char *data;
	} expected[] = {
		{"bin", S_IFDIR | 0755, ""},
		{"bin/sh", S_IFLNK | 0777, "busybox"},
		{"dev", S_IFDIR | 0755, ""},
		{"dev/console", S_IFCHR | 0600, ""},
		{"empty", S_IFREG | 0600, ""},
		{"tmp", S_IFDIR | 01777, ""},
		{"z", S_IFDIR | 0755, ""},
		{"z/deep", S_IFDIR | 0755, ""},
		{"z/deep/file", S_IFREG | 0644, "hello"},
		{"TRAILER!!!", 0, ""},
	};
	_cleanup_(tree_fini) struct tree t = {0};
	_cleanup_(buf_fini) struct buf out = {0};
	const char *p;

	make_tree(&t);
	assert_int_equal(cpio_encode(&t, 77, &out), 0);
	assert_int_equal(out.len % 512, 0);
	p = out.data;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		struct record r;

		p = read_record(out.data, p, &r);
		assert_string_equal(r.name, expected[i].name);
		assert_int_equal(r.mode, expected[i].mode);
		assert_int_equal(r.size, strlen(expected[i].data));
		assert_memory_equal(r.data, expected[i].data, r.size);
		assert_int_equal(r.mtime, i + 1 < ARRAY_SIZE(expected) ? 77 : 0);
		assert_int_equal(r.rdev_major, strcmp(r.name, "dev/console") ? 0 : 5);
		assert_int_equal(r.rdev_minor, strcmp(r.name, "dev/console") ? 0 : 1);
	}
	assert_true(p <= out.data + out.len);
}

/* The order of additions does not matter, and a second addition replaces the first. */
static void test_same_bytes(_unused_ void **state)
{
	_cleanup_(tree_fini) struct tree a = {0}, b = {0};
	_cleanup_(buf_fini) struct buf out_a = {0}, out_b = {0};

	make_tree(&a);
	tree_add_dir(&b, "tmp", 0700);
	tree_add_file(&b, "empty", 0600, NULL, 0);
	tree_add_file(&b, "z/deep/file", 0600, xstrdup("other"), 5);
	make_tree(&b);
	assert_int_equal(cpio_encode(&a, 0, &out_a), 0);
	assert_int_equal(cpio_encode(&b, 0, &out_b), 0);
	assert_int_equal(out_a.len, out_b.len);
	assert_memory_equal(out_a.data, out_b.data, out_a.len);
}

static void test_limits(_unused_ void **state)
{
	_cleanup_(tree_fini) struct tree t = {0};
	_cleanup_(buf_fini) struct buf out = {0};

	assert_int_equal(cpio_encode(&t, -1, &out), -EFBIG);
	assert_int_equal(cpio_encode(&t, 1LL << 32, &out), -EFBIG);
	assert_int_equal(cpio_encode(&t, UINT32_MAX, &out), 0);
	tree_add_file(&t, "huge", 0600, NULL, 0);
	t.nodes[0].len = 1ULL << 32;
	assert_int_equal(cpio_encode(&t, 0, &out), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
