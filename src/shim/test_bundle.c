/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"
#include "shim/address.h"
#include "shim/bundle.h"

static int group(const char *annotations, struct bundle_group *ret, struct err *err)
{
	_cleanup_(freep) char *text = xasprintf(
		"{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"args\":[\"x\"],"
		"\"user\":{\"uid\":0,\"gid\":0}},\"root\":{\"path\":\"rootfs\"},"
		"\"annotations\":{%s},\"linux\":{}}",
		annotations);

	return bundle_group_parse(text, strlen(text), "c1", ret, err);
}

static void test_group(_unused_ void **state)
{
	static const struct {
		const char *annotations, *sandbox;
		bool member;
	} cases[] = {
		{"", "c1", false},
		{"\"a\":\"b\"", "c1", false},
		{"\"io.kubernetes.cri.container-type\":\"sandbox\","
		 "\"io.kubernetes.cri.sandbox-id\":\"c1\"",
		 "c1", false},
		{"\"io.kubernetes.cri.container-type\":\"container\","
		 "\"io.kubernetes.cri.sandbox-id\":\"pod\"",
		 "pod", true},
		{"\"io.kubernetes.cri-o.ContainerType\":\"container\","
		 "\"io.kubernetes.cri-o.SandboxID\":\"pod\"",
		 "pod", true},
	};
	_cleanup_(bundle_group_fini) struct bundle_group g = {0};
	_cleanup_err_ struct err err = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(group(cases[i].annotations, &g, NULL), 0);
		assert_string_equal(g.sandbox, cases[i].sandbox);
		assert_int_equal(g.member, cases[i].member);
		bundle_group_fini(&g);
	}
	assert_true(group("\"io.kubernetes.cri.container-type\":\"container\","
			  "\"io.kubernetes.cri.sandbox-id\":\"../../etc\"",
			  &g, &err) < 0);
	assert_null(g.sandbox);
	err_clear(&err);
	assert_true(group("\"io.kubernetes.cri.container-type\":\"container\"", &g, &err) < 0);
}

static void test_files(_unused_ void **state)
{
	_cleanup_(bundle_group_fini) struct bundle_group g = {0};
	_cleanup_(freep) char *path = NULL, *text = NULL;
	_cleanup_err_ struct err err = {0};
	char dir[] = "/tmp/test-bundle-XXXXXX";

	assert_non_null(mkdtemp(dir));
	/* No config.json: a sandbox of containerd's sandbox API. */
	assert_int_equal(bundle_group(dir, "c1", &g, NULL), 0);
	assert_string_equal(g.sandbox, "c1");
	assert_false(g.member);
	bundle_group_fini(&g);
	assert_int_equal(bundle_write(dir, "config.json", "[", NULL), 0);
	assert_true(bundle_group(dir, "c1", &g, &err) < 0);
	assert_non_null(strstr(err_text(&err), dir));
	err_clear(&err);

	path = path_join(dir, "address");
	assert_int_equal(bundle_write(dir, "address", "unix:///a", NULL), 0);
	assert_int_equal(bundle_write(dir, "address", "unix:///b", NULL), 0);
	assert_int_equal(fs_read(path, 100, &text, NULL), 0);
	assert_string_equal(text, "unix:///b");
	assert_int_equal(bundle_write("/no/such/folder", "address", "x", &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "/no/such/folder/address"));
	assert_int_equal(fs_remove_all(dir), 0);
}

/* Processes that are no shim: none, garbage, this very one, nobody. */
static void test_processes(_unused_ void **state)
{
	char dir[] = "/tmp/test-bundle-XXXXXX", pid[16];
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t found = 0;

	if (self < 0 && errno == ENOSYS)
		skip_test("valgrind does not know pidfd_open");
	assert_true(self >= 0);
	close(self);
	snprintf(pid, sizeof(pid), "%d", getpid());
	assert_non_null(mkdtemp(dir));
	assert_int_equal(bundle_pidfd(dir, "c1", &found), -ENOENT);
	assert_int_equal(bundle_write(dir, "shim.pid", "12x", NULL), 0);
	assert_int_equal(bundle_pidfd(dir, "c1", &found), -EINVAL);
	assert_int_equal(bundle_write(dir, "shim.pid", "1", NULL), 0);
	assert_int_equal(bundle_pidfd(dir, "c1", &found), -EINVAL);
	assert_int_equal(bundle_write(dir, "shim.pid", pid, NULL), 0);
	assert_int_equal(bundle_pidfd(dir, "c1", &found), -ESRCH);
	assert_int_equal(bundle_write(dir, "shim.pid", "4294967295", NULL), 0);
	assert_int_equal(bundle_pidfd(dir, "c1", &found), -EINVAL);
	assert_int_equal(fs_remove_all(dir), 0);
}

static void test_address(_unused_ void **state)
{
	_cleanup_(freep) char *a = address_path("", "/run/c.sock", "default", "id");
	_cleanup_(freep) char *b = address_path("", "/run/c.sock", "k8s.io", "id");
	_cleanup_(freep) char *c = address_path("/tmp", "/run/c.sock", "default", "id");
	_cleanup_(freep) char *path = xasprintf("/tmp/test-address-%d", getpid()), *deep = NULL;
	_cleanup_err_ struct err err = {0};
	int fd;

	/* printf /run/c.sock/default/id | sha256sum */
	assert_string_equal(a, "/run/containerd/s/"
			       "49a7a7e8b1479fd9e0409fe371c10dfcb02e7d1220ba6c91a9fa8cb01a6fc19e");
	assert_string_not_equal(a, b);
	assert_string_equal(path_name(a), path_name(c));

	fd = address_listen(path, NULL);
	assert_true(fd >= 0);
	assert_true(address_is_served(path));
	assert_int_equal(address_listen(path, &err), -EADDRINUSE);
	err_clear(&err);
	close(fd);
	/* Nobody is there any more: the socket is taken over. */
	assert_false(address_is_served(path));
	fd = address_listen(path, NULL);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	deep = xasprintf("/tmp/%0120d", 0);
	assert_int_equal(address_listen(deep, &err), -ENAMETOOLONG);
}

/* What is served, or another's, stays. */
static void test_address_sweep(_unused_ void **state)
{
	char dir[] = "/tmp/test-address-XXXXXX";
	_cleanup_(freep) char *ours = NULL, *served = NULL, *other = NULL, *file = NULL;
	int fd;

	assert_non_null(mkdtemp(dir));
	ours = address_path(dir, "/run/c.sock", "default", "dead");
	served = address_path(dir, "/run/c.sock", "default", "lives");
	other = address_path(dir, "/run/c.sock", "default", "runc's");
	file = path_join(dir, "0123");
	close(address_listen(ours, NULL));
	close(address_listen(other, NULL));
	assert_int_equal(chmod(other, 0600), 0);
	close(address_listen(file, NULL));
	fd = address_listen(served, NULL);
	assert_true(fd >= 0);
	assert_true(fs_exists(ours));
	address_sweep(dir);
	assert_false(fs_exists(ours));
	assert_true(address_is_served(served));
	assert_true(fs_exists(other));
	assert_true(fs_exists(file));
	close(fd);
	address_sweep(dir);
	assert_false(fs_exists(served));
	assert_int_equal(fs_remove_all(dir), 0);
	address_sweep(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group),         cmocka_unit_test(test_files),
		cmocka_unit_test(test_processes),     cmocka_unit_test(test_address),
		cmocka_unit_test(test_address_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
