/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/trial_network.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/blocking.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"

#define ADDRESS  "192.0.2.2/24" /* RFC 5737: of documentation, nobody has it */
#define FIRST    "eth0"
#define SECOND   "eth1"
#define PATIENCE (10 * USEC_PER_SEC)

static int fill(void)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	struct link link = {0};
	struct ip address;
	int r;

	r = nl_open(&nl, NETLINK_ROUTE);
	if (r == 0)
		r = link_add_veth(&nl, FIRST, SECOND);
	if (r == 0)
		r = link_get(&nl, FIRST, &link);
	if (r == 0)
		r = ip_parse(ADDRESS, &address);
	return r == 0 ? addr_add(&nl, link.index, &address) : r;
}

static int make_in_child(void *arg, _unused_ void *reply)
{
	const int *sock = arg;
	int fd, r;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	r = fill();
	if (r < 0)
		return r;
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = (int)fd_send(*sock, "n", 1, &fd, 1);
	return r < 0 ? r : 0;
}

static int receive(int sock)
{
	size_t n = 1;
	int fd = -1;
	char byte;
	ssize_t got = fd_recv(sock, &byte, 1, &fd, &n);

	if (got < 0)
		return (int)got;
	return n == 1 ? fd : -EBADMSG;
}

int trial_network_new(struct err *err)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	int pair[2], r;

	r = fd_socketpair(pair);
	if (r < 0)
		return err_set(err, r, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	r = blocking_fork(make_in_child, &theirs, clock_after(PATIENCE));
	if (r == 0)
		r = receive(ours);
	return r < 0 ? err_set(err, r, "make a network to try") : r;
}
