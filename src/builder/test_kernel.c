/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"
#include "builder/kernel.h"

static char root[] = "/tmp/kata-test-kernel-XXXXXX";

static char *add_file(const char *path, const void *data, size_t n)
{
	char *full = path_join(root, path);
	_cleanup_(freep) char *dir = path_dir(full);

	assert_int_equal(fs_mkdir_all(dir, 0755), 0);
	assert_int_equal(fs_replace(full, data, n, 0644, false), 0);
	return full;
}

static void add_kernel(const char *pattern_dir, const char *name, const char *release)
{
	_cleanup_(freep) char *file = xasprintf("%s/%s", pattern_dir, name);
	_cleanup_(freep) char *index = xasprintf("lib/modules/%s/modules.dep.bin", release);

	free(add_file(file, "k", 1));
	free(add_file(index, "", 0));
}

static void test_find(_unused_ void **state)
{
	struct kernel k = {0};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(kernel_find(root, "6.9.9-host", &k, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "6.9.9-host"));
	assert_non_null(strstr(err_text(&err), "apt-get install linux-image-cloud-amd64"));
	/* A file without its modules is of no use. */
	free(add_file("boot/vmlinuz-9.9.9", "k", 1));
	add_kernel("boot", "vmlinuz-6.1.0-9-amd64", "6.1.0-9-amd64");
	add_kernel("lib/modules/6.1.0-10-amd64", "vmlinuz", "6.1.0-10-amd64");
	err_clear(&err);
	assert_int_equal(kernel_find(root, "6.9.9-host", &k, &err), 0);
	assert_string_equal(k.release, "6.1.0-10-amd64");
	assert_non_null(strstr(k.note, "6.9.9-host"));
	assert_non_null(strstr(k.note, "6.1.0-10-amd64"));
	assert_non_null(strstr(k.path, "/lib/modules/6.1.0-10-amd64/vmlinuz"));
	kernel_fini(&k);
	/* The running one wins over a newer one, and there is nothing to say. */
	assert_int_equal(kernel_find(root, "6.1.0-9-amd64", &k, &err), 0);
	assert_string_equal(k.release, "6.1.0-9-amd64");
	assert_null(k.note);
	kernel_fini(&k);
}

static void test_use(_unused_ void **state)
{
	uint8_t image[2048] = {[0x1f1] = 1, [0x206] = 0x0f, [0x207] = 0x02, [0x20e] = 0x80};
	_cleanup_(freep) char *path = NULL, *other = NULL;
	struct kernel k = {0};
	_cleanup_err_ struct err err = {0};

	memcpy(image + 0x202, "HdrS", 4);
	memcpy(image + 0x280, "5.4.3-mine (x)", 15);
	image[0x24c] = 4;
	path = add_file("image", image, sizeof(image));
	assert_int_equal(kernel_use(path, NULL, &k, &err), 0);
	assert_string_equal(k.release, "5.4.3-mine");
	assert_string_equal(k.modules_dir, "/lib/modules/5.4.3-mine");
	kernel_fini(&k);
	assert_int_equal(kernel_use("/nonexistent/k", NULL, &k, &err), -ENOENT);
	assert_string_equal(err_text(&err), "kernel /nonexistent/k: No such file or directory");
	/* A release that would lead out of /lib/modules. */
	memcpy(image + 0x280, "../../etc/x (x)", 16);
	other = add_file("hostile", image, sizeof(image));
	assert_int_equal(kernel_use(other, NULL, &k, &err), -EINVAL);
	assert_int_equal(kernel_use(other, "/lib/modules/5.5", &k, &err), 0);
	assert_string_equal(k.release, "5.5");
	kernel_fini(&k);
}

/* What cannot be extracted is given to QEMU as it is; what is no kernel is refused. */
static void test_extract(_unused_ void **state)
{
	uint8_t image[2048] = {[0x1f1] = 1, [0x206] = 0x0f, [0x207] = 0x02};
	_cleanup_(freep) char *path = NULL, *text = NULL, *empty = NULL, *damaged = NULL;
	_cleanup_(kernel_image_fini) struct kernel_image result = {0};
	_cleanup_err_ struct err err = {0};

	memcpy(image + 0x202, "HdrS", 4);
	image[0x24c] = 16;
	memcpy(image + 1024, "BZh9", 4);
	path = add_file("image", image, sizeof(image));
	assert_int_equal(kernel_extract(path, &result, &err), 0);
	assert_false(result.pvh);
	assert_non_null(result.kept_why);
	assert_int_equal(result.data.len, sizeof(image));
	assert_memory_equal(result.data.data, image, sizeof(image));

	text = add_file("text", "no kernel", 9);
	assert_int_equal(kernel_extract(text, &result, &err), -ENOEXEC);
	assert_non_null(strstr(err_text(&err), text));
	empty = add_file("empty", "", 0);
	assert_int_equal(kernel_extract(empty, &result, &err), -ENOEXEC);
	assert_int_equal(kernel_extract(root, &result, &err), -ENOEXEC);
	assert_int_equal(kernel_extract("/nonexistent", &result, &err), -ENOENT);
	image[0x24f] = 0xff;
	damaged = add_file("damaged", image, sizeof(image));
	assert_int_equal(kernel_extract(damaged, &result, &err), -EBADMSG);
}

static int make_root(_unused_ void **state)
{
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(_unused_ void **state)
{
	return fs_remove_all(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_use),
		cmocka_unit_test(test_extract),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
