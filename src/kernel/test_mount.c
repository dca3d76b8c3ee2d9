/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"

static void later_options_win(void **state)
{
	char *options[] = {"ro", "nosuid", "rbind", "rw", "rprivate", "size=1m", "", "mode=755"};
	struct mount_options o;

	(void)state;
	assert_int_equal(mount_options_parse(options, 8, &o), 0);
	assert_int_equal(o.flags, MS_NOSUID | MS_BIND | MS_REC);
	assert_int_equal(o.cleared, MS_RDONLY);
	assert_int_equal(o.propagation, MS_PRIVATE | MS_REC);
	assert_int_equal(o.data.n, 2);
	assert_string_equal(o.data.v[1], "mode=755");
	mount_options_fini(&o);
}

static void recursive_options(void **state)
{
	char *options[] = {"rro", "rnosuid", "rrw", "tmpcopyup"};
	struct mount_options o;

	(void)state;
	assert_int_equal(mount_options_parse(options, 4, &o), 0);
	assert_int_equal(o.recursive_set, MOUNT_ATTR_NOSUID);
	assert_int_equal(o.recursive_clear, MOUNT_ATTR_RDONLY);
	assert_true(o.tmpcopyup);
	assert_int_equal(o.flags, 0);
	mount_options_fini(&o);
}

static void what_cannot_be_enforced_is_refused(void **state)
{
	char *idmap[] = {"ro", "idmap"}, *many[64];
	char big[128];
	struct mount_options o;

	(void)state;
	assert_int_equal(mount_options_parse(idmap, 2, &o), -EOPNOTSUPP);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (size_t i = 0; i < 64; i++)
		many[i] = big;
	assert_int_equal(mount_options_parse(many, 64, &o), -E2BIG);
}

static void mountinfo_is_read(void **state)
{
	char text[] = "36 35 98:0 /mnt1 /a\\040b rw,noatime shared:1 master:2 - ext4 /dev/root rw\n"
		      "37 36 0:5 / /proc rw - proc proc rw\n";
	struct mountinfo *mounts;
	size_t n;

	(void)state;
	assert_int_equal(mountinfo_parse(text, &mounts, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(mounts[0].point, "/a b");
	assert_string_equal(mounts[0].fstype, "ext4");
	assert_int_equal(mounts[1].parent, 36);
	assert_string_equal(mounts[1].source, "proc");
	mountinfo_free(mounts, n);
}

static void bad_mountinfo_is_refused(void **state)
{
	static const char *const bad[] = {"x", "1 2 3:4 / /p rw", "1 2 3:4 / /p rw - ext4",
					  "a 2 3:4 / /p rw - ext4 src rw", "1 2 3:4 - x"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[128];
		struct mountinfo *mounts;
		size_t n;

		strcpy(text, bad[i]);
		assert_int_equal(mountinfo_parse(text, &mounts, &n), -EBADMSG);
	}
}

static void the_root_is_a_mount_point(void **state)
{
	(void)state;
	assert_int_equal(mount_is_point("/"), 1);
	assert_int_equal(mount_is_point("/no such folder"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(later_options_win),
		cmocka_unit_test(recursive_options),
		cmocka_unit_test(what_cannot_be_enforced_is_refused),
		cmocka_unit_test(mountinfo_is_read),
		cmocka_unit_test(bad_mountinfo_is_refused),
		cmocka_unit_test(the_root_is_a_mount_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
