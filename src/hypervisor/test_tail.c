/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <unistd.h>

#include "hypervisor/tail.h"

static struct loop *loop;
static struct tail tail;
static int writer;

static int setup(_unused_ void **state)
{
	int fds[2];

	if (loop_new(&loop) < 0 || pipe(fds) < 0)
		return -1;
	writer = fds[1];
	tail_init(&tail);
	return tail_open(&tail, loop, fds[0]);
}

static int teardown(_unused_ void **state)
{
	fd_close(writer);
	tail_fini(&tail);
	loop_free(loop);
	return 0;
}

static void put(const char *s)
{
	assert_int_equal(write(writer, s, strlen(s)), strlen(s));
	loop_round(loop, 0);
}

static void test_lines(_unused_ void **state)
{
	assert_string_equal(tail_text(&tail, 3), "");
	put("one\r\n\r\ntwo\n");
	assert_string_equal(tail_text(&tail, 3), "one | two");
	put("thr");
	assert_string_equal(tail_text(&tail, 2), "two | thr");
	put("ee\nfour\n\n\n");
	assert_string_equal(tail_text(&tail, 2), "three | four");
	assert_string_equal(tail_text(&tail, 1), "four");
	assert_int_equal(tail.total, 24);
}

/* A guest cannot reach the terminal of whoever reads the error. */
static void test_control_characters(_unused_ void **state)
{
	put("a\033[2J\x80\x81\001b\n");
	assert_string_equal(tail_text(&tail, 1), "a?[2J?b");
}

static void test_bounded(_unused_ void **state)
{
	char line[1000];

	memset(line, 'x', sizeof(line));
	line[999] = '\0';
	for (int i = 0; i < 30; i++)
		put(line);
	put("\nlast\n");
	assert_int_equal(strlen(tail_text(&tail, 100)),
			 TAIL_KEPT - strlen("\nlast\n") + strlen(" | last"));
	assert_string_equal(tail_text(&tail, 1), "last");
}

static void test_writer_ends(_unused_ void **state)
{
	assert_int_equal(write(writer, "words", 5), 5);
	writer = fd_close(writer);
	tail_drain(&tail);
	assert_string_equal(tail_text(&tail, 1), "words");
	assert_int_equal(tail.fd, -1);
	tail_drain(&tail);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writer_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
