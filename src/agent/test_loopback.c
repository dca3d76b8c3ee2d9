/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the loopback: the agent's server and its client in one process. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/rpc.h"
#include "agent/stream.h"
#include "base/fd.h"
#include "loop/test.h"

#define SERVICE   "grpc.AgentService"
#define CALL_TIME (20 * USEC_PER_SEC)
#define BULK      (3U << 20)

static struct agent agent;
static struct ttrpc_client *client;
static int listener;
static uint16_t port;

/* Of the program's own; no call here gets there. */
void agent_power_off(_unused_ struct agent *ended)
{
	abort();
}

void agent_die(_unused_ const char *fmt, ...)
{
	abort();
}

static void test(void (*fn)(void))
{
	test_in_coroutine(agent.loop, fn);
}

static int set_up(_unused_ void **state)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(own);
	int pair[2];

	agent = (struct agent){0};
	list_init(&agent.loopback);
	assert_int_equal(loop_new(&agent.loop), 0);
	assert_int_equal(server_new(&agent, NULL), 0);
	assert_int_equal(fd_socketpair(pair), 0);
	assert_int_equal(ttrpc_server_attach(agent.server, pair[0]), 0);
	assert_int_equal(ttrpc_client_new(agent.loop, pair[1], NULL, NULL, &client), 0);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(listen(listener, 1024), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&own, &n), 0);
	port = ntohs(own.sin_port);
	return 0;
}

static int tear_down(_unused_ void **state)
{
	/* Each test closes what it has dialled. */
	assert_true(list_empty(&agent.loopback));
	assert_int_equal(agent.n_loopback, 0);
	listener = fd_close(listener);
	ttrpc_client_free(TAKE_PTR(client));
	ttrpc_server_free(TAKE_PTR(agent.server));
	loop_free(TAKE_PTR(agent.loop));
	return 0;
}

/* --- calls --- */

static int call(const char *method, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret)
{
	return ttrpc_client_call(client, SERVICE, method, request, output, clock_after(CALL_TIME),
				 ret, NULL);
}

static int dial_bytes(uint32_t id, const void *address, size_t n, uint32_t to)
{
	Grpc__DialLoopbackRequest request = GRPC__DIAL_LOOPBACK_REQUEST__INIT;

	request.id = id;
	request.address.data = (uint8_t *)(uintptr_t)address;
	request.address.len = n;
	request.port = to;
	return call("DialLoopback", &request.base, &google__protobuf__empty__descriptor, NULL);
}

static int dial(uint32_t id, uint32_t to)
{
	return dial_bytes(id, (const uint8_t[]){127, 0, 0, 1}, 4, to);
}

static int hang_up(uint32_t id)
{
	Grpc__CloseLoopbackRequest request = GRPC__CLOSE_LOOPBACK_REQUEST__INIT;

	request.id = id;
	return call("CloseLoopback", &request.base, &google__protobuf__empty__descriptor, NULL);
}

static ssize_t get(uint32_t id, char *to, uint32_t n)
{
	Grpc__ReadLoopbackRequest request = GRPC__READ_LOOPBACK_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	ssize_t r;

	request.id = id;
	request.len = n;
	r = call("ReadLoopback", &request.base, &grpc__read_stream_response__descriptor, &message);
	if (r < 0)
		return r;
	r = (ssize_t)((Grpc__ReadStreamResponse *)message)->data.len;
	assert_true(r <= n);
	if (r)
		memcpy(to, ((Grpc__ReadStreamResponse *)message)->data.data, (size_t)r);
	protobuf_c_message_free_unpacked(message, NULL);
	return r;
}

static int put(uint32_t id, const void *data, size_t n)
{
	Grpc__WriteLoopbackRequest request = GRPC__WRITE_LOOPBACK_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	int r;

	request.id = id;
	request.data.data = (uint8_t *)(uintptr_t)data;
	request.data.len = n;
	r = call("WriteLoopback", &request.base, &grpc__write_stream_response__descriptor,
		 &message);
	if (r >= 0)
		r = (int)((Grpc__WriteStreamResponse *)message)->len;
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
	return r;
}

/* Dialled, and the other end of it. */
static int connected(uint32_t id)
{
	int fd;

	assert_int_equal(dial(id, port), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* --- tests --- */

static void both_ways_body(void)
{
	_cleanup_(closep) int peer = connected(7);
	char text[16];

	assert_int_equal(put(7, "hello", 5), 5);
	assert_int_equal(read(peer, text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(write(peer, "answer", 6), 6);
	assert_int_equal(get(7, text, 3), 3);
	assert_memory_equal(text, "ans", 3);
	assert_int_equal(get(7, text, sizeof(text)), 3);
	/* The end of one direction is not that of the other. */
	assert_int_equal(put(7, NULL, 0), 0);
	assert_int_equal(read(peer, text, sizeof(text)), 0);
	assert_int_equal(put(7, "more", 4), -EBUSY);
	assert_int_equal(write(peer, "late", 4), 4);
	assert_int_equal(get(7, text, sizeof(text)), 4);
	assert_int_equal(shutdown(peer, SHUT_WR), 0);
	assert_int_equal(get(7, text, sizeof(text)), 0);
	assert_int_equal(get(7, text, sizeof(text)), 0);
	assert_int_equal(hang_up(7), 0);
	assert_int_equal(hang_up(7), -ENOENT);
	assert_int_equal(get(7, text, sizeof(text)), -ENOENT);
	/* It was an orderly end. */
	assert_int_equal(read(peer, text, sizeof(text)), 0);
}

static void both_ways(_unused_ void **state)
{
	test(both_ways_body);
}

static void bulk_writer(void *arg)
{
	_cleanup_(freep) char *data = xcalloc(BULK, 1);
	bool *over = arg;

	assert_int_equal(put(1, data, BULK), BULK);
	assert_int_equal(put(1, NULL, 0), 0);
	*over = true;
}

/* More than the kernel takes at once: the call waits until the peer has read. */
static void bulk_body(void)
{
	_cleanup_(closep) int peer = connected(1);
	_cleanup_(freep) char *data = xmalloc(BULK);
	size_t done = 0;
	bool over = false;

	fd_set_nonblock(peer, true);
	co_start(agent.loop, bulk_writer, &over);
	while (done < BULK) {
		ssize_t n = read(peer, data, BULK);

		assert_true(n > 0 || (n < 0 && errno == EAGAIN));
		if (n < 0)
			assert_true(co_wait_io(peer, EPOLLIN, clock_after(CALL_TIME)) > 0);
		else
			done += (size_t)n;
	}
	while (!over)
		co_pause();
	assert_int_equal(read(peer, data, BULK), 0);
	assert_int_equal(hang_up(1), 0);
}

static void bulk(_unused_ void **state)
{
	test(bulk_body);
}

static void a_reset_is_told_body(void)
{
	int peer = connected(1);
	char text[16];

	assert_int_equal(write(peer, "last", 4), 4);
	fd_reset(peer);
	close(peer);
	/* What came before it is still there. */
	assert_int_equal(get(1, text, sizeof(text)), 4);
	assert_true(get(1, text, sizeof(text)) < 0);
	assert_int_equal(hang_up(1), 0);
	/* And of one that the host gives up. */
	peer = connected(1);
	assert_int_equal(hang_up(1), 0);
	assert_int_equal(read(peer, text, sizeof(text)), -1);
	assert_int_equal(errno, ECONNRESET);
	close(peer);
}

static void a_reset_is_told(_unused_ void **state)
{
	test(a_reset_is_told_body);
}

static void waiting_reader(void *arg)
{
	char text[16];
	ssize_t *ret = arg;

	*ret = get(1, text, sizeof(text));
}

static void the_end_wakes_who_reads_body(void)
{
	_cleanup_(closep) int peer = connected(1);
	ssize_t r = -1;

	co_start(agent.loop, waiting_reader, &r);
	co_sleep(10 * USEC_PER_MSEC);
	assert_int_equal(hang_up(1), 0);
	while (r < 0)
		co_pause();
	assert_int_equal(r, 0);
}

static void the_end_wakes_who_reads(_unused_ void **state)
{
	test(the_end_wakes_who_reads_body);
}

static void refusals_body(void)
{
	static const uint8_t elsewhere6[16] = {0xfd, [15] = 1},
			     mapped[16] = {[10] = 0xff, 0xff, 127};
	_cleanup_(closep) int peer = connected(1);

	assert_int_equal(dial(1, port), -EEXIST);
	assert_int_equal(dial(2, 0), -EINVAL);
	assert_int_equal(dial(2, 65536 + port), -EINVAL);
	assert_int_equal(dial_bytes(2, (const uint8_t[]){198, 51, 100, 1}, 4, port), -EINVAL);
	assert_int_equal(dial_bytes(2, (const uint8_t[]){127, 0, 0}, 3, port), -EINVAL);
	assert_int_equal(dial_bytes(2, NULL, 0, port), -EINVAL);
	assert_int_equal(dial_bytes(2, elsewhere6, 16, port), -EINVAL);
	assert_int_equal(dial_bytes(2, mapped, 16, port), -EINVAL);
	/* Our listener is at 127.0.0.1 alone. */
	assert_true(dial_bytes(2, (const uint8_t[]){127, 0, 0, 2}, 4, port) < 0);
	assert_true(dial_bytes(2, in6addr_loopback.s6_addr, 16, port) < 0);
	assert_int_equal(hang_up(1), 0);
}

static void refusals(_unused_ void **state)
{
	test(refusals_body);
}

/* Of a server that is at ::1 alone, 127.0.0.1 is told too. */
static void localhost_is_both_body(void)
{
	struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	_cleanup_(closep) int six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(own);

	assert_int_equal(bind(six, (const struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(listen(six, 8), 0);
	assert_int_equal(getsockname(six, (struct sockaddr *)&own, &n), 0);
	assert_int_equal(dial(1, ntohs(own.sin6_port)), 0);
	assert_int_equal(dial_bytes(2, in6addr_loopback.s6_addr, 16, ntohs(own.sin6_port)), 0);
	assert_int_equal(hang_up(1), 0);
	assert_int_equal(hang_up(2), 0);
}

static void localhost_is_both(_unused_ void **state)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		skip_test("needs IPv6");
	close(fd);
	test(localhost_is_both_body);
}

static void there_is_a_limit_body(void)
{
	uint32_t n = 0;

	while (dial(n, port) == 0)
		assert_true(++n < 1024);
	assert_int_equal(dial(n, port), -EBUSY);
	assert_true(n >= 128);
	while (n > 0)
		assert_int_equal(hang_up(--n), 0);
}

static void there_is_a_limit(_unused_ void **state)
{
	test(there_is_a_limit_body);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(both_ways),        TEST(bulk),
		TEST(a_reset_is_told),  TEST(the_end_wakes_who_reads),
		TEST(refusals),         TEST(localhost_is_both),
		TEST(there_is_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
