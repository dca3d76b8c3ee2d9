/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "loop/co.h"
#include "wire/serial.h"

static struct loop *loop;
static int host, guest;
static int running;

static int setup(_unused_ void **state)
{
	int fds[2];

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(fd_socketpair(fds), 0);
	host = fds[0];
	guest = fds[1];
	return 0;
}

static int teardown(_unused_ void **state)
{
	loop_free(loop);
	close(host);
	close(guest);
	return 0;
}

struct side {
	int fd, expected;
	uint64_t timeout;
	const char *says; /* right behind the handshake */
};

static void finished(void)
{
	if (--running == 0)
		loop_quit(loop, 0);
}

static void run_open(void *arg)
{
	const struct side *side = arg;

	assert_int_equal(serial_open(side->fd, clock_after(side->timeout)), side->expected);
	if (side->says)
		assert_int_equal(write(side->fd, side->says, strlen(side->says)),
				 strlen(side->says));
	finished();
}

static void run_accept(void *arg)
{
	const struct side *side = arg;

	assert_int_equal(serial_accept(side->fd, clock_after(side->timeout)), side->expected);
	finished();
}

static void start(co_fn fn, struct side *side)
{
	running++;
	co_start(loop, fn, side);
}

static void expect(int fd, const char *text)
{
	char got[64] = "";
	ssize_t n = read(fd, got, sizeof(got) - 1);

	assert_int_equal(n < 0 ? 0 : n, strlen(text));
	assert_string_equal(got, text);
}

/* Both sides, and what the host says first is the first that the guest reads. */
static void handshake(void)
{
	struct side opens = {host, 0, 10 * USEC_PER_SEC, "hello"};
	struct side accepts = {guest, 0, 10 * USEC_PER_SEC, NULL};

	start(run_open, &opens);
	start(run_accept, &accepts);
	assert_int_equal(loop_run(loop), 0);
	expect(guest, "hello");
	expect(host, "");
}

static void test_clean(_unused_ void **state)
{
	handshake();
	/* A second session over the same stream. */
	handshake();
}

static void marker(char out[SERIAL_MARKER], char kind, uint64_t generation)
{
	memcpy(out, "\xf5KATA-C SERIAL\r", 15);
	out[15] = kind;
	memcpy(out + 16, &generation, 8);
}

static void put(int fd, const void *p, size_t n)
{
	assert_int_equal(write(fd, p, n), n);
}

static void test_garbage_before(_unused_ void **state)
{
	static const char junk[] = "\0\0\0\x04\0\0\0\x01\x02\0half a fr\xf5KATA-C \xf5\xf5KATA";
	char old[SERIAL_MARKER];

	put(host, junk, sizeof(junk));
	put(guest, junk, sizeof(junk));
	marker(old, 'S', 1);
	put(host, old, sizeof(old)); /* of a host that has gone: will be answered in vain */
	marker(old, 'A', 2);
	put(guest, old, sizeof(old));
	marker(old, 'G', 1);
	put(host, old, sizeof(old));
	put(host, junk, 7);
	put(host, old, 20); /* cut off */
	put(guest, junk, 11);
	handshake();
}

/* The old session's bytes are many, and end within a marker. */
static void test_long_garbage(_unused_ void **state)
{
	char junk[30000];

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = "\xf5KATA-C SERIAL\rS"[i % 16];
	put(host, junk, sizeof(junk) - 5);
	put(guest, junk, sizeof(junk) - 3);
	handshake();
}

/* A relay that hands over one byte a time. */
static int relay_host, relay_guest;

static void run_relay(_unused_ void *arg)
{
	char c;

	while (running > 1) {
		if (read(relay_host, &c, 1) == 1)
			put(relay_guest, &c, 1);
		if (read(relay_guest, &c, 1) == 1)
			put(relay_host, &c, 1);
		co_pause();
	}
	while (read(relay_host, &c, 1) == 1)
		put(relay_guest, &c, 1);
	finished();
}

static void test_split_over_reads(_unused_ void **state)
{
	struct side opens = {.expected = 0, .timeout = 10 * USEC_PER_SEC, .says = "hello"};
	struct side accepts = {.expected = 0, .timeout = 10 * USEC_PER_SEC};
	int a[2], b[2];

	assert_int_equal(fd_socketpair(a), 0);
	assert_int_equal(fd_socketpair(b), 0);
	opens.fd = a[0];
	relay_host = a[1];
	accepts.fd = b[0];
	relay_guest = b[1];
	start(run_open, &opens);
	start(run_accept, &accepts);
	start(run_relay, NULL);
	assert_int_equal(loop_run(loop), 0);
	expect(b[0], "hello");
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

/* The guest comes late: by then the host has repeated itself. */
static void run_accept_late(void *arg)
{
	co_sleep(100 * USEC_PER_MSEC);
	run_accept(arg);
}

static void test_guest_comes_late(_unused_ void **state)
{
	struct side opens = {host, 0, 10 * USEC_PER_SEC, "hello"};
	struct side accepts = {guest, 0, 10 * USEC_PER_SEC, NULL};

	start(run_open, &opens);
	start(run_accept_late, &accepts);
	assert_int_equal(loop_run(loop), 0);
	expect(guest, "hello");
	expect(host, "");
}

/* The guest still is in an old session, which eats the first marker and ends. */
static void run_old_session(void *arg)
{
	char c;

	assert_true(co_wait_io(guest, EPOLLIN, USEC_NEVER) > 0);
	while (read(guest, &c, 1) == 1)
		;
	run_accept(arg);
}

static void test_old_session_eats_the_marker(_unused_ void **state)
{
	struct side opens = {host, 0, 10 * USEC_PER_SEC, "hello"};
	struct side accepts = {guest, 0, 10 * USEC_PER_SEC, NULL};

	start(run_open, &opens);
	start(run_old_session, &accepts);
	assert_int_equal(loop_run(loop), 0);
	expect(guest, "hello");
}

/* The guest waits for the rest of a frame of 4 MiB; the host makes it end. */
static void run_half_frame(void *arg)
{
	size_t left = 4 << 20;
	char bytes[65536];

	while (left) {
		ssize_t n = read(guest, bytes, MIN(left, sizeof(bytes)));

		if (n > 0)
			left -= (size_t)n;
		else
			assert_true(co_wait_io(guest, EPOLLIN, USEC_NEVER) > 0);
	}
	run_accept(arg);
}

/* Another that comes late, while its host is filling the port, is heard at once. */
static void run_accept_while_flushing(void *arg)
{
	uint64_t began = clock_now();

	co_sleep(SERIAL_FLUSH_AFTER + 300 * USEC_PER_MSEC);
	run_accept(arg);
	assert_true(clock_now() - began < SERIAL_FLUSH_AFTER + 800 * USEC_PER_MSEC);
}

static void test_flush(_unused_ void **state)
{
	struct side opens = {host, 0, 20 * USEC_PER_SEC, "hello"};
	struct side accepts = {guest, 0, 20 * USEC_PER_SEC, NULL};
	struct side late_opens = opens, late_accepts = accepts;
	int fds[2];

	assert_int_equal(fd_socketpair(fds), 0);
	late_opens.fd = fds[0];
	late_accepts.fd = fds[1];
	start(run_open, &opens);
	start(run_half_frame, &accepts);
	start(run_open, &late_opens);
	start(run_accept_while_flushing, &late_accepts);
	assert_int_equal(loop_run(loop), 0);
	expect(guest, "hello");
	expect(fds[1], "hello");
	close(fds[0]);
	close(fds[1]);
}

static void test_timeouts(_unused_ void **state)
{
	struct side opens = {host, -ETIMEDOUT, 30 * USEC_PER_MSEC, NULL};
	struct side accepts = {guest, -ETIMEDOUT, 30 * USEC_PER_MSEC, NULL};

	start(run_open, &opens);
	assert_int_equal(loop_run(loop), 0);
	while (read(guest, (char[64]){0}, 64) > 0)
		;
	start(run_accept, &accepts);
	assert_int_equal(loop_run(loop), 0);
}

static void test_peer_goes(_unused_ void **state)
{
	struct side opens = {host, -EPIPE, 5 * USEC_PER_SEC, NULL};
	struct side accepts = {guest, -ETIMEDOUT, 50 * USEC_PER_MSEC, NULL};

	assert_int_equal(shutdown(guest, SHUT_RDWR), 0);
	start(run_open, &opens);
	assert_int_equal(loop_run(loop), 0);
	start(run_accept, &accepts); /* waits for another host */
	assert_int_equal(loop_run(loop), 0);
}

/* A guest that answers and goes on talking is no guest of ours. */
static void run_hasty_guest(_unused_ void *arg)
{
	char bytes[SERIAL_MARKER];

	assert_true(co_wait_io(guest, EPOLLIN, USEC_NEVER) > 0);
	assert_int_equal(read(guest, bytes, sizeof(bytes)), sizeof(bytes));
	bytes[15] = 'A';
	put(guest, bytes, sizeof(bytes));
	put(guest, "x", 1);
	finished();
}

static void test_hasty_guest(_unused_ void **state)
{
	struct side opens = {host, -EPROTO, 5 * USEC_PER_SEC, NULL};

	start(run_open, &opens);
	start(run_hasty_guest, NULL);
	assert_int_equal(loop_run(loop), 0);
}

/* Random bytes and pieces of markers before the session, from a fixed seed. */
static void test_random_garbage(_unused_ void **state)
{
	char whole[SERIAL_MARKER], junk[400];

	srand(1);
	for (int round = 0; round < 50; round++) {
		for (int fd = 0; fd < 2; fd++) {
			size_t n = 0;

			while (n + SERIAL_MARKER < sizeof(junk)) {
				size_t piece = (size_t)rand() % SERIAL_MARKER + 1;

				marker(whole, "SAG"[rand() % 3], (uint64_t)rand() % 2);
				memcpy(junk + n, whole, piece);
				n += piece;
				junk[n++] = (char)rand();
			}
			put(fd ? host : guest, junk, (size_t)rand() % n + 1);
		}
		handshake();
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_clean),
		T(test_garbage_before),
		T(test_long_garbage),
		T(test_split_over_reads),
		T(test_guest_comes_late),
		T(test_old_session_eats_the_marker),
		T(test_flush),
		T(test_timeouts),
		T(test_peer_goes),
		T(test_hasty_guest),
		T(test_random_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
