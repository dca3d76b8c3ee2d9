/* SPDX-License-Identifier: Apache-2.0 */
/* The real kernel's judgement of the program, in a network namespace of the test's own. */
#include "kernel/loopback.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/test.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"

static const struct in6_addr elsewhere6 = {.s6_addr = {0xfd, [15] = 1}};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* A namespace whose lo has two addresses besides its own. */
static void enter_own_namespace(const char *test)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	struct ip extra;
	struct link lo;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		skip_test_of(test, "needs root");
	assert_int_equal(nl_open(&nl, NETLINK_ROUTE), 0);
	assert_int_equal(link_get(&nl, "lo", &lo), 0);
	assert_int_equal(link_set_up(&nl, lo.index, true), 0);
	assert_int_equal(ip_parse("198.51.100.1", &extra), 0);
	assert_int_equal(addr_add(&nl, lo.index, &extra), 0);
	assert_int_equal(ip_parse("fd00::1", &extra), 0);
	assert_int_equal(addr_add(&nl, lo.index, &extra), 0);
}

/* Returns the connected socket or -errno. */
static int dial4(uint32_t address, uint16_t port)
{
	const union address to = {.v4 = {.sin_family = AF_INET,
					 .sin_port = htons(port),
					 .sin_addr.s_addr = htonl(address)}};
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, &to.any, sizeof(to.v4)) < 0 ? -errno : TAKE_FD(fd);
}

static int dial6(struct in6_addr address, uint16_t port)
{
	const union address to = {
		.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = address}};
	_cleanup_(closep) int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, &to.any, sizeof(to.v6)) < 0 ? -errno : TAKE_FD(fd);
}

/* The address that the connection was made to. */
static union address caught(int listener, int client)
{
	_cleanup_(closep) int fd = accept(listener, NULL, NULL), dialled = client;
	union address own;
	socklen_t n = sizeof(own);

	assert_true(dialled >= 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, &own.any, &n), 0);
	assert_int_equal(own.v6.sin6_family, AF_INET6);
	return own;
}

static void check4(int listener, uint32_t address, uint16_t port)
{
	union address own = caught(listener, dial4(address, port));

	assert_true(IN6_IS_ADDR_V4MAPPED(&own.v6.sin6_addr));
	assert_int_equal(own.v6.sin6_addr.s6_addr32[3], htonl(address));
	assert_int_equal(ntohs(own.v6.sin6_port), port);
}

static void test_every_port(_unused_ void **state)
{
	_cleanup_(closep) int listener = -1, link = -1;
	uint64_t limit = clock_after(test_limit(10 * USEC_PER_SEC));
	union address own;
	socklen_t n = sizeof(own);
	int r;

	enter_own_namespace(__func__);
	listener = loopback_listen(&link);
	assert_true(listener >= 0);
	check4(listener, INADDR_LOOPBACK, 1);
	check4(listener, INADDR_LOOPBACK, 65535);
	check4(listener, 0x7fffff01, 80);
	own = caught(listener, dial6(in6addr_loopback, 443));
	assert_true(IN6_IS_ADDR_LOOPBACK(&own.v6.sin6_addr));
	assert_int_equal(ntohs(own.v6.sin6_port), 443);
	/* Others are not ours, not even at the listener's own port. */
	assert_int_equal(getsockname(listener, &own.any, &n), 0);
	assert_int_equal(dial4(0xc6336401, ntohs(own.v6.sin6_port)), -ECONNREFUSED);
	/* The route to a new address comes a moment after it. */
	while ((r = dial6(elsewhere6, ntohs(own.v6.sin6_port))) == -ENETUNREACH &&
	       clock_now() < limit)
		usleep(1000);
	assert_int_equal(r, -ECONNREFUSED);
	check4(listener, INADDR_LOOPBACK, ntohs(own.v6.sin6_port));
}

static void test_ends_with_its_descriptors(_unused_ void **state)
{
	int listener, link;

	enter_own_namespace(__func__);
	listener = loopback_listen(&link);
	assert_true(listener >= 0);
	check4(listener, INADDR_LOOPBACK, 80);
	close(listener);
	assert_int_equal(dial4(INADDR_LOOPBACK, 80), -ECONNREFUSED);
	close(link);
	listener = loopback_listen(&link);
	assert_true(listener >= 0);
	check4(listener, INADDR_LOOPBACK, 80);
	/* The listener alone has one port. */
	close(link);
	assert_int_equal(dial4(INADDR_LOOPBACK, 80), -ECONNREFUSED);
	close(listener);
}

/* Before lo is up, as a namespace begins. */
static void test_before_lo_is_up(_unused_ void **state)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(closep) int listener = -1, link = -1;
	struct link lo;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		skip_test("needs root");
	listener = loopback_listen(&link);
	assert_true(listener >= 0);
	assert_int_equal(nl_open(&nl, NETLINK_ROUTE), 0);
	assert_int_equal(link_get(&nl, "lo", &lo), 0);
	assert_int_equal(link_set_up(&nl, lo.index, true), 0);
	check4(listener, INADDR_LOOPBACK, 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_port),
		cmocka_unit_test(test_ends_with_its_descriptors),
		cmocka_unit_test(test_before_lo_is_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
