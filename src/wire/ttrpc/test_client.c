/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "ttrpc.pb-c.h"
#include "wire/ttrpc/frame.h"
#include "wire/ttrpc/ttrpc.h"

/* A client whose peer is the test itself, byte by byte; at the end against our own server. */

static struct loop *loop;
static struct ttrpc_client *client;
static int peer = -1;
static int n_closed, n_done, last_result;
static char *last_message;
static bool free_in_callback;

static void on_closed(void *arg, const char *reason)
{
	assert_ptr_equal(arg, &n_closed);
	assert_non_null(reason);
	n_closed++;
	if (free_in_callback)
		ttrpc_client_free(TAKE_PTR(client));
}

static int setup(_unused_ void **state)
{
	int fds[2];

	n_closed = n_done = last_result = 0;
	free_in_callback = false;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(fd_socketpair(fds), 0);
	assert_int_equal(ttrpc_client_new(loop, fds[0], on_closed, &n_closed, &client), 0);
	peer = fds[1];
	return 0;
}

static int teardown(_unused_ void **state)
{
	ttrpc_client_free(client);
	loop_free(loop);
	peer = fd_close(peer);
	free(TAKE_PTR(last_message));
	return 0;
}

static void on_done(void *arg, int r, const char *message, ProtobufCMessage *response)
{
	if (arg)
		assert_int_equal(r, *(int *)arg);
	assert_true((r == 0) == (response != NULL));
	assert_true((r == 0) == (message == NULL));
	last_result = r;
	free(last_message);
	last_message = xstrdup(message);
	n_done++;
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (free_in_callback && client)
		ttrpc_client_free(TAKE_PTR(client));
}

static int call(uint64_t deadline)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;

	request.service = "s";
	return ttrpc_client_send(client, "grpc.Health", "Check", &request.base,
				 &grpc__health_check_response__descriptor, deadline, on_done, NULL);
}

static void answer(uint32_t stream, uint8_t type, const void *data, size_t n)
{
	struct ttrpc_header header = {(uint32_t)n, stream, type, 0};
	uint8_t bytes[TTRPC_HEADER_SIZE];

	ttrpc_header_encode(&header, bytes);
	assert_int_equal(write(peer, bytes, sizeof(bytes)), sizeof(bytes));
	if (data)
		assert_int_equal(write(peer, data, n), n);
}

static void settle(int rounds)
{
	while (rounds--)
		loop_round(loop, 1000);
}

static void expect(int result, const char *text)
{
	for (uint64_t end = clock_after(5 * USEC_PER_SEC); !n_done && clock_now() < end;)
		loop_round(loop, 20000);
	settle(2);
	assert_int_equal(n_done, 1);
	assert_int_equal(last_result, result);
	if (text && (!last_message || !strstr(last_message, text)))
		fail_msg("\"%s\" lacks \"%s\"", last_message ? last_message : "", text);
	n_done = 0;
}

static const char serving[] = "\x12\x02\x08\x01";

static void test_golden_request(_unused_ void **state)
{
	static const uint8_t expected[] = "\0\0\0\x19\0\0\0\x01\x01\0"
					  "\x0a\x0bgrpc.Health\x12\x05"
					  "Check\x1a\x03\x0a\x01s";
	uint8_t got[64];

	assert_int_equal(call(USEC_NEVER), 0);
	assert_int_equal(read(peer, got, sizeof(got)), sizeof(expected) - 1);
	assert_memory_equal(got, expected, sizeof(expected) - 1);
	answer(1, TTRPC_FRAME_RESPONSE, serving, 4);
	expect(0, NULL);
	assert_int_equal(call(USEC_NEVER), 0);
	assert_int_equal(read(peer, got, sizeof(got)), sizeof(expected) - 1);
	assert_int_equal(got[7], 3);
	ttrpc_client_free(TAKE_PTR(client));
	expect(-ECANCELED, "closed");
}

static void test_metadata_travels(_unused_ void **state)
{
	static const char *const pairs[][2] = {
		{"trace", "one"}, {"trace", ""}, {"space", "k8s.io"}};
	uint8_t got[128];
	Ttrpc__Request *request;
	ssize_t n;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		ttrpc_client_add_metadata(client, pairs[i][0], pairs[i][1]);
	/* Every call has it. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(call(clock_after(USEC_PER_SEC)), 0);
		n = read(peer, got, sizeof(got));
		request = ttrpc__request__unpack(NULL, (size_t)n - 10, got + 10);
		assert_non_null(request);
		assert_string_equal(request->method, "Check");
		assert_true(request->timeout_nano > 0);
		assert_int_equal(request->n_metadata, ARRAY_SIZE(pairs));
		for (size_t k = 0; k < ARRAY_SIZE(pairs); k++) {
			assert_string_equal(request->metadata[k]->key, pairs[k][0]);
			assert_string_equal(request->metadata[k]->value, pairs[k][1]);
		}
		ttrpc__request__free_unpacked(request, NULL);
	}
}

static void test_timeout_travels(_unused_ void **state)
{
	uint8_t got[64];
	Ttrpc__Request *request;
	ssize_t n;

	assert_int_equal(call(clock_after(20 * USEC_PER_MSEC)), 0);
	n = read(peer, got, sizeof(got));
	request = ttrpc__request__unpack(NULL, (size_t)n - 10, got + 10);
	assert_non_null(request);
	assert_true(request->timeout_nano > 10000000 && request->timeout_nano <= 20000000);
	ttrpc__request__free_unpacked(request, NULL);
	expect(-ETIMEDOUT, "in time");
	answer(1, TTRPC_FRAME_RESPONSE, serving, 4); /* too late: for nobody */
	settle(3);
	assert_int_equal(n_done, 0);
	assert_int_equal(n_closed, 0);
}

static void test_answers(_unused_ void **state)
{
	static const struct {
		uint8_t type;
		const char *data;
		size_t n;
		int result;
		const char *text;
	} cases[] = {
		{TTRPC_FRAME_RESPONSE, "", 0, 0, NULL},
		{TTRPC_FRAME_RESPONSE, "\x0a\x02\x08\x00", 4, 0, NULL}, /* Rust: a status of OK */
		{TTRPC_FRAME_RESPONSE, "\x0a\x06\x08\x05\x12\x02no", 8, -ENOENT, "no"},
		{TTRPC_FRAME_RESPONSE, "\x0a\x02\x08\x63", 4, -EREMOTEIO, ""},
		{TTRPC_FRAME_RESPONSE, "\x0a\x7f", 2, -EBADMSG, "no response"},
		{TTRPC_FRAME_RESPONSE, "\x12\x02\x0a\x7f", 4, -EBADMSG, "cannot be unpacked"},
		{TTRPC_FRAME_DATA, "\x08\x01", 2, -EPROTO, "stream"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t stream = (uint32_t)i * 2 + 1;

		assert_int_equal(call(USEC_NEVER), 0);
		answer(stream + 2, TTRPC_FRAME_RESPONSE, serving, 4); /* nobody asked */
		answer(stream, cases[i].type, cases[i].data, cases[i].n);
		expect(cases[i].result, cases[i].text);
	}
	assert_int_equal(n_closed, 0);
}

static void test_oversize_response(_unused_ void **state)
{
	struct ttrpc_header header = {TTRPC_FRAME_MAX + 5, 1, TTRPC_FRAME_RESPONSE, 0};
	uint8_t bytes[TTRPC_HEADER_SIZE];
	size_t left = header.length;
	static char zeros[65536];

	assert_int_equal(call(USEC_NEVER), 0);
	ttrpc_header_encode(&header, bytes);
	assert_int_equal(write(peer, bytes, sizeof(bytes)), sizeof(bytes));
	while (left) {
		ssize_t n = write(peer, zeros, MIN(left, sizeof(zeros)));

		if (n > 0)
			left -= (size_t)n;
		else
			loop_round(loop, 1000);
	}
	expect(-EMSGSIZE, "exceeds");
	assert_int_equal(call(USEC_NEVER), 0);
	answer(3, TTRPC_FRAME_RESPONSE, serving, 4);
	expect(0, NULL);
}

static void test_oversize_request(_unused_ void **state)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	_cleanup_(freep) char *big = malloc(TTRPC_FRAME_MAX + 1);

	memset(big, 'x', TTRPC_FRAME_MAX);
	big[TTRPC_FRAME_MAX] = '\0';
	request.service = big;
	assert_int_equal(ttrpc_client_send(client, "s", "m", &request.base,
					   &grpc__health_check_response__descriptor, USEC_NEVER,
					   on_done, NULL),
			 -EMSGSIZE);
	assert_int_equal(call(USEC_NEVER), 0);
	settle(2);
	assert_int_equal(n_done, 0);
}

static void test_peer_goes(_unused_ void **state)
{
	assert_int_equal(call(USEC_NEVER), 0);
	peer = fd_close(peer);
	expect(-EPIPE, "connection closed");
	assert_int_equal(n_closed, 1);
	assert_int_equal(call(USEC_NEVER), -EPIPE);
	settle(3);
	assert_int_equal(n_done, 0);
	assert_int_equal(n_closed, 1);
}

static void test_peer_talks_nonsense(_unused_ void **state)
{
	assert_int_equal(call(USEC_NEVER), 0);
	assert_int_equal(write(peer, "\xff", 1), 1);
	expect(-EPIPE, "not a ttRPC frame");
	assert_int_equal(n_closed, 1);
}

static void test_freed_by_closed(_unused_ void **state)
{
	free_in_callback = true;
	peer = fd_close(peer);
	settle(3);
	assert_int_equal(n_closed, 1);
	assert_null(client);
}

static void test_freed_by_done(_unused_ void **state)
{
	for (int i = 0; i < 3; i++)
		assert_int_equal(call(USEC_NEVER), 0);
	free_in_callback = true;
	answer(3, TTRPC_FRAME_RESPONSE, serving, 4);
	settle(5);
	assert_int_equal(n_done, 3);
	assert_int_equal(n_closed, 0);
	assert_null(client);
}

static void test_freed_by_done_when_peer_goes(_unused_ void **state)
{
	for (int i = 0; i < 3; i++)
		assert_int_equal(call(USEC_NEVER), 0);
	free_in_callback = true;
	peer = fd_close(peer);
	settle(5);
	assert_int_equal(n_done, 3);
	assert_int_equal(n_closed, 0);
}

/* A peer that does not read costs a bounded amount of memory. */
static void test_slow_reader(_unused_ void **state)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	_cleanup_(freep) char *big = malloc(1 << 20);
	int r, n = 0;

	memset(big, 'x', (1 << 20) - 1);
	big[(1 << 20) - 1] = '\0';
	request.service = big;
	while ((r = ttrpc_client_send(client, "s", "m", &request.base,
				      &grpc__health_check_response__descriptor, USEC_NEVER, on_done,
				      NULL)) == 0)
		assert_true(++n < 40);
	assert_int_equal(r, -ENOBUFS);
	assert_true(n >= 16);
}

/* --- against our own server --- */

static int running, n_served;

static int check(_unused_ struct ttrpc_call *c, const void *request, void *response,
		 _unused_ struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__HealthCheckResponse *out = response;

	if (*in->service == 'w')
		co_sleep((uint64_t)(n_served % 7) * 100);
	n_served++;
	out->status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return 0;
}

static int version(struct ttrpc_call *c, const void *request, void *response,
		   _unused_ struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__VersionCheckResponse *out = response;

	out->agent_version = ttrpc_call_strdup(c, in->service);
	return 0;
}

static const struct ttrpc_method methods[] = {
	{"Check", &grpc__check_request__descriptor, &grpc__health_check_response__descriptor,
	 check},
	{"Version", &grpc__check_request__descriptor, &grpc__version_check_response__descriptor,
	 version},
};
static const struct ttrpc_service service = {"grpc.Health", methods, ARRAY_SIZE(methods)};

static void serve(struct ttrpc_server **ret)
{
	assert_int_equal(ttrpc_server_new(loop, NULL, ret), 0);
	ttrpc_server_add(*ret, &service);
	assert_int_equal(ttrpc_server_attach(*ret, TAKE_FD(peer)), 0);
}

static void finished(void)
{
	if (--running == 0)
		loop_quit(loop, 0);
}

static void one_call(void *arg)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	Grpc__VersionCheckResponse *response;
	_cleanup_err_ struct err err = {0};
	char text[32];

	snprintf(text, sizeof(text), "w%d", (int)(intptr_t)arg);
	request.service = text;
	assert_int_equal(ttrpc_client_call(client, "grpc.Health", "Check", &request.base,
					   &grpc__health_check_response__descriptor,
					   clock_after(20 * USEC_PER_SEC), NULL, &err),
			 0);
	assert_int_equal(ttrpc_client_call(client, "grpc.Health", "Version", &request.base,
					   &grpc__version_check_response__descriptor, USEC_NEVER,
					   (ProtobufCMessage **)&response, &err),
			 0);
	assert_string_equal(response->agent_version, text);
	grpc__version_check_response__free_unpacked(response, NULL);
	assert_int_equal(ttrpc_client_call(client, "grpc.Health", "Nope", &request.base,
					   &grpc__version_check_response__descriptor, USEC_NEVER,
					   (ProtobufCMessage **)&response, &err),
			 -ENOSYS);
	assert_non_null(strstr(err_text(&err), "Nope is not implemented"));
	finished();
}

static void test_many_calls(_unused_ void **state)
{
	struct ttrpc_server *server;

	serve(&server);
	n_served = 0;
	for (running = 0; running < 1000; running++)
		co_start(loop, one_call, (void *)(intptr_t)running);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(n_served, 1000);
	ttrpc_server_free(server);
}

static void large_calls(_unused_ void *arg)
{
	_cleanup_(freep) char *big = malloc(4000000);
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	Grpc__VersionCheckResponse *response;

	memset(big, 'y', 3999999);
	big[3999999] = '\0';
	request.service = big;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ttrpc_client_call(client, "grpc.Health", "Version", &request.base,
						   &grpc__version_check_response__descriptor,
						   clock_after(20 * USEC_PER_SEC),
						   (ProtobufCMessage **)&response, NULL),
				 0);
		assert_string_equal(response->agent_version, big);
		grpc__version_check_response__free_unpacked(response, NULL);
	}
	finished();
}

static void test_large_frames(_unused_ void **state)
{
	struct ttrpc_server *server;

	serve(&server);
	running = 4;
	for (int i = 0; i < 4; i++)
		co_start(loop, large_calls, NULL);
	assert_int_equal(loop_run(loop), 0);
	ttrpc_server_free(server);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_golden_request),
		T(test_metadata_travels),
		T(test_timeout_travels),
		T(test_answers),
		T(test_oversize_response),
		T(test_oversize_request),
		T(test_peer_goes),
		T(test_peer_talks_nonsense),
		T(test_freed_by_closed),
		T(test_freed_by_done),
		T(test_freed_by_done_when_peer_goes),
		T(test_slow_reader),
		T(test_many_calls),
		T(test_large_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
