/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/test.h"

static struct ns_mapping shift = {0, 65536, 65536};
static const struct ns_maps maps = {.uids = &shift, .gids = &shift, .n_uids = 1, .n_gids = 1};

static int new_tree(const char *type)
{
	_cleanup_(closep) int fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

static void shifts(_unused_ void **state)
{
	_cleanup_(closep) int tree = -1;
	_cleanup_(closep) int user = -1;
	struct stat st;

	if (getuid() || !idmap_supported())
		skip_test("needs root and Linux 6.3");
	tree = new_tree("tmpfs");
	user = ns_open_new_user(&maps);
	assert_true(tree >= 0 && user >= 0);
	assert_int_equal(idmap_tree(tree, user, false), 0);
	assert_int_equal(fstat(tree, &st), 0);
	assert_int_equal(st.st_uid, 65536);
	assert_int_equal(st.st_gid, 65536);
	/* Our own id has no place in it. */
	assert_int_equal(mkdirat(tree, "x", 0755), -1);
	assert_int_equal(errno, EOVERFLOW);
	assert_int_equal(idmap_tree(tree, user, false), -EPERM);
}

static void refuses(_unused_ void **state)
{
	_cleanup_(closep) int tree = -1;
	_cleanup_(closep) int user = -1;

	if (getuid() || !idmap_supported())
		skip_test("needs root and Linux 6.3");
	tree = new_tree("proc");
	user = ns_open_new_user(&maps);
	assert_true(tree >= 0 && user >= 0);
	assert_int_equal(idmap_tree(tree, user, false), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shifts),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
