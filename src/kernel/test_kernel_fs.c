/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/kernel_fs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/test.h"
#include "kernel/mount.h"

/* The two ways to find one agree about all that is mounted here. */
static void both_ways(void **state)
{
	struct mountinfo *mounts;
	size_t n, kernels = 0;

	(void)state;
	assert_int_equal(mountinfo_read(0, &mounts, &n), 0);
	for (size_t i = n; i-- > 0;) {
		const char *name;
		struct statfs fs;
		struct statx st;

		/* Another may cover it. */
		if (!kernel_fs_is(mounts[i].fstype) || !strcmp(mounts[i].fstype, "devtmpfs") ||
		    statx(AT_FDCWD, mounts[i].point, 0, STATX_MNT_ID, &st) < 0 ||
		    st.stx_mnt_id != mounts[i].id)
			continue;
		assert_int_equal(statfs(mounts[i].point, &fs), 0);
		name = kernel_fs_name(&fs);
		if (!name || strcmp(name, mounts[i].fstype) != 0)
			fail_msg("%s: %s, not %s", mounts[i].point, name, mounts[i].fstype);
		kernels++;
	}
	mountinfo_free(mounts, n);
	assert_true(kernels >= 2);
}

static void files(void **state)
{
	struct statfs fs;

	(void)state;
	assert_int_equal(statfs("/usr", &fs), 0);
	assert_null(kernel_fs_name(&fs));
	assert_int_equal(statfs("/proc/self/status", &fs), 0);
	assert_string_equal(kernel_fs_name(&fs), "proc");
	assert_true(kernel_fs_is("devtmpfs"));
	assert_false(kernel_fs_is("tmpfs"));
	assert_false(kernel_fs_is("ext4"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
