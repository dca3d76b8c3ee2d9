/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of tests/interop: a client of a Go server. Prints "ok NAME" or "not ok NAME: why" a
 * line, or with `latency` the median of so many Health.Check calls in nanoseconds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/str.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "wire/ttrpc/ttrpc.h"

static const char *path;
static struct loop *loop;
static struct ttrpc_client *client;
static int closed;

static void on_closed(_unused_ void *arg, _unused_ const char *reason)
{
	closed++;
}

static void reconnect(void)
{
	int fd = fd_unix_connect(path);

	ttrpc_client_free(TAKE_PTR(client));
	if (fd < 0 || ttrpc_client_new(loop, fd, on_closed, NULL, &client) < 0) {
		printf("not ok connect: %s\n", strerror(errno));
		exit(1);
	}
}

static void result(const char *name, bool ok, const char *why)
{
	if (ok)
		printf("ok %s\n", name);
	else
		printf("not ok %s: %s\n", name, why);
	fflush(stdout);
}

/* Calls Version; on success *ret (may be NULL) is the text, the caller's. */
static int ask(const char *text, uint64_t timeout, char **ret, struct err *err)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	Grpc__VersionCheckResponse *response;
	int r;

	request.service = (char *)text;
	r = ttrpc_client_call(client, "grpc.Health", "Version", &request.base,
			      &grpc__version_check_response__descriptor,
			      timeout ? clock_after(timeout) : USEC_NEVER,
			      (ProtobufCMessage **)&response, err);
	if (r < 0)
		return r;
	if (ret)
		*ret = xstrdup(response->agent_version);
	grpc__version_check_response__free_unpacked(response, NULL);
	return 0;
}

static void expect_error(const char *name, const char *text, uint64_t timeout, int expected,
			 const char *message)
{
	_cleanup_err_ struct err err = {0};
	_cleanup_(freep) char *why = NULL;
	int r = ask(text, timeout, NULL, &err);

	why = xasprintf("%d (%s), expected %d (%s)", r, err_text(&err), expected, message);
	result(name, r == expected && strstr(err_text(&err), message), why);
}

static void expect_echo(const char *name, const char *text)
{
	_cleanup_err_ struct err err = {0};
	_cleanup_(freep) char *answer = NULL;
	int r = ask(text, 20 * USEC_PER_SEC, &answer, &err);

	result(name, r == 0 && streq(answer, text), r < 0 ? err_text(&err) : "other text");
}

/* --- many at once --- */

#define MANY 1000

static int n_running, n_wrong;

static void one_of_many(void *arg)
{
	_cleanup_(freep) char *text = xasprintf("number %d", (int)(intptr_t)arg);
	_cleanup_(freep) char *answer = NULL;

	if (ask(text, 60 * USEC_PER_SEC, &answer, NULL) < 0 || !streq(answer, text))
		n_wrong++;
	n_running--;
}

static void many(void)
{
	_cleanup_(freep) char *why = NULL;

	for (n_running = 0; n_running < MANY; n_running++)
		co_start(loop, one_of_many, (void *)(intptr_t)n_running);
	while (n_running)
		co_sleep(1000);
	why = xasprintf("%d wrong answers", n_wrong);
	result("1000 concurrent calls", n_wrong == 0, why);
}

/* --- a peer that is gone or slow under many calls --- */

#define LARGE ((size_t)1000000)

static int n_gone;

static void one_of_the_dropped(_unused_ void *arg)
{
	n_gone += ask("sleep:20000", 0, NULL, NULL) == -EPIPE;
	n_running--;
}

static void dropped_under_calls(void)
{
	_cleanup_(freep) char *why = NULL;

	for (n_running = 0; n_running < MANY; n_running++)
		co_start(loop, one_of_the_dropped, NULL);
	co_sleep(100 * USEC_PER_MSEC); /* all are sent */
	expect_error("dropped under 1000 calls", "drop:", 0, -EPIPE, "connection closed");
	while (n_running)
		co_sleep(1000);
	why = xasprintf("%d of them", n_gone);
	result("each of the 1000 calls ends", n_gone == MANY, why);
	reconnect();
	expect_echo("and a new connection works", "hello");
}

static int n_answered, n_refused;

static void one_large(void *arg)
{
	_cleanup_(freep) char *answer = NULL;
	int r = ask(arg, 60 * USEC_PER_SEC, &answer, NULL);

	n_refused += r == -ENOBUFS;
	n_answered += r == 0 && strlen(answer) == LARGE;
	n_running--;
}

/* The peer reads nothing for a while: what it can make us keep is bounded. */
static void slow_reader(void)
{
	_cleanup_(freep) char *big = xmalloc(LARGE + 1);
	_cleanup_(freep) char *why = NULL;
	int sent;

	memset(big, 's', LARGE);
	big[LARGE] = '\0';
	n_answered = n_refused = 0;
	expect_echo("a server that stops reading", "stall:2000");
	for (int i = 0; i < 60; i++) {
		n_running++;
		co_start(loop, one_large, big);
		co_sleep(1000);
	}
	sent = 60 - n_refused;
	why = xasprintf("%d of 60 were taken", sent);
	result("takes no more than TTRPC_BACKLOG_MAX", sent >= 15 && sent <= 20, why);
	while (n_running)
		co_sleep(1000);
	free(why);
	why = xasprintf("%d answers to %d calls", n_answered, sent);
	result("those taken are answered later", n_answered == sent, why);
}

/* We read nothing for a while: Go's server waits with its answers. */
static void slow_at_reading(void)
{
	_cleanup_(freep) char *text = xasprintf("size:%zu", LARGE);
	_cleanup_(freep) char *why = NULL;

	n_answered = 0;
	for (n_running = 0; n_running < 100; n_running++)
		co_start(loop, one_large, text);
	co_sleep(1000);
	usleep(300000);
	while (n_running)
		co_sleep(1000);
	why = xasprintf("%d of 100", n_answered);
	result("100 answers of 1 MB to a slow reader", n_answered == 100, why);
}

/* --- scenarios --- */

static void metadata(void)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_err_ struct err err = {0};
	int r;

	ttrpc_client_add_metadata(client, "trace", "first");
	ttrpc_client_add_metadata(client, "trace", "second");
	ttrpc_client_add_metadata(client, "empty", "");
	r = ask("metadata:trace", 20 * USEC_PER_SEC, &text, &err);
	result("metadata", r == 0 && streq(text, "first second"), r < 0 ? err_text(&err) : text);
	reconnect();
}

static void large(void)
{
	size_t n = 4000000;
	_cleanup_(freep) char *big = xmalloc(n + 1);
	_cleanup_err_ struct err err = {0};

	memset(big, 'y', n);
	big[n] = '\0';
	expect_echo("a call of 4 MB", big);
	/* Each fits the limit of a response, but for the second, which Go refuses to send. */
	expect_error("a response over the limit", "size:4194304", 0, -EPIPE, "connection closed");
	reconnect();
	{
		_cleanup_(freep) char *bigger = xmalloc(TTRPC_FRAME_MAX + 1);

		memset(bigger, 'z', TTRPC_FRAME_MAX);
		bigger[TTRPC_FRAME_MAX] = '\0';
		result("a request over the limit is not sent",
		       ask(bigger, 0, NULL, &err) == -EMSGSIZE, err_text(&err));
	}
	expect_echo("the connection goes on", "hello");
}

static void scenarios(_unused_ void *arg)
{
	reconnect();
	expect_echo("echo", "hello");
	expect_echo("an empty message", "");
	expect_error("status NOT_FOUND", "code:5", 0, -ENOENT, "code 5");
	expect_error("status ALREADY_EXISTS", "code:6", 0, -EEXIST, "code 6");
	expect_error("status FAILED_PRECONDITION", "code:9", 0, -EBUSY, "code 9");
	expect_error("status UNAVAILABLE", "code:14", 0, -EAGAIN, "code 14");
	expect_error("status UNKNOWN", "code:2", 0, -EREMOTEIO, "code 2");
	expect_error("our deadline", "sleep:5000", 50 * USEC_PER_MSEC, -ETIMEDOUT, "");
	expect_error("the server sees the deadline", "deadline:", 0, -EREMOTEIO, "no deadline");
	expect_echo("after a deadline", "hello");
	metadata();
	many();
	large();
	dropped_under_calls();
	slow_reader();
	slow_at_reading();
	expect_error("the server drops the connection", "drop:", 0, -EPIPE, "connection closed");
	result("closed is called", closed >= 1, "never");
	reconnect();
	expect_echo("a new connection", "hello");
	ttrpc_client_free(TAKE_PTR(client));
	loop_quit(loop, 0);
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void latency(void *arg)
{
	size_t n = *(uint64_t *)arg;
	uint64_t *samples = xcalloc(n, sizeof(*samples));
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;

	reconnect();
	for (size_t i = 0; i < n; i++) {
		uint64_t start = nanoseconds();

		if (ttrpc_client_call(client, "grpc.Health", "Check", &request.base,
				      &grpc__health_check_response__descriptor, USEC_NEVER, NULL,
				      NULL) < 0)
			exit(1);
		samples[i] = nanoseconds() - start;
	}
	qsort(samples, n, sizeof(*samples), compare);
	printf("%llu %llu\n", (unsigned long long)samples[n / 2],
	       (unsigned long long)samples[n * 99 / 100]);
	free(samples);
	ttrpc_client_free(TAKE_PTR(client));
	loop_quit(loop, 0);
}

int main(int argc, char **argv)
{
	uint64_t n;

	if (argc < 2 || (argc == 3 && parse_u64(argv[2], &n) < 0) || argc > 3) {
		fprintf(stderr, "usage: %s SOCKET [CALLS]\n", argv[0]);
		return 2;
	}
	path = argv[1];
	if (loop_new(&loop) < 0)
		return 1;
	co_start(loop, argc == 3 ? latency : scenarios, &n);
	return loop_run(loop) < 0;
}
