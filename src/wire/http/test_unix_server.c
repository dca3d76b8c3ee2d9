/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "loop/co.h"
#include "wire/http/unix_server.h"

static void test_parse(_unused_ void **state)
{
	static const char whole[] = "GET /metrics?x=1 HTTP/1.1\r\nHost: shim\r\n\r\n";
	struct http_request request;

	for (size_t n = 0; n < sizeof(whole) - 1; n++)
		assert_int_equal(http_request_parse(whole, n, &request), 0);
	assert_int_equal(http_request_parse(whole, sizeof(whole) - 1, &request), sizeof(whole) - 1);
	assert_int_equal(request.n_path, strlen("/metrics"));
	assert_memory_equal(request.path, "/metrics", request.n_path);
	assert_false(request.head_only);
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{"POST /metrics HTTP/1.1\r\n", -ENOTSUP},
		{"DELETE / HTTP/1.1\r\n\r\n", -ENOTSUP},
		{"GET /metrics HTTP/2.0\r\n\r\n", -EBADMSG},
		{"GET /metrics\r\n\r\n", -EBADMSG},
		{"GET metrics HTTP/1.1\r\n\r\n", -EBADMSG},
		{"GET  /metrics HTTP/1.1\r\n\r\n", -EBADMSG},
		{"GET /a\tb HTTP/1.1\r\n\r\n", -EBADMSG},
		{" / HTTP/1.1\r\n\r\n", -EBADMSG},
		{"\r\n\r\n", -EBADMSG},
		{"\x16\x03\x01\x02\r\n", -EBADMSG},
	};
	_cleanup_(freep) char *endless = xmalloc(HTTP_HEAD_MAX);
	struct http_request request;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http_request_parse(cases[i].text, strlen(cases[i].text), &request),
				 cases[i].r);
	memset(endless, 'x', HTTP_HEAD_MAX);
	assert_int_equal(http_request_parse(endless, HTTP_HEAD_MAX, &request), -EMSGSIZE);
	assert_int_equal(http_request_parse("GET /\0 HTTP/1.1\r\n", 17, &request), -EBADMSG);
}

static int page(void *arg, struct http_answer *answer, _unused_ struct err *err)
{
	/* Far more than a socket holds: the answer must wait for its reader. */
	co_sleep(1000);
	for (int i = 0; i < *(int *)arg; i++)
		buf_addf(&answer->body, "%07d\n", i);
	return 0;
}

static int broken(_unused_ void *arg, struct http_answer *answer, struct err *err)
{
	buf_adds(&answer->body, "half a page");
	return err_setx(err, -EIO, "the agent is gone");
}

static const struct http_route routes[] = {{"/page", page}, {"/broken", broken}};

/* Sends a request and returns everything until the server closes. */
static char *ask(struct loop *loop, const char *path, const char *request)
{
	struct buf b = {0};
	int fd = fd_unix_connect(path);
	ssize_t n;

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, request, strlen(request)), 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	do {
		assert_int_equal(loop_round(loop, 1000), 0);
		buf_reserve(&b, 65536);
		n = read(fd, b.data + b.len, 65536);
		if (n > 0)
			b.len += n;
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	close(fd);
	return buf_take(&b);
}

static void expect(struct loop *loop, const char *path, const char *request, const char *start)
{
	_cleanup_(freep) char *text = ask(loop, path, request);

	assert_memory_equal(text, start, strlen(start));
}

static void test_server(_unused_ void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	_cleanup_(freep) char *text = NULL;
	struct http_server *server = NULL;
	char path[64];
	int lines = 300000;

	snprintf(path, sizeof(path), "/tmp/test-http-%d.sock", getpid());
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(http_server_new(loop, routes, ARRAY_SIZE(routes), &lines,
					 fd_unix_listen(path, 0600), &server),
			 0);
	text = ask(loop, path, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(text, "Content-Length: 2400000\r\n"));
	assert_string_equal(text + strlen(text) - 8, "0299999\n");
	expect(loop, path, "GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ");
	expect(loop, path, "GET /pageant HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ");
	expect(loop, path, "PUT /page HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ");
	expect(loop, path, "hello\r\n\r\n", "HTTP/1.1 400 ");
	expect(loop, path, "GET /broken HTTP/1.0\r\n\r\n", "HTTP/1.1 500 ");
	free(text);
	text = ask(loop, path, "GET /broken HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, "\r\n\r\nthe agent is gone\n"));
	free(text);
	text = ask(loop, path, "HEAD /page HTTP/1.1\r\n\r\n");
	assert_non_null(strstr(text, "Content-Length: 2400000\r\n"));
	assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
	http_server_free(server);
	unlink(path);
}

/* More clients than allowed: the later ones are turned away, the earlier ones keep their place. */
static void test_crowd(_unused_ void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct http_server *server = NULL;
	int fds[HTTP_CONNECTIONS_MAX + 4], lines = 1;
	char path[64], byte;

	snprintf(path, sizeof(path), "/tmp/test-http-%d.sock", getpid());
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(http_server_new(loop, routes, ARRAY_SIZE(routes), &lines,
					 fd_unix_listen(path, 0600), &server),
			 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd_unix_connect(path);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(fds); i++)
		assert_int_equal(loop_round(loop, 100), 0);
	assert_int_equal(recv(fds[ARRAY_SIZE(fds) - 1], &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(fds[0], &byte, 1, MSG_DONTWAIT), -1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(fds); i++)
		assert_int_equal(loop_round(loop, 100), 0);
	http_server_free(server);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_server),
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
