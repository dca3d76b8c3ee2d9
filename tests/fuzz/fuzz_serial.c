/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes under way in both directions when a session begins: it begins nevertheless, and its
 * first bytes are those that were sent. The first byte of the input says how it is divided.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/co.h"
#include "wire/serial.h"

#define JUNK_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int host_result, guest_result;

static void run_host(void *arg)
{
	int fd = *(int *)arg;

	host_result = serial_open(fd, clock_after(20 * USEC_PER_SEC));
	if (host_result == 0 && write(fd, "hello", 5) != 5)
		abort();
}

static void run_guest(void *arg)
{
	guest_result = serial_accept(*(int *)arg, clock_after(20 * USEC_PER_SEC));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop;
	int fds[2];
	char got[16];
	size_t cut;

	if (size < 1 || size > JUNK_MAX)
		return 0;
	if (loop_new(&loop) < 0 || fd_socketpair(fds) < 0)
		abort();
	cut = (size - 1) * data[0] / 255;
	if (write(fds[0], data + 1, cut) != (ssize_t)cut ||
	    write(fds[1], data + 1 + cut, size - 1 - cut) != (ssize_t)(size - 1 - cut))
		abort();
	host_result = guest_result = 1;
	co_start(loop, run_host, &fds[0]);
	co_start(loop, run_guest, &fds[1]);
	while (host_result == 1 || guest_result == 1)
		loop_round(loop, USEC_PER_SEC);
	if (host_result < 0 || guest_result < 0)
		abort();
	if (read(fds[1], got, sizeof(got)) != 5 || memcmp(got, "hello", 5) != 0 ||
	    read(fds[0], got, sizeof(got)) > 0)
		abort();
	loop_free(loop);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
