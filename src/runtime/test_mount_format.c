/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "runtime/mount_format.h"

static char *place_names[] = {(char *)"/l/0", (char *)"/l/1", (char *)"/l/2", (char *)"/l/3"};
static const struct strv places = {.v = place_names, .n = 4};

static int format(const char *type, const char *source, const char *option,
		  struct formatted_mount *ret, struct err *err)
{
	const char *options[] = {option};
	const struct rootfs_mount m = {
		.type = type, .source = source, .options = options, .n_options = 1};

	return mount_format(&m, &places, ret, err);
}

static void option_becomes(const char *option, const char *wanted)
{
	_cleanup_(formatted_mount_fini) struct formatted_mount m = {0};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(format("format/mkdir/overlay", "overlay", option, &m, &err), 0);
	assert_string_equal(m.type, "overlay");
	assert_string_equal(m.source, "overlay");
	assert_int_equal(m.options.n, 1);
	assert_string_equal(m.options.v[0], wanted);
	assert_int_equal(m.folders.n, 0);
}

static void options_(void **state)
{
	(void)state;
	option_becomes("rw", "rw");
	option_becomes("", "");
	option_becomes("upperdir={{ mount 0 }}/upper", "upperdir=/l/0/upper");
	option_becomes("lowerdir={{mount 3}}", "lowerdir=/l/3");
	option_becomes("lowerdir={{ overlay 1 3 }}", "lowerdir=/l/1:/l/2:/l/3");
	option_becomes("lowerdir={{ overlay 3 1 }}", "lowerdir=/l/3:/l/2:/l/1");
	option_becomes("lowerdir={{ overlay 2 2 }}", "lowerdir=/l/2");
	option_becomes("a={{ mount 0 }},b={{ mount 1 }}", "a=/l/0,b=/l/1");
	option_becomes("no }} end { here", "no }} end { here");
}

static void option_fails(const char *option, int wanted, const char *text)
{
	_cleanup_(formatted_mount_fini) struct formatted_mount m = {0};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(format("format/overlay", "overlay", option, &m, &err), wanted);
	if (!strstr(err_text(&err), text))
		fail_msg("%s", err_text(&err));
}

static void bad_options(void **state)
{
	(void)state;
	option_fails("{{ mount 4 }}", -EINVAL, "there is no mount 4 before it");
	option_fails("{{ overlay 3 4 }}", -EINVAL, "there is no mount 4 before it");
	option_fails("{{ overlay 4294967295 0 }}", -EINVAL, "there is no mount 4294967295");
	option_fails("{{ source 0 }}", -ENOSYS, "{{ source 0 }} is not supported");
	option_fails("{{ mount }}", -ENOSYS, "is not supported");
	option_fails("{{ mount 1 2 }}", -ENOSYS, "is not supported");
	option_fails("{{}}", -ENOSYS, "is not supported");
	option_fails("x{{ mount 0", -EINVAL, "braces that do not end");
	option_fails("{{                                                                   }}",
		     -EINVAL, "braces that do not end");
	option_fails("X-containerd.mkdir.path=/a:0700", -ENOSYS, "0700 is not supported");
	option_fails("X-containerd.mkdir.path=/a:0755:1:1", -ENOSYS, "is not supported");
}

static void folders(void **state)
{
	_cleanup_(formatted_mount_fini) struct formatted_mount m = {0};
	_cleanup_err_ struct err err = {0};

	(void)state;
	assert_int_equal(format("format/mkdir/bind", "{{ mount 0 }}/upper",
				"X-containerd.mkdir.path={{ mount 0 }}/upper:0755", &m, &err),
			 0);
	assert_string_equal(m.type, "bind");
	assert_string_equal(m.source, "/l/0/upper");
	assert_int_equal(m.options.n, 0);
	assert_int_equal(m.folders.n, 1);
	assert_string_equal(m.folders.v[0], "/l/0/upper");
}

static bool uses_host(const char *source, const char *option)
{
	const char *options[] = {"index=off", option};

	return mount_uses_host(&(struct rootfs_mount){
		.type = "format/overlay", .source = source, .options = options, .n_options = 2});
}

static void kinds(void **state)
{
	(void)state;
	assert_true(mount_has_format(&(struct rootfs_mount){.type = "format/overlay"}));
	assert_true(mount_has_format(&(struct rootfs_mount){.type = "mkdir/format/bind"}));
	assert_false(mount_has_format(&(struct rootfs_mount){.type = "overlay"}));
	assert_false(mount_has_format(&(struct rootfs_mount){.type = "formats"}));
	assert_true(uses_host("overlay", "upperdir=/var/lib/x"));
	assert_true(uses_host("/var/lib/x", "ro"));
	assert_false(uses_host("overlay", "upperdir={{ mount 0 }}/upper"));
	assert_false(uses_host("{{ mount 0 }}/upper", "rbind"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(folders),
		cmocka_unit_test(kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
