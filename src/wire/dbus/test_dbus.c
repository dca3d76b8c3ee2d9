/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "wire/dbus/dbus.h"

/* As `busctl` sends it: Hello() as call 1. */
static const unsigned char hello[] = {
	'l', 1,   0,   1,   0,   0,   0,   0,   1,   0,   0,   0,   110, 0,   0,   0,
	1,   1,   'o', 0,   21,  0,   0,   0,   '/', 'o', 'r', 'g', '/', 'f', 'r', 'e',
	'e', 'd', 'e', 's', 'k', 't', 'o', 'p', '/', 'D', 'B', 'u', 's', 0,   0,   0,
	6,   1,   's', 0,   20,  0,   0,   0,   'o', 'r', 'g', '.', 'f', 'r', 'e', 'e',
	'd', 'e', 's', 'k', 't', 'o', 'p', '.', 'D', 'B', 'u', 's', 0,   0,   0,   0,
	2,   1,   's', 0,   20,  0,   0,   0,   'o', 'r', 'g', '.', 'f', 'r', 'e', 'e',
	'd', 'e', 's', 'k', 't', 'o', 'p', '.', 'D', 'B', 'u', 's', 0,   0,   0,   0,
	3,   1,   's', 0,   5,   0,   0,   0,   'H', 'e', 'l', 'l', 'o', 0,   0,   0};

/* An error in answer to call 7. */
static const unsigned char refused[] = {'l', 3, 1, 1,   8,   0,   0,   0, 9, 0, 0,   0,   31,  0,
					0,   0, 5, 1,   'u', 0,   7,   0, 0, 0, 4,   1,   's', 0,
					3,   0, 0, 0,   'a', '.', 'b', 0, 0, 0, 0,   0,   8,   1,
					'g', 0, 1, 's', 0,   0,   3,   0, 0, 0, 'n', 'o', '!', 0};

static void test_call(_unused_ void **state)
{
	_cleanup_(buf_fini) struct buf out = {0};
	const struct dbus_call call = {
		.destination = "org.freedesktop.DBus",
		.path = "/org/freedesktop/DBus",
		.interface = "org.freedesktop.DBus",
		.member = "Hello",
	};

	dbus_format_call(&out, &call, 1);
	assert_int_equal(out.len, sizeof(hello));
	assert_memory_equal(out.data, hello, sizeof(hello));
}

static void test_body(_unused_ void **state)
{
	static const char wanted[] = "\1\0\0\0a\0\0\0\24\0\0\0\0\0\0\0"
				     "\1\0\0\0p\0\2au\0\0\0\4\0\0\0\7\0\0\0\0\0\0\0";
	_cleanup_(buf_fini) struct buf body = {0};
	size_t outer, inner;

	dbus_put_string(&body, "a");
	outer = dbus_begin_array(&body, 8);
	dbus_align(&body, 8);
	dbus_put_string(&body, "p");
	dbus_put_signature(&body, "au");
	inner = dbus_begin_array(&body, 4);
	dbus_put_u32(&body, 7);
	dbus_end_array(&body, inner, 4);
	dbus_end_array(&body, outer, 8);
	inner = dbus_begin_array(&body, 8);
	dbus_end_array(&body, inner, 8);
	assert_int_equal(body.len, sizeof(wanted) - 1);
	assert_memory_equal(body.data, wanted, sizeof(wanted) - 1);
}

static void test_parse(_unused_ void **state)
{
	unsigned char bytes[sizeof(refused) + 1];
	struct dbus_message m;

	for (size_t n = 0; n < sizeof(refused); n++)
		assert_int_equal(dbus_parse(refused, n, &m), 0);
	memcpy(bytes, refused, sizeof(refused));
	assert_int_equal(dbus_parse(bytes, sizeof(bytes), &m), sizeof(refused));
	assert_int_equal(m.type, DBUS_ERROR);
	assert_int_equal(m.reply_to, 7);
	assert_string_equal(m.error, "a.b");
	assert_string_equal(m.text, "no!");
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		size_t at;
		unsigned char value;
		int r;
	} cases[] = {
		{0, 'B', -EBADMSG},  {1, 0, -EBADMSG},     {3, 2, -EBADMSG},  {8, 0, -EBADMSG},
		{6, 255, -EMSGSIZE}, {14, 255, -EMSGSIZE}, {17, 9, -EBADMSG}, {18, 'v', -EBADMSG},
		{28, 200, -EBADMSG}, {32, 0, -EBADMSG},    {48, 4, -EBADMSG}, {48, 2, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned char bytes[sizeof(refused)];
		struct dbus_message m;

		memcpy(bytes, refused, sizeof(refused));
		bytes[cases[i].at] = cases[i].value;
		assert_int_equal(dbus_parse(bytes, sizeof(bytes), &m), cases[i].r);
	}
}

/* --- a peer --- */

#define DEADLINE clock_after(test_limit(5 * USEC_PER_SEC))

/* Reads until what came ends with `end`. */
static void expect(int fd, const void *end, size_t n)
{
	_cleanup_(buf_fini) struct buf in = {0};

	while (in.len < n || memcmp(in.data + in.len - n, end, n) != 0) {
		buf_reserve(&in, 1);
		if (read(fd, in.data + in.len, 1) != 1)
			_exit(1);
		in.len++;
	}
}

/* Greets, then answers call 2 with a signal, an answer to another call and its bytes, in pieces. */
static void serve(int listener, const unsigned char *answer, size_t n)
{
	unsigned char welcome[sizeof(refused)], bytes[sizeof(refused)];
	int fd = accept(listener, NULL, NULL);

	memcpy(welcome, refused, sizeof(refused));
	welcome[1] = DBUS_RETURN;
	welcome[20] = 1;
	expect(fd, "\r\n", 2);
	fd_write_all(fd, "OK 0123\r\n", strlen("OK 0123\r\n"));
	expect(fd, "BEGIN\r\n", strlen("BEGIN\r\n"));
	expect(fd, "Hello\0\0\0", 8);
	fd_write_all(fd, welcome, sizeof(welcome));
	expect(fd, "Ask", 3);
	memcpy(bytes, refused, sizeof(refused));
	bytes[1] = DBUS_SIGNAL;
	fd_write_all(fd, bytes, sizeof(bytes));
	fd_write_all(fd, welcome, sizeof(welcome));
	for (size_t i = 0; i < n; i++)
		fd_write_all(fd, answer + i, 1);
	pause();
}

static int ask(unsigned char type, size_t n, char **ret_error)
{
	const struct dbus_call call = {.path = "/", .member = "Ask"};
	char dir[] = "/tmp/test-dbus-XXXXXX";
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int listener = -1;
	unsigned char answer[sizeof(refused)];
	struct dbus bus;
	pid_t pid;
	int r;

	memcpy(answer, refused, sizeof(refused));
	answer[1] = type;
	answer[20] = 2;
	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/bus", dir);
	listener = fd_unix_listen(path, 0600);
	assert_true(listener >= 0);
	fd_set_nonblock(listener, false);
	pid = fork();
	if (pid == 0) {
		serve(listener, answer, n);
		_exit(0);
	}
	assert_int_equal(dbus_open(&bus, path, true, DEADLINE), 0);
	r = dbus_ask(&bus, &call, n ? DEADLINE : clock_after(50 * USEC_PER_MSEC), ret_error);
	dbus_close(&bus);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
	rmdir(dir);
	return r;
}

static void test_ask(_unused_ void **state)
{
	_cleanup_(freep) char *error = NULL;

	assert_int_equal(ask(DBUS_RETURN, sizeof(refused), &error), 0);
	assert_null(error);
	assert_int_equal(ask(DBUS_ERROR, sizeof(refused), &error), -EREMOTEIO);
	assert_string_equal(error, "a.b: no!");
}

static void test_silence(_unused_ void **state)
{
	char *error = NULL;

	assert_int_equal(ask(DBUS_RETURN, 0, &error), -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),  cmocka_unit_test(test_body),
		cmocka_unit_test(test_parse), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ask),   cmocka_unit_test(test_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
