/* SPDX-License-Identifier: Apache-2.0 */
/* Connections between a client of a listening socket of the test's own and a fake agent. */
#include "runtime/port_forward.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "fakes/fake_agent.h"
#include "loop/test.h"

#define PATIENCE (20 * USEC_PER_SEC)
#define BULK     (1U << 20)

static struct loop *loop;
static struct fake_agent *fake;
static struct agent_client *agent;
static struct port_forward *forward;
static struct sockaddr_in address;

static int listen_here(void)
{
	socklen_t n = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address = (struct sockaddr_in){.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, n), 0);
	assert_int_equal(listen(fd, 1024), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	return fd;
}

static int set_up(_unused_ void **state)
{
	int pair[2];

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(fd_socketpair(pair), 0);
	fake = fake_agent_new(loop, pair[0], false, FAKE_GOOD);
	assert_int_equal(agent_open(loop, pair[1], NULL, NULL, &agent, NULL), 0);
	forward = port_forward_new(listen_here(), -1);
	assert_int_equal(port_forward_start(forward, loop, agent, NULL), 0);
	return 0;
}

static int tear_down(_unused_ void **state)
{
	port_forward_free(TAKE_PTR(forward));
	agent_free(TAKE_PTR(agent));
	fake_agent_free(TAKE_PTR(fake));
	while (fake_agent_any())
		loop_round(loop, 10 * USEC_PER_MSEC);
	loop_free(TAKE_PTR(loop));
	return 0;
}

/* --- the client, in a coroutine --- */

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	fd_set_nonblock(fd, true);
	return fd;
}

/* Up to n bytes; 0 at the end or -errno. */
static ssize_t receive(int fd, void *p, size_t n)
{
	ssize_t r;

	if (co_wait_io(fd, EPOLLIN, clock_after(PATIENCE)) < 0)
		return -ETIMEDOUT;
	r = recv(fd, p, n, 0);
	return r < 0 ? -errno : r;
}

static ssize_t receive_end(int fd)
{
	char byte;

	return receive(fd, &byte, 1);
}

static void expect_log(const char *text)
{
	uint64_t limit = clock_after(PATIENCE);

	while (!strstr(fake_agent_log(fake), text) && clock_now() < limit)
		co_sleep(USEC_PER_MSEC);
	if (!strstr(fake_agent_log(fake), text))
		fail_msg("\"%s\" is not in \"%s\"", text, fake_agent_log(fake));
}

/* --- tests --- */

static void both_ways_body(void)
{
	int client = dial();
	char text[16], wanted[64];

	snprintf(wanted, sizeof(wanted), " dial:0,127.0.0.1,%u ", ntohs(address.sin_port));
	expect_log(wanted);
	assert_int_equal(write(client, "question", 8), 8);
	expect_log("WriteLoopback");
	assert_string_equal(fake_agent_stdin(fake, "loopback-0"), "question");
	fake_agent_say(fake, "loopback-0", "answer");
	assert_int_equal(receive(client, text, sizeof(text)), 6);
	assert_memory_equal(text, "answer", 6);
	/* The end of what the client says is told, and the guest may go on. */
	assert_int_equal(shutdown(client, SHUT_WR), 0);
	expect_log(" end:0");
	fake_agent_say(fake, "loopback-0", "more");
	assert_int_equal(receive(client, text, sizeof(text)), 4);
	assert_null(strstr(fake_agent_log(fake), " close:0"));
	fake_agent_exit(fake, "loopback-0", 0);
	assert_int_equal(receive_end(client), 0);
	expect_log(" close:0");
	close(client);
}

static void the_guest_ends_first_body(void)
{
	int client = dial();

	expect_log(" dial:0");
	fake_agent_exit(fake, "loopback-0", 0);
	assert_int_equal(receive_end(client), 0);
	assert_int_equal(write(client, "late", 4), 4);
	expect_log("WriteLoopback");
	assert_null(strstr(fake_agent_log(fake), " close:0"));
	close(client);
	expect_log(" close:0");
}

static void a_refusal_resets_body(void)
{
	int client;

	fake_agent_fail(fake, "DialLoopback", -ECONNREFUSED, "nobody is there");
	client = dial();
	assert_int_equal(receive_end(client), -ECONNRESET);
	close(client);
	assert_null(strstr(fake_agent_log(fake), "close:"));
}

static void a_failed_read_resets_body(void)
{
	int client;

	fake_agent_fail(fake, "ReadLoopback", -ECONNRESET, "reset");
	client = dial();
	expect_log(" dial:0");
	fake_agent_say(fake, "loopback-0", "x");
	assert_int_equal(receive_end(client), -ECONNRESET);
	expect_log(" close:0");
	close(client);
}

/* What the guest had said is not lost with what it does not take. */
static void a_failed_write_lets_the_rest_through_body(void)
{
	int client = dial();
	char text[16];

	expect_log(" dial:0");
	fake_agent_fail(fake, "WriteLoopback", -EPIPE, "closed");
	assert_int_equal(write(client, "too late", 8), 8);
	expect_log("WriteLoopback");
	fake_agent_say(fake, "loopback-0", "last words");
	assert_int_equal(receive(client, text, sizeof(text)), 10);
	fake_agent_exit(fake, "loopback-0", 0);
	assert_int_equal(receive_end(client), -ECONNRESET);
	expect_log(" close:0");
	close(client);
}

static void the_client_resets_body(void)
{
	int client = dial();

	expect_log(" dial:0");
	fd_reset(client);
	close(client);
	expect_log(" close:0");
}

/* A guest that says it has taken more, or gives more than was asked for. */
static void a_lying_guest_body(void)
{
	int client = dial();

	expect_log(" dial:0");
	fake_agent_become(fake, FAKE_LIAR);
	fake_agent_exit(fake, "loopback-0", 0);
	assert_int_equal(receive_end(client), -ECONNRESET);
	expect_log(" close:0");
	close(client);
	client = dial();
	expect_log(" dial:1");
	assert_int_equal(write(client, "x", 1), 1);
	expect_log("WriteLoopback");
	fake_agent_exit(fake, "loopback-1", 0);
	assert_int_equal(receive_end(client), -ECONNRESET);
	close(client);
	expect_log(" close:1");
}

/* A client that does not read: the guest is read no further than the socket's buffers. */
static void a_slow_client_body(void)
{
	_cleanup_(freep) char *data = xmalloc(BULK + 1);
	int client = dial();
	size_t done = 0;

	memset(data, 'x', BULK);
	data[BULK] = '\0';
	expect_log(" dial:0");
	for (int i = 0; i < 16; i++)
		fake_agent_say(fake, "loopback-0", data);
	fake_agent_exit(fake, "loopback-0", 0);
	co_sleep(50 * USEC_PER_MSEC);
	for (ssize_t n; (n = receive(client, data, BULK)) != 0; done += (size_t)n)
		assert_true(n > 0);
	assert_int_equal(done, 16 * BULK);
	close(client);
	expect_log(" close:0");
}

static void many_body(void)
{
	int clients[PORT_FORWARD_MAX], last;
	char text[32];

	for (unsigned int i = 0; i < PORT_FORWARD_MAX; i++)
		clients[i] = dial();
	snprintf(text, sizeof(text), " dial:%u,", PORT_FORWARD_MAX - 1);
	expect_log(text);
	last = dial();
	assert_int_equal(receive_end(last), -ECONNRESET);
	close(last);
	/* One that ends makes room. */
	fd_reset(clients[0]);
	close(clients[0]);
	expect_log(" close:0");
	co_sleep(20 * USEC_PER_MSEC);
	clients[0] = dial();
	snprintf(text, sizeof(text), " dial:%u,", PORT_FORWARD_MAX);
	expect_log(text);
	for (unsigned int i = 0; i < PORT_FORWARD_MAX; i++)
		close(clients[i]);
}

/* The end of the sandbox while some dial, read and write. */
static void the_end_body(void)
{
	int first = dial(), second;

	expect_log(" dial:0");
	fake_agent_delay(fake, "DialLoopback", 100 * USEC_PER_MSEC);
	second = dial();
	expect_log(" dial:1");
	port_forward_free(TAKE_PTR(forward));
	assert_int_equal(receive_end(first), -ECONNRESET);
	assert_int_equal(receive_end(second), -ECONNRESET);
	agent_close(agent, "the end");
	close(first);
	close(second);
	co_sleep(20 * USEC_PER_MSEC);
}

static void the_agent_goes_body(void)
{
	int client = dial();

	expect_log(" dial:0");
	agent_close(agent, "it has died");
	assert_int_equal(receive_end(client), -ECONNRESET);
	close(client);
	client = dial();
	assert_int_equal(receive_end(client), -ECONNRESET);
	close(client);
}

#define TEST(name)                                    \
	static void name(_unused_ void **state)       \
	{                                             \
		test_in_coroutine(loop, name##_body); \
	}
TEST(both_ways)
TEST(the_guest_ends_first)
TEST(a_refusal_resets)
TEST(a_failed_read_resets)
TEST(a_failed_write_lets_the_rest_through)
TEST(the_client_resets)
TEST(a_lying_guest)
TEST(a_slow_client)
TEST(many)
TEST(the_end)
TEST(the_agent_goes)

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		ROW(both_ways),
		ROW(the_guest_ends_first),
		ROW(a_refusal_resets),
		ROW(a_failed_read_resets),
		ROW(a_failed_write_lets_the_rest_through),
		ROW(the_client_resets),
		ROW(a_lying_guest),
		ROW(a_slow_client),
		ROW(many),
		ROW(the_end),
		ROW(the_agent_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
