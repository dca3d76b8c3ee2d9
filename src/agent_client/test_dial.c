/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/dial.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/test.h"

static struct loop *loop;
static char path[64];
static unsigned int n_asked, n_signs;

static int set_up(void **state)
{
	(void)state;
	n_asked = n_signs = 0;
	snprintf(path, sizeof(path), "/tmp/test_dial.%d", getpid());
	return loop_new(&loop);
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(TAKE_PTR(loop));
	unlink(path);
	return 0;
}

/* Signs of life for the first n_signs questions. */
static uint64_t progress(void *arg)
{
	(void)arg;
	return n_asked < n_signs ? ++n_asked : n_asked;
}

static bool dead(void *arg)
{
	(void)arg;
	return false;
}

static const struct agent_life patient = {.progress = progress, .patience = 150 * USEC_PER_MSEC};

/* --- a listener that is late --- */

static void listen_late(void *arg)
{
	int fd;

	(void)arg;
	co_sleep(250 * USEC_PER_MSEC);
	fd = fd_unix_listen(path, 0600);
	assert_true(fd >= 0);
	co_sleep(150 * USEC_PER_MSEC);
	close(fd);
}

static void late_body(void)
{
	const struct agent_address address = {.transport = AGENT_UNIX, .path = path};
	_cleanup_err_ struct err err = {0};
	int fd = -1;

	/* Longer than the patience, but the VM goes on to show signs of life. */
	n_signs = 1000;
	co_start(loop, listen_late, NULL);
	assert_int_equal(agent_dial(&address, &patient, &fd, &err), 0);
	close(fd);
	co_sleep(250 * USEC_PER_MSEC);
}

static void late(void **state)
{
	(void)state;
	test_in_coroutine(loop, late_body);
}

static void silent_body(void)
{
	const struct agent_address address = {.transport = AGENT_UNIX, .path = path};
	struct agent_life life = patient;
	_cleanup_err_ struct err err = {0};
	uint64_t began = clock_now();
	int fd = -1;

	assert_int_equal(agent_dial(&address, &life, &fd, &err), -ETIMEDOUT);
	assert_true(clock_now() - began < 2 * USEC_PER_SEC);
	life.alive = dead;
	assert_int_equal(agent_dial(&address, &life, &fd, &err), -ECONNABORTED);
	/* Busy for ever is not waited for for ever. */
	life.alive = NULL;
	life.patience = 20 * USEC_PER_MSEC;
	n_signs = 1000000;
	began = clock_now();
	assert_int_equal(agent_dial(&address, &life, &fd, &err), -ETIMEDOUT);
	assert_true(clock_now() - began >= 20 * life.patience);
	assert_int_equal(fd, -1);
}

static void silent(void **state)
{
	(void)state;
	test_in_coroutine(loop, silent_body);
}

/* --- a port that closes --- */

static uint64_t dies_at;

static bool dies_later(void *arg)
{
	(void)arg;
	return clock_now() < dies_at;
}

static void closed_body(void)
{
	const struct agent_life life = {.alive = dies_later, .patience = 60 * USEC_PER_SEC};
	struct agent_address address = {.transport = AGENT_SERIAL};
	_cleanup_err_ struct err err = {0};
	int pair[2], fd = -1;

	/* The VM's end, which says more, is known only later. */
	assert_int_equal(fd_socketpair(pair), 0);
	close(pair[1]);
	address.fd = pair[0];
	dies_at = clock_after(700 * USEC_PER_MSEC);
	assert_int_equal(agent_dial(&address, &life, &fd, &err), -ECONNABORTED);
	assert_true(clock_now() >= dies_at);
	assert_int_equal(fd, -1);
}

static void closed(void **state)
{
	(void)state;
	test_in_coroutine(loop, closed_body);
}

/* --- a VMM's socket --- */

static const char *reply;
static char asked[64];

static void answer_hybrid(void *arg)
{
	int listener = *(int *)arg, fd;
	ssize_t n;

	co_wait_io(listener, EPOLLIN, clock_after(USEC_PER_SEC));
	fd = accept(listener, NULL, NULL);
	co_wait_io(fd, EPOLLIN, clock_after(USEC_PER_SEC));
	n = read(fd, asked, sizeof(asked) - 1);
	asked[n > 0 ? n : 0] = '\0';
	fd_write_all(fd, reply, strlen(reply));
	co_sleep(100 * USEC_PER_MSEC);
	close(fd);
}

static void hybrid_body(void)
{
	const struct agent_address address = {
		.transport = AGENT_HYBRID, .path = path, .port = AGENT_PORT};
	_cleanup_(closep) int listener = fd_unix_listen(path, 0600);
	_cleanup_err_ struct err err = {0};
	char byte = 0;
	int fd = -1;

	reply = "OK 1073741824\nX";
	co_start(loop, answer_hybrid, &listener);
	assert_int_equal(agent_dial(&address, &patient, &fd, &err), 0);
	assert_string_equal(asked, "CONNECT 1024\n");
	/* What follows the line is the session's. */
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'X');
	close(fd);
	fd = -1;
	co_sleep(120 * USEC_PER_MSEC);
	reply = "a line without an end that is much longer than any answer of a VMM would ever be";
	co_start(loop, answer_hybrid, &listener);
	assert_int_equal(agent_dial(&address, &patient, &fd, &err), -ETIMEDOUT);
	assert_int_equal(fd, -1);
	co_sleep(120 * USEC_PER_MSEC);
}

static void hybrid(void **state)
{
	(void)state;
	test_in_coroutine(loop, hybrid_body);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(late), TEST(silent), TEST(closed), TEST(hybrid)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
