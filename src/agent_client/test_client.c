/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/client.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "google/protobuf/empty.pb-c.h"
#include "loop/test.h"
#include "wire/ttrpc/ttrpc.h"

/* What an agent says, when it is a hostile one: its peer is a server of the test. */

#define LONG_TEXT (1U << 20)

static struct loop *loop;
static struct ttrpc_server *server;
static struct agent_client *agent;
static const char *answer;

static int refuse(_unused_ struct ttrpc_call *call, _unused_ const void *request,
		  _unused_ void *response, struct err *err)
{
	return err_setx(err, -ENOENT, "%s", answer);
}

static int stats(struct ttrpc_call *call, _unused_ const void *request, void *response,
		 _unused_ struct err *err)
{
	Grpc__StatsContainerResponse *res = response;
	Grpc__NetworkStats *first = ttrpc_call_alloc(call, sizeof(*first));

	grpc__network_stats__init(first);
	first->name = ttrpc_call_strdup(call, answer);
	first->rx_bytes = 7;
	res->n_network_stats = 1;
	res->network_stats = ttrpc_call_alloc(call, sizeof(first));
	res->network_stats[0] = first;
	return 0;
}

static int read_output(struct ttrpc_call *call, _unused_ const void *request, void *response,
		       _unused_ struct err *err)
{
	Grpc__ReadStreamResponse *res = response;

	res->data.data = (uint8_t *)ttrpc_call_strdup(call, answer);
	res->data.len = strlen(answer);
	return 0;
}

static const struct ttrpc_method methods[] = {
	{"StartContainer", &grpc__start_container_request__descriptor,
	 &google__protobuf__empty__descriptor, refuse},
	{"StatsContainer", &grpc__stats_container_request__descriptor,
	 &grpc__stats_container_response__descriptor, stats},
	{"ReadStdout", &grpc__read_stream_request__descriptor,
	 &grpc__read_stream_response__descriptor, read_output},
};
static const struct ttrpc_service service = {"grpc.AgentService", methods, ARRAY_SIZE(methods)};

static int setup(_unused_ void **state)
{
	int fds[2];

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(fd_socketpair(fds), 0);
	assert_int_equal(ttrpc_server_new(loop, NULL, &server), 0);
	ttrpc_server_add(server, &service);
	assert_int_equal(ttrpc_server_attach(server, fds[1]), 0);
	assert_int_equal(agent_open(loop, fds[0], NULL, NULL, &agent, NULL), 0);
	return 0;
}

static int teardown(_unused_ void **state)
{
	agent_free(TAKE_PTR(agent));
	ttrpc_server_free(TAKE_PTR(server));
	for (int i = 0; i < 5; i++)
		loop_round(loop, 1000);
	loop_free(TAKE_PTR(loop));
	return 0;
}

static int start(struct err *err)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;

	return agent_start_container(agent, &request, clock_after(5 * USEC_PER_SEC), err);
}

static void errors_body(void)
{
	_cleanup_(freep) char *text = xmalloc(LONG_TEXT + 1);
	_cleanup_err_ struct err err = {0};

	/* Good text arrives as it is: people and podman parse it. */
	answer = "exec: \"caf\xc3\xa9\": executable file not found in $PATH";
	assert_int_equal(start(&err), -ENOENT);
	assert_string_equal(err_text(&err), answer);
	/* A terminal's commands, a forged line, half a character. */
	answer = "\x1b]0;mine\x07\nctr: all is well\r\xe2\x82";
	assert_int_equal(start(&err), -ENOENT);
	assert_string_equal(err_text(&err), "?]0;mine? ctr: all is well???");
	/* Our own server cuts at 16 KiB already; an agent may send 4 MiB. */
	memset(text, 'x', LONG_TEXT);
	text[LONG_TEXT] = '\0';
	answer = text;
	assert_int_equal(start(&err), -ENOENT);
	assert_int_equal(strlen(err_text(&err)), 4096);
	assert_true(str_has_suffix(err_text(&err), "xxx..."));
}

static void test_errors(_unused_ void **state)
{
	test_in_coroutine(loop, errors_body);
}

static void answers_body(void)
{
	Grpc__StatsContainerRequest request = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__ReadStreamRequest read_request = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__StatsContainerResponse *figures = NULL;
	Grpc__ReadStreamResponse *output = NULL;
	uint64_t deadline = clock_after(5 * USEC_PER_SEC);

	/* Go's decoder would refuse the whole message. */
	answer = "eth\xff\x1b";
	assert_int_equal(agent_stats_container(agent, &request, deadline, &figures, NULL), 0);
	assert_int_equal(figures->n_network_stats, 1);
	assert_string_equal(figures->network_stats[0]->name, "eth??");
	assert_int_equal(figures->network_stats[0]->rx_bytes, 7);
	protobuf_c_message_free_unpacked(&figures->base, NULL);
	/* Output is bytes, not text. */
	assert_int_equal(agent_read_stdout(agent, &read_request, deadline, &output, NULL), 0);
	assert_int_equal(output->data.len, 5);
	assert_memory_equal(output->data.data, answer, 5);
	protobuf_c_message_free_unpacked(&output->base, NULL);
}

static void test_answers(_unused_ void **state)
{
	test_in_coroutine(loop, answers_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
