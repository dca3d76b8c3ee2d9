/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "loop/co.h"
#include "wire/qmp/qmp.h"

/*
 * The peer is the test itself: a coroutine writes what QEMU would say, or would not, into the other
 * end of a socket pair.
 */

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define SHORT    (50 * USEC_PER_MSEC)

static struct loop *loop;
static int running, ends[2];
static struct qmp *qmp;
static struct buf events, heard;
static char *closed_reason;

static void on_event(_unused_ void *arg, const char *name, json_t *data)
{
	buf_addf(&events, "%s(%s) ", name,
		 data ? json_string_value(json_object_get(data, "device")) : "");
}

static void on_closed(_unused_ void *arg, const char *reason)
{
	assert_null(closed_reason);
	closed_reason = xstrdup(reason);
}

static const struct qmp_listener listener = {on_event, on_closed, NULL};

static int setup(_unused_ void **state)
{
	running = 0;
	assert_int_equal(fd_socketpair(ends), 0);
	return loop_new(&loop);
}

static int teardown(_unused_ void **state)
{
	qmp_free(TAKE_PTR(qmp));
	loop_round(loop, 0);
	loop_free(loop);
	fd_close(ends[1]);
	buf_fini(&events);
	buf_fini(&heard);
	free(TAKE_PTR(closed_reason));
	return 0;
}

static void finished(void)
{
	if (--running == 0)
		loop_quit(loop, 0);
}

static void start(co_fn fn, void *arg)
{
	running++;
	co_start(loop, fn, arg);
}

static void say(const char *text)
{
	assert_int_equal(send(ends[1], text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Waits for one line of the client; returns its id. */
static json_int_t hear(void)
{
	for (;;) {
		char *newline = heard.len ? memchr(heard.data, '\n', heard.len) : NULL;
		char chunk[4096];
		ssize_t r;

		if (newline) {
			json_t *m = json_loadb(heard.data, (size_t)(newline - heard.data), 0, NULL);
			json_int_t id = json_integer_value(json_object_get(m, "id"));

			assert_non_null(m);
			json_decref(m);
			buf_consume(&heard, (size_t)(newline - heard.data) + 1);
			return id;
		}
		assert_true(co_wait_io(ends[1], EPOLLIN, clock_after(USEC_PER_SEC)) > 0);
		r = recv(ends[1], chunk, sizeof(chunk), 0);
		assert_true(r > 0);
		buf_add(&heard, chunk, (size_t)r);
	}
}

static void answer(json_int_t id, const char *body)
{
	_cleanup_(freep) char *text = xasprintf("{%s, \"id\": %lld}\r\n", body, (long long)id);

	say(text);
}

static void greet(void)
{
	say(GREETING);
	answer(hear(), "\"return\": {}");
}

static int open_qmp(struct err *err)
{
	return qmp_open(loop, ends[0], &listener, clock_after(SHORT), &qmp, err);
}

static int run_command(const char *command, json_t **ret, struct err *err)
{
	return qmp_execute(qmp, command, NULL, NULL, 0, clock_after(SHORT), ret, err);
}

/* --- two commands, answered in the other order, an event in between --- */

static void first(_unused_ void *arg)
{
	json_t *ret = NULL;

	assert_int_equal(run_command("one", &ret, NULL), 0);
	assert_int_equal(json_integer_value(json_object_get(ret, "n")), 1);
	json_decref(ret);
	finished();
}

static void second(_unused_ void *arg)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(run_command("two", NULL, &err), -EREMOTEIO);
	assert_string_equal(err_text(&err), "QEMU refused two: bad?[2J luck");
	finished();
}

static void client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), 0);
	start(first, NULL);
	start(second, NULL);
	finished();
}

static void server(_unused_ void *arg)
{
	json_int_t one, two;

	greet();
	one = hear();
	two = hear();
	answer(two, "\"error\": {\"class\": \"GenericError\", \"desc\": \"bad\\u001b[2J luck\"}");
	say("{\"event\": \"DEVICE_DEL");
	co_sleep(2000);
	say("ETED\", \"data\": {\"device\": \"d0\"}, \"timestamp\": {}}\r\n\r\n");
	answer(12345, "\"return\": {}"); /* nobody's */
	answer(one, "\"return\": {\"n\": 1}");
	finished();
}

static void test_out_of_order(_unused_ void **state)
{
	start(client, NULL);
	start(server, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(events.data, "DEVICE_DELETED(d0) ");
	assert_null(closed_reason);
}

/* --- descriptors --- */

static void fd_client(_unused_ void *arg)
{
	json_t *arguments = json_pack("{s:s}", "fdname", "x");
	int fd = STDERR_FILENO;

	assert_int_equal(open_qmp(NULL), 0);
	assert_int_equal(
		qmp_execute(qmp, "getfd", arguments, &fd, 1, clock_after(SHORT), NULL, NULL), 0);
	finished();
}

static void fd_server(_unused_ void *arg)
{
	char chunk[512];
	size_t n = 1;
	int fd = -1;

	greet();
	assert_true(co_wait_io(ends[1], EPOLLIN, clock_after(SHORT)) > 0);
	assert_true(fd_recv(ends[1], chunk, sizeof(chunk), &fd, &n) > 0);
	assert_int_equal(n, 1);
	assert_true(fd >= 0);
	close(fd);
	answer(2, "\"return\": {}");
	finished();
}

static void test_passes_descriptors(_unused_ void **state)
{
	start(fd_client, NULL);
	start(fd_server, NULL);
	assert_int_equal(loop_run(loop), 0);
}

/* --- a peer that is silent --- */

static void silent_client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), 0);
	assert_int_equal(run_command("one", NULL, NULL), -ETIMEDOUT);
	/* The late answer to it is dropped, the session goes on. */
	assert_int_equal(run_command("two", NULL, NULL), 0);
	finished();
}

static void silent_server(_unused_ void *arg)
{
	json_int_t one, two;

	greet();
	one = hear();
	two = hear();
	answer(one, "\"return\": {}");
	answer(two, "\"return\": {}");
	finished();
}

static void test_deadline(_unused_ void **state)
{
	start(silent_client, NULL);
	start(silent_server, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_null(closed_reason);
}

static void mute_client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), -ETIMEDOUT);
	assert_null(qmp);
	finished();
}

static void test_no_greeting(_unused_ void **state)
{
	start(mute_client, NULL);
	assert_int_equal(loop_run(loop), 0);
}

/* --- a peer that breaks the rules, before and after the greeting --- */

static void bad_client(void *arg)
{
	const char *text = arg;
	_cleanup_err_ struct err err = {0};

	say(text);
	assert_int_equal(open_qmp(&err), -EPIPE);
	assert_non_null(strstr(err_text(&err), "connection closed"));
	assert_null(qmp);
	finished();
}

static void test_bad_greeting(_unused_ void **state)
{
	start(bad_client, "{\"return\": {}}\n");
	assert_int_equal(loop_run(loop), 0);
}

static void spoilt_client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), 0);
	assert_int_equal(run_command("one", NULL, NULL), -EPIPE);
	assert_int_equal(run_command("two", NULL, NULL), -EPIPE);
	assert_false(qmp_alive(qmp));
	finished();
}

static void spoilt_server(void *arg)
{
	greet();
	hear();
	say(arg);
	finished();
}

static void test_garbage(_unused_ void **state)
{
	static const char *const garbage[] = {
		"hello\n",
		"[1, 2]\n",
		"{\"return\": {}}\n",
		"{\"x\": 1}\n",
		"{\"error\": \"text\", \"id\": 2}\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		if (i) {
			teardown(NULL);
			setup(NULL);
		}
		start(spoilt_client, NULL);
		start(spoilt_server, (void *)(uintptr_t)garbage[i]);
		assert_int_equal(loop_run(loop), 0);
		assert_non_null(closed_reason);
	}
}

static void flood_server(_unused_ void *arg)
{
	static char chunk[65536];

	greet();
	hear();
	memset(chunk, 'x', sizeof(chunk));
	for (;;) {
		ssize_t r = send(ends[1], chunk, sizeof(chunk), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r < 0 && errno != EAGAIN)
			break;
		co_pause();
	}
	finished();
}

static void flood_client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), 0);
	assert_int_equal(
		qmp_execute(qmp, "one", NULL, NULL, 0, clock_after(5 * USEC_PER_SEC), NULL, NULL),
		-EPIPE);
	finished();
}

static void test_endless_line(_unused_ void **state)
{
	start(flood_client, NULL);
	start(flood_server, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(closed_reason, "a line over the limit");
}

/* --- a peer that does not read --- */

static void stuck_client(_unused_ void *arg)
{
	static char text[900000];

	assert_int_equal(open_qmp(NULL), 0);
	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(qmp_execute(qmp, "big", json_pack("{s:s}", "x", text), NULL, 0,
				     clock_after(SHORT), NULL, NULL),
			 -EPIPE);
	finished();
}

static void stuck_server(_unused_ void *arg)
{
	greet();
	finished();
}

static void test_peer_does_not_read(_unused_ void **state)
{
	start(stuck_client, NULL);
	start(stuck_server, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(closed_reason, "a command could not be sent whole");
}

/* --- freed while a command waits --- */

static void freed_client(_unused_ void *arg)
{
	assert_int_equal(open_qmp(NULL), 0);
	assert_int_equal(qmp_execute(qmp, "one", NULL, NULL, 0, USEC_NEVER, NULL, NULL), -EPIPE);
	finished();
}

static void freed_server(_unused_ void *arg)
{
	greet();
	hear();
	qmp_free(TAKE_PTR(qmp));
	finished();
}

static void test_freed_while_waiting(_unused_ void **state)
{
	start(freed_client, NULL);
	start(freed_server, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_null(closed_reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_out_of_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passes_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_does_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_while_waiting, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
