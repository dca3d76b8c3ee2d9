/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "runtime/debug_console.h"

struct fixture {
	char dir[40];
	char *path;
	struct loop *loop;
	struct debug_console *console;
	int guest;
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);
	int pair[2];

	strcpy(f->dir, "/tmp/kata-test-console-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->path = path_join(f->dir, DEBUG_CONSOLE_SOCKET);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(fd_socketpair(pair), 0);
	f->guest = pair[1];
	assert_int_equal(debug_console_new(f->loop, pair[0], f->path, &f->console, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	debug_console_free(f->console);
	assert_false(fs_exists(f->path));
	loop_free(f->loop);
	fd_close(f->guest);
	fs_remove_all(f->dir);
	free(f->path);
	free(f);
	return 0;
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 10; i++)
		loop_round(f->loop, 2000);
}

static int connect_client(struct fixture *f)
{
	int fd = fd_unix_connect(f->path);

	assert_true(fd >= 0);
	run(f);
	return fd;
}

/* What is there to read, as a string. */
static const char *receive(int fd)
{
	static char text[200];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_both_ways(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int client = -1;

	/* What was said before anybody listened is not shown; the shell is asked for a prompt. */
	assert_int_equal(write(f->guest, "old", 3), 3);
	client = connect_client(f);
	assert_string_equal(receive(client), "");
	assert_string_equal(receive(f->guest), "\n");
	assert_int_equal(write(f->guest, "# ", 2), 2);
	run(f);
	assert_string_equal(receive(client), "# ");
	assert_int_equal(write(client, "id\n", 3), 3);
	run(f);
	assert_string_equal(receive(f->guest), "id\n");
}

static void test_one_at_a_time(void **state)
{
	struct fixture *f = *state;
	int first = connect_client(f), second = connect_client(f);
	_cleanup_(closep) int third = -1;
	char byte;

	assert_non_null(strstr(receive(second), "in use"));
	assert_int_equal(read(second, &byte, 1), 0);
	close(second);
	close(first);
	run(f);
	receive(f->guest);
	third = connect_client(f);
	assert_string_equal(receive(f->guest), "\n");
	assert_int_equal(write(f->guest, "x", 1), 1);
	run(f);
	assert_string_equal(receive(third), "x");
}

/* A client that does not read holds the guest's shell, not our memory; all arrives in the end. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int client = connect_client(f);
	size_t sent = 0, got = 0;
	char data[8192];

	memset(data, 'x', sizeof(data));
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(f->guest, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (i > 1000)
			break;
		loop_round(f->loop, 100);
	}
	assert_true(sent < 4 << 20);
	for (int i = 0; i < 100000 && got < sent; i++) {
		ssize_t n = recv(client, data, sizeof(data), MSG_DONTWAIT);

		if (n > 0)
			got += (size_t)n;
		loop_round(f->loop, 100);
	}
	assert_int_equal(got, sent);
}

/* The guest ends: so does the client's connection. */
static void test_guest_ends(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int client = connect_client(f);
	char byte;

	f->guest = fd_close(f->guest);
	run(f);
	assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 0);
	/* A later client is not left hanging either. */
	close(client);
	client = connect_client(f);
	assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
