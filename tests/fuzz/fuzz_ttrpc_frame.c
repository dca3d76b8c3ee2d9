/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a peer, to the server (even first byte) or to the client (odd): every call that
 * was begun ends once, and both can be freed at any moment. The rest of the first byte says in
 * pieces of how many bytes they arrive.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/fd.h"
#include "base/str.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "wire/ttrpc/ttrpc.h"

#define CALLS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int under_way;

/* --- server --- */

static void on_gone(struct ttrpc_call *call, _unused_ void *arg)
{
	under_way--;
	ttrpc_call_fail(call, -EPIPE, "gone");
}

static int check(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__HealthCheckResponse *out = response;

	switch (*in->service) {
	case 'p':
		under_way++;
		ttrpc_call_on_gone(call, on_gone, NULL);
		return TTRPC_PARKED;
	case 'w':
		co_pause();
		break;
	case 'e':
		return err_set(err, -ENOENT, "%s", in->service);
	default:
		break;
	}
	out->status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return 0;
}

/* Sends back how large the request is when packed again. */
static int create(struct ttrpc_call *call, const void *request, _unused_ void *response,
		  _unused_ struct err *err)
{
	size_t n = protobuf_c_message_get_packed_size(request);

	memset(ttrpc_call_alloc(call, 100), 1, 100);
	return n > 100000000 ? -EINVAL : 0;
}

static const struct ttrpc_method methods[] = {
	{"C", &grpc__check_request__descriptor, &grpc__health_check_response__descriptor, check},
	{"Create", &grpc__create_container_request__descriptor,
	 &grpc__version_check_response__descriptor, create},
};
static const struct ttrpc_service service = {"H", methods, ARRAY_SIZE(methods)};

/* --- client --- */

static void on_done(_unused_ void *arg, int r, const char *message, ProtobufCMessage *response)
{
	under_way--;
	if ((r == 0) != (response != NULL) || (r < 0) != (message != NULL))
		abort();
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
}

static void ask(struct ttrpc_client *client)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;

	for (int i = 0; i < CALLS; i++) {
		if (ttrpc_client_send(client, "H", "C", &request.base,
				      i % 2 ? &grpc__stats_container_response__descriptor
					    : &grpc__routes__descriptor,
				      USEC_NEVER, on_done, NULL) < 0)
			abort();
		under_way++;
	}
}

/* --- the peer --- */

static void feed(struct loop *loop, int fd, const uint8_t *data, size_t size, size_t piece)
{
	char answers[4096];

	while (size) {
		ssize_t n = write(fd, data, MIN(size, piece));

		if (n > 0) {
			data += n;
			size -= (size_t)n;
		} else if (n < 0 && errno != EAGAIN) {
			break;
		}
		loop_round(loop, 0);
		while (read(fd, answers, sizeof(answers)) > 0)
			;
	}
	for (int i = 0; i < 4; i++)
		loop_round(loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ttrpc_server *server = NULL;
	struct ttrpc_client *client = NULL;
	struct loop *loop;
	size_t piece;
	int fds[2];

	if (size < 1)
		return 0;
	under_way = 0;
	if (loop_new(&loop) < 0 || fd_socketpair(fds) < 0)
		abort();
	if (data[0] % 2) {
		if (ttrpc_client_new(loop, fds[0], NULL, NULL, &client) < 0)
			abort();
		ask(client);
	} else {
		ttrpc_server_new(loop, NULL, &server);
		ttrpc_server_add(server, &service);
		if (ttrpc_server_attach(server, fds[0]) < 0)
			abort();
	}
	piece = data[0] < 128 ? (size_t)data[0] / 2 + 1 : 65536;
	feed(loop, fds[1], data + 1, size - 1, piece);
	ttrpc_server_free(server);
	ttrpc_client_free(client);
	if (under_way != 0)
		abort();
	for (int i = 0; i < 4; i++) /* coroutines that still run end here */
		loop_round(loop, 0);
	loop_free(loop);
	close(fds[1]);
	return 0;
}
