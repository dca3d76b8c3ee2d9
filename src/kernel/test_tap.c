/* SPDX-License-Identifier: Apache-2.0 */
/* Taps in user and network namespaces of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/test.h"
#include "kernel/tap.h"
#include "wire/netlink/link.h"

static void a_tap_lives_as_long_as_its_descriptor(void **state)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	struct link link;
	int fd;

	(void)state;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		skip_test("needs namespaces");
	assert_int_equal(nl_open(&nl, NETLINK_ROUTE), 0);
	fd = tap_open("tap0");
	if (fd == -ENOENT || fd == -EACCES || fd == -EPERM)
		skip_test("needs /dev/net/tun");
	assert_true(fd >= 0);
	assert_int_equal(tap_open("tap0"), -EBUSY);
	assert_int_equal(tap_open("a-name-that-is-too-long"), -EINVAL);
	assert_int_equal(link_get(&nl, "tap0", &link), 0);
	assert_string_equal(link.kind, "tun");
	assert_int_equal(tap_drain(fd), 0);
	close(fd);
	assert_int_equal(link_get(&nl, "tap0", &link), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_lives_as_long_as_its_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
