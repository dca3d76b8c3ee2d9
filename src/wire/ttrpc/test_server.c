/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "ttrpc.pb-c.h"
#include "wire/ttrpc/frame.h"
#include "wire/ttrpc/ttrpc.h"

/* A server whose peer is the test itself, byte by byte. */

static struct loop *loop;
static struct ttrpc_server *server;
static int peer = -1;
static struct ttrpc_call *parked;
static int n_gone, n_run;
static bool fail_when_gone;

static int check(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__HealthCheckResponse *out = response;

	n_run++;
	if (streq(in->service, "missing"))
		return err_set(err, -ENOENT, "service %s", in->service);
	if (streq(in->service, "plain"))
		return -EBUSY;
	if (streq(in->service, "sleep"))
		co_sleep(50 * USEC_PER_MSEC);
	if (streq(in->service, "bare"))
		return 0;
	assert_ptr_equal(ttrpc_call_user(call), &loop);
	out->status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return 0;
}

static void on_gone(struct ttrpc_call *call, void *arg)
{
	assert_ptr_equal(arg, &n_gone);
	n_gone++;
	if (fail_when_gone)
		ttrpc_call_fail(call, -EIO, "nobody listens");
}

static int version(struct ttrpc_call *call, const void *request, void *response,
		   _unused_ struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__VersionCheckResponse *out = response;

	if (streq(in->service, "now")) {
		out->agent_version = ttrpc_call_strdup(call, "early");
		ttrpc_call_reply(call, &out->base);
		return TTRPC_PARKED;
	}
	if (streq(in->service, "big")) {
		out->agent_version = ttrpc_call_alloc(call, TTRPC_FRAME_MAX + 2);
		memset(out->agent_version, 'x', TTRPC_FRAME_MAX + 1);
		return 0;
	}
	if (streq(in->service, "million")) {
		n_run++;
		out->agent_version = ttrpc_call_alloc(call, 1000001);
		memset(out->agent_version, 'x', 1000000);
		return 0;
	}
	if (streq(in->service, "wait")) {
		n_gone += ttrpc_call_sendable(call, 1000) == 0;
		out->agent_version = "sendable";
		return 0;
	}
	if (streq(in->service, "metadata")) {
		const char *value = ttrpc_call_metadata(call, "Trace");

		out->agent_version = ttrpc_call_printf(call, "<%s>", value ? value : "none");
		return 0;
	}
	parked = call;
	ttrpc_call_on_gone(call, on_gone, &n_gone);
	return TTRPC_PARKED;
}

static void unlinkp(char **path)
{
	unlink(*path);
	free(*path);
}

static const struct ttrpc_method methods[] = {
	{"Check", &grpc__check_request__descriptor, &grpc__health_check_response__descriptor,
	 check},
	{"Version", &grpc__check_request__descriptor, &grpc__version_check_response__descriptor,
	 version},
};
static const struct ttrpc_service service = {"grpc.Health", methods, ARRAY_SIZE(methods)};

static int setup(_unused_ void **state)
{
	int fds[2];

	n_gone = n_run = 0;
	fail_when_gone = false;
	parked = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(ttrpc_server_new(loop, &loop, &server), 0);
	ttrpc_server_add(server, &service);
	assert_int_equal(fd_socketpair(fds), 0);
	assert_int_equal(ttrpc_server_attach(server, fds[0]), 0);
	peer = fds[1];
	return 0;
}

static int teardown(_unused_ void **state)
{
	ttrpc_server_free(server);
	loop_free(loop);
	peer = fd_close(peer);
	return 0;
}

/* --- the peer --- */

static void send_raw(uint32_t length, uint32_t stream, uint8_t type, uint8_t flags,
		     const void *data, size_t n)
{
	struct ttrpc_header header = {length, stream, type, flags};
	uint8_t bytes[TTRPC_HEADER_SIZE];

	ttrpc_header_encode(&header, bytes);
	assert_int_equal(write(peer, bytes, sizeof(bytes)), sizeof(bytes));
	if (n)
		assert_int_equal(write(peer, data, n), n);
}

struct options {
	const char *service, *method;
	int64_t timeout_nano;
	uint8_t flags;
	const char *metadata;
};

static void send_request(uint32_t stream, const char *argument, struct options o)
{
	Grpc__CheckRequest check_request = GRPC__CHECK_REQUEST__INIT;
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT, *kvs[] = {&kv};
	uint8_t inner[256], outer[1024];

	check_request.service = (char *)argument;
	request.payload.len = grpc__check_request__pack(&check_request, inner);
	request.payload.data = inner;
	request.service = (char *)(o.service ? o.service : "grpc.Health");
	request.method = (char *)(o.method ? o.method : "Check");
	request.timeout_nano = o.timeout_nano;
	if (o.metadata) {
		kv.key = "trace";
		kv.value = (char *)o.metadata;
		request.metadata = kvs;
		request.n_metadata = 1;
	}
	send_raw((uint32_t)ttrpc__request__get_packed_size(&request), stream, TTRPC_FRAME_REQUEST,
		 o.flags, outer, ttrpc__request__pack(&request, outer));
}

/* Reads n bytes, letting the loop run. Fewer at the end of the stream. */
static size_t receive(void *p, size_t n)
{
	uint64_t deadline = clock_after(2 * USEC_PER_SEC);
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(peer, (char *)p + got, n - got);

		if (r == 0 || (r < 0 && errno == ECONNRESET))
			break;
		if (r > 0)
			got += (size_t)r;
		else
			assert_int_equal(loop_round(loop, 1000), 0);
		assert_true(clock_now() < deadline);
	}
	return got;
}

/* The next response; the caller frees it. */
static Ttrpc__Response *receive_response(uint32_t stream)
{
	uint8_t bytes[TTRPC_HEADER_SIZE];
	struct ttrpc_header header;
	_cleanup_(freep) uint8_t *data = NULL;
	Ttrpc__Response *response;

	assert_int_equal(receive(bytes, sizeof(bytes)), sizeof(bytes));
	ttrpc_header_decode(bytes, &header);
	assert_int_equal(header.stream, stream);
	assert_int_equal(header.type, TTRPC_FRAME_RESPONSE);
	assert_int_equal(header.flags, 0);
	data = malloc(header.length + 1);
	assert_int_equal(receive(data, header.length), header.length);
	response = ttrpc__response__unpack(NULL, header.length, data);
	assert_non_null(response);
	return response;
}

static void expect_status(uint32_t stream, enum ttrpc_code code, const char *text)
{
	Ttrpc__Response *response = receive_response(stream);

	assert_non_null(response->status);
	assert_int_equal(response->status->code, code);
	if (!strstr(response->status->message, text))
		fail_msg("\"%s\" lacks \"%s\"", response->status->message, text);
	ttrpc__response__free_unpacked(response, NULL);
}

static void expect_serving(uint32_t stream)
{
	Ttrpc__Response *response = receive_response(stream);
	Grpc__HealthCheckResponse *health;

	assert_null(response->status);
	health = grpc__health_check_response__unpack(NULL, response->payload.len,
						     response->payload.data);
	assert_int_equal(health->status, GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	grpc__health_check_response__free_unpacked(health, NULL);
	ttrpc__response__free_unpacked(response, NULL);
}

static void expect_version(uint32_t stream, const char *text)
{
	Ttrpc__Response *response = receive_response(stream);
	Grpc__VersionCheckResponse *answer;

	assert_null(response->status);
	answer = grpc__version_check_response__unpack(NULL, response->payload.len,
						      response->payload.data);
	assert_string_equal(answer->agent_version, text);
	grpc__version_check_response__free_unpacked(answer, NULL);
	ttrpc__response__free_unpacked(response, NULL);
}

static void expect_closed(void)
{
	char c;

	assert_int_equal(receive(&c, 1), 0);
}

static void settle(int rounds)
{
	while (rounds--)
		loop_round(loop, 1000);
}

/* --- tests --- */

static void test_answers(_unused_ void **state)
{
	Ttrpc__Response *empty;

	send_request(1, "", (struct options){0});
	expect_serving(1);
	send_request(7, "missing", (struct options){0});
	expect_status(7, TTRPC_NOT_FOUND, "service missing: No such file");
	send_request(9, "plain", (struct options){0});
	expect_status(9, TTRPC_FAILED_PRECONDITION, "busy");
	send_request(11, "bare", (struct options){0});
	empty = receive_response(11);
	assert_null(empty->status);
	assert_int_equal(empty->payload.len, 0);
	ttrpc__response__free_unpacked(empty, NULL);
}

static void test_golden_frames(_unused_ void **state)
{
	static const uint8_t request[] = "\0\0\0\x14\0\0\0\x01\x01\0"
					 "\x0a\x0bgrpc.Health\x12\x05"
					 "Check";
	static const uint8_t response[] = "\0\0\0\x04\0\0\0\x01\x02\0\x12\x02\x08\x01";
	uint8_t got[sizeof(response) - 1];

	assert_int_equal(write(peer, request, sizeof(request) - 1), sizeof(request) - 1);
	assert_int_equal(receive(got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, response, sizeof(got));
}

static void test_one_byte_at_a_time(_unused_ void **state)
{
	static const char request[] = "\0\0\0\x14\0\0\0\x03\x01\0"
				      "\x0a\x0bgrpc.Health\x12\x05"
				      "Check";

	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		assert_int_equal(write(peer, request + i, 1), 1);
		loop_round(loop, 0);
	}
	expect_serving(3);
}

static void test_pipelined_out_of_order(_unused_ void **state)
{
	send_request(1, "sleep", (struct options){0});
	send_request(3, "", (struct options){0});
	send_request(5, "", (struct options){0});
	expect_serving(3);
	expect_serving(5);
	expect_serving(1);
}

static void test_unimplemented(_unused_ void **state)
{
	send_request(1, "", (struct options){.method = "Nope"});
	expect_status(1, TTRPC_UNIMPLEMENTED, "/grpc.Health/Nope");
	send_request(3, "", (struct options){.service = "no.Such"});
	expect_status(3, TTRPC_UNIMPLEMENTED, "service no.Such");
	send_request(5, "", (struct options){0});
	expect_serving(5);
}

static void test_streaming_is_refused(_unused_ void **state)
{
	send_request(1, "", (struct options){.flags = TTRPC_REMOTE_OPEN});
	expect_status(1, TTRPC_UNIMPLEMENTED, "streaming");
	send_raw(3, 1, TTRPC_FRAME_DATA, 0, "abc", 3);
	send_raw(0, 1, TTRPC_FRAME_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, NULL, 0);
	send_raw(0, 3, 9, 0, NULL, 0);
	send_request(5, "", (struct options){.flags = TTRPC_REMOTE_CLOSED});
	expect_serving(5);
	assert_int_equal(n_run, 1);
}

static void test_bad_streams(_unused_ void **state)
{
	send_request(4, "", (struct options){0});
	expect_status(4, TTRPC_INVALID_ARGUMENT, "odd");
	send_request(5, "", (struct options){0});
	expect_serving(5);
	send_request(5, "", (struct options){0});
	expect_status(5, TTRPC_INVALID_ARGUMENT, "increase");
	send_request(3, "", (struct options){0});
	expect_status(3, TTRPC_INVALID_ARGUMENT, "increase");
	send_request(0x70000001, "", (struct options){0});
	expect_serving(0x70000001);
	send_request(0xe0000001, "", (struct options){0});
	expect_serving(0xe0000001);
	send_request(1, "", (struct options){0}); /* behind 2^32 - 1 */
	expect_serving(1);
}

static void test_bad_messages(_unused_ void **state)
{
	static const char bad_payload[] = "\x0a\x0bgrpc.Health\x12\x05"
					  "Check\x1a\x02\x0a\x7f";

	send_raw(2, 1, TTRPC_FRAME_REQUEST, 0, "\x0a\x7f", 2);
	expect_status(1, TTRPC_INVALID_ARGUMENT, "no request");
	send_raw(sizeof(bad_payload) - 1, 3, TTRPC_FRAME_REQUEST, 0, bad_payload,
		 sizeof(bad_payload) - 1);
	expect_status(3, TTRPC_INVALID_ARGUMENT, "cannot be unpacked");
	send_request(5, "", (struct options){0});
	expect_serving(5);
}

static void test_oversize_is_drained(_unused_ void **state)
{
	size_t left = TTRPC_FRAME_MAX + 1;
	static char zeros[65536];

	send_raw(TTRPC_FRAME_MAX + 1, 1, TTRPC_FRAME_REQUEST, 0, NULL, 0);
	while (left) {
		ssize_t n = write(peer, zeros, MIN(left, sizeof(zeros)));

		if (n > 0)
			left -= (size_t)n;
		else
			loop_round(loop, 1000);
	}
	expect_status(1, TTRPC_RESOURCE_EXHAUSTED, "4194305 bytes exceeds");
	send_request(3, "", (struct options){0});
	expect_serving(3);
}

/* Many empty messages are small on the wire and large in memory. */
static void test_amplification_is_bounded(_unused_ void **state)
{
	size_t n = 1 << 20;
	_cleanup_(freep) char *data = malloc(n);
	size_t sent = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		memcpy(data + i, "\x2a\x00", 2); /* metadata = {} */
	send_raw((uint32_t)n, 1, TTRPC_FRAME_REQUEST, 0, NULL, 0);
	while (sent < n) {
		ssize_t r = write(peer, data + sent, n - sent);

		if (r > 0)
			sent += (size_t)r;
		else
			loop_round(loop, 1000);
	}
	expect_status(1, TTRPC_INVALID_ARGUMENT, "no request");
	send_request(3, "", (struct options){0});
	expect_serving(3);
}

static void test_garbage_closes(_unused_ void **state)
{
	assert_int_equal(write(peer, "GET / HTTP/1.1\r\n", 16), 16);
	expect_closed();
	assert_int_equal(n_run, 0);
}

static void test_parked(_unused_ void **state)
{
	Grpc__VersionCheckResponse answer = GRPC__VERSION_CHECK_RESPONSE__INIT;

	send_request(1, "", (struct options){.method = "Version"});
	settle(3);
	assert_non_null(parked);
	send_request(3, "", (struct options){0});
	expect_serving(3);
	answer.agent_version = "late";
	ttrpc_call_reply(parked, &answer.base);
	expect_version(1, "late");
	send_request(5, "now", (struct options){.method = "Version"});
	expect_version(5, "early");
	send_request(7, "", (struct options){.method = "Version"});
	settle(3);
	ttrpc_call_fail(parked, -ESRCH, "no %s", "luck");
	expect_status(7, TTRPC_NOT_FOUND, "no luck");
	assert_int_equal(n_gone, 0);
}

/* A string of protobuf is UTF-8, whatever the text was made of and wherever it was cut. */
static void test_status_is_utf8(_unused_ void **state)
{
	_cleanup_(freep) char *text = xmalloc(16384 + 3);

	send_request(1, "", (struct options){.method = "Version"});
	settle(3);
	ttrpc_call_fail(parked, -EINVAL, "no \xff\xfe, but f\xc3\xbcr");
	expect_status(1, TTRPC_INVALID_ARGUMENT, "no ??, but f\xc3\xbcr");
	memset(text, 'x', 16383);
	strcpy(text + 16383, "\xe2\x82\xac");
	send_request(3, "", (struct options){.method = "Version"});
	settle(3);
	ttrpc_call_fail(parked, -EINVAL, "%s", text);
	text[16383] = '?';
	text[16384] = '\0';
	expect_status(3, TTRPC_INVALID_ARGUMENT, text);
}

static void test_parked_and_gone(_unused_ void **state)
{
	send_request(1, "", (struct options){.method = "Version"});
	settle(3);
	assert_non_null(parked);
	peer = fd_close(peer);
	settle(3);
	assert_int_equal(n_gone, 1);
	assert_int_equal(ttrpc_call_sendable(parked, 1), -EPIPE);
	ttrpc_call_fail(parked, -EIO, "nobody listens");
	settle(3);
	assert_int_equal(n_gone, 1);
}

static void test_deadline(_unused_ void **state)
{
	send_request(1, "sleep", (struct options){.timeout_nano = 5000000});
	expect_status(1, TTRPC_DEADLINE_EXCEEDED, "deadline");
	send_request(3, "", (struct options){.method = "Version", .timeout_nano = 5000000});
	expect_status(3, TTRPC_DEADLINE_EXCEEDED, "deadline");
	assert_int_equal(n_gone, 1);
	assert_true(ttrpc_call_deadline(parked) <= clock_now());
	ttrpc_call_fail(parked, -EIO, "too late");
	send_request(5, "sleep", (struct options){0});
	expect_serving(5); /* and nothing of stream 1 before it */
}

static void test_metadata(_unused_ void **state)
{
	send_request(1, "metadata", (struct options){.method = "Version", .metadata = "abc"});
	expect_version(1, "<abc>");
	send_request(3, "metadata", (struct options){.method = "Version"});
	expect_version(3, "<none>");
}

static void test_reply_over_the_limit(_unused_ void **state)
{
	send_request(1, "big", (struct options){.method = "Version"});
	expect_status(1, TTRPC_RESOURCE_EXHAUSTED, "exceeds");
	send_request(3, "", (struct options){0});
	expect_serving(3);
}

static void test_server_freed_under_calls(_unused_ void **state)
{
	send_request(1, "sleep", (struct options){0});
	send_request(3, "", (struct options){.method = "Version"});
	settle(2);
	assert_non_null(parked);
	ttrpc_server_free(server);
	server = NULL;
	assert_int_equal(n_gone, 1);
	ttrpc_call_fail(parked, -EIO, "nobody listens");
	for (uint64_t end = clock_after(100 * USEC_PER_MSEC); clock_now() < end;)
		loop_round(loop, 10000);
}

static void observed(void *user, const char *name, const char *method, int code, uint64_t usec)
{
	assert_ptr_equal(user, &loop);
	assert_string_equal(name, "grpc.Health");
	assert_string_equal(method, "Check");
	assert_int_equal(code, n_gone == 0 ? TTRPC_OK : TTRPC_NOT_FOUND);
	assert_true(usec < USEC_PER_SEC);
	n_gone++;
}

static void test_observe(_unused_ void **state)
{
	ttrpc_server_observe(server, observed);
	send_request(1, "", (struct options){0});
	expect_serving(1);
	send_request(3, "missing", (struct options){0});
	expect_status(3, TTRPC_NOT_FOUND, "");
	assert_int_equal(n_gone, 2);
}

static bool admit_second(_unused_ int fd)
{
	static int n;

	return ++n == 2;
}

static void test_admit(_unused_ void **state)
{
	_cleanup_(unlinkp) char *path = xasprintf("/tmp/test_server.%d", getpid());
	int listener = fd_unix_listen(path, 0600);
	char byte;

	assert_true(listener >= 0);
	ttrpc_server_admit(server, admit_second);
	assert_int_equal(ttrpc_server_listen(server, listener), 0);
	for (int i = 1; i <= 2; i++) {
		_cleanup_(closep) int fd = fd_unix_connect(path);

		assert_true(fd >= 0);
		settle(3);
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), i == 2 ? -1 : 0);
	}
}

static void test_calls_are_bounded(_unused_ void **state)
{
	uint32_t stream = 1;

	fail_when_gone = true;
	for (; stream < 2 * TTRPC_CALLS_MAX; stream += 2) {
		send_request(stream, "", (struct options){.method = "Version"});
		if (stream % 64 == 1)
			settle(2);
	}
	settle(3);
	send_request(stream, "", (struct options){0});
	expect_status(stream, TTRPC_RESOURCE_EXHAUSTED, "too many calls");
	peer = fd_close(peer);
	settle(3);
	assert_int_equal(n_gone, TTRPC_CALLS_MAX);
}

/* Reads whole responses until there is none for a while; how many there were. */
static int read_all(void)
{
	uint8_t bytes[TTRPC_HEADER_SIZE];
	struct ttrpc_header header;
	static char data[1 << 21];
	int n = 0;

	for (;; n++) {
		for (int i = 0; i < 50 && recv(peer, bytes, 1, MSG_PEEK) < 0; i++)
			loop_round(loop, 1000);
		if (recv(peer, bytes, 1, MSG_PEEK) < 0)
			return n;
		assert_int_equal(receive(bytes, sizeof(bytes)), sizeof(bytes));
		ttrpc_header_decode(bytes, &header);
		assert_true(header.length < sizeof(data));
		assert_int_equal(receive(data, header.length), header.length);
	}
}

/* Who does not read his answers is not read from; when he does, nothing has been lost. */
static void test_slow_reader(_unused_ void **state)
{
	int asked = 0, before;

	/* More than the backlog: the server runs no more of them, and then reads no more. */
	for (uint32_t stream = 1; asked < 40; stream += 2, asked++) {
		send_request(stream, "million", (struct options){.method = "Version"});
		loop_round(loop, 0);
	}
	settle(5);
	assert_in_range(n_run, TTRPC_BACKLOG_MAX / 1000000, TTRPC_BACKLOG_MAX / 1000000 + 3);
	before = n_run;
	for (uint32_t stream = 1001; stream < 1101; stream += 2, asked++) {
		send_request(stream, "million", (struct options){.method = "Version"});
		loop_round(loop, 0);
	}
	assert_int_equal(n_run, before);
	assert_int_equal(read_all(), asked);
	assert_int_equal(n_run, asked);
}

static void test_sendable(_unused_ void **state)
{
	send_request(1, "million", (struct options){.method = "Version"});
	settle(3);
	send_request(3, "wait", (struct options){.method = "Version"});
	settle(3);
	assert_int_equal(n_gone, 0); /* most of the million waits for us */
	assert_int_equal(read_all(), 2);
	assert_int_equal(n_gone, 1);
	/* It ends as well when the peer goes. */
	send_request(5, "million", (struct options){.method = "Version"});
	settle(3);
	send_request(7, "wait", (struct options){.method = "Version"});
	settle(3);
	peer = fd_close(peer);
	settle(5);
	assert_int_equal(n_gone, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_answers),
		T(test_golden_frames),
		T(test_one_byte_at_a_time),
		T(test_pipelined_out_of_order),
		T(test_unimplemented),
		T(test_streaming_is_refused),
		T(test_bad_streams),
		T(test_bad_messages),
		T(test_oversize_is_drained),
		T(test_amplification_is_bounded),
		T(test_garbage_closes),
		T(test_parked),
		T(test_status_is_utf8),
		T(test_parked_and_gone),
		T(test_deadline),
		T(test_metadata),
		T(test_reply_over_the_limit),
		T(test_server_freed_under_calls),
		T(test_observe),
		T(test_admit),
		T(test_calls_are_bounded),
		T(test_slow_reader),
		T(test_sendable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
