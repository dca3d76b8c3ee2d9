/* SPDX-License-Identifier: Apache-2.0 */

/* Standard streams between a client's FIFOs and a process. */

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/sha256.h"
#include "containerd.h"
#include "fakes/own_run.h"
#include "google/protobuf/empty.pb-c.h"
#include "shim.pb-c.h"

static int setup(void **state)
{
	static struct containerd c;

	containerd_open(&c);
	*state = &c;
	return 0;
}

static int teardown(void **state)
{
	containerd_close(*state);
	return 0;
}

/* A shim with container c1 that sleeps, for execs. */
static void open_shim(struct containerd *c)
{
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 1000", "");

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
}

static void exec_start(struct containerd *c, const char *id, const char *args,
		       const struct streams *s, bool terminal)
{
	assert_int_equal(task_exec(c, "c1", id, args, s, terminal, NULL), 0);
	assert_int_equal(task_start(c, "c1", id, NULL), 0);
}

static void test_output(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *out = NULL, *err = NULL;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "oe", &s);
	exec_start(c, "e1", "\"sh\",\"-c\",\"echo out; echo err >&2; cat; exit 5\"", &s, false);
	out = streams_read(c, s.out_fd, NULL);
	err = streams_read(c, s.err_fd, NULL);
	assert_string_equal(out, "out\n");
	assert_string_equal(err, "err\n");
	assert_int_equal(task_wait(c, "c1", "e1"), 5);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 5);
	streams_close(&s);
}

/* Whoever has seen the exit has the output: a reader that comes after it finds all of it. */
static void test_output_before_exit(void **state)
{
	struct containerd *c = *state;
	struct streams s;
	char data[65536];

	open_shim(c);
	for (int i = 0; i < 20; i++) {
		char id[16];

		snprintf(id, sizeof(id), "e%d", i);
		streams_open(c, id, "o", &s);
		exec_start(c, id, "\"head\",\"-c\",\"50000\",\"/dev/zero\"", &s, false);
		assert_int_equal(task_wait(c, "c1", id), 0);
		assert_int_equal(read(s.out_fd, data, sizeof(data)), 50000);
		streams_close(&s);
	}
}

/* What an exec leaves behind may still write: its exit does not wait for that, its Delete does. */
static void test_output_after_exit(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *out = NULL;
	struct streams s;
	uint64_t before = clock_now();

	open_shim(c);
	streams_open(c, "e1", "o", &s);
	exec_start(c, "e1", "\"sh\",\"-c\",\"{ sleep 3; echo late; } & echo early\"", &s, false);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	assert_true(clock_now() - before < 2500 * USEC_PER_MSEC);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 0);
	assert_true(clock_now() - before > 2500 * USEC_PER_MSEC);
	out = streams_read(c, s.out_fd, NULL);
	assert_string_equal(out, "early\nlate\n");
	streams_close(&s);
}

/* A container that is deleted while the output of an exec is still waited for. */
static void test_delete_in_drain(void **state)
{
	struct containerd *c = *state;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "o", &s);
	exec_start(c, "e1", "\"yes\"", &s, false);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 137);
	/* The end of the exec comes a moment later. */
	containerd_rounds(c, 100);
	assert_int_equal(task_delete(c, "c1", "", NULL), 137);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	streams_close(&s);
}

/* Feed `total` random bytes through `cat` and compare digests; the FIFOs are full most of the
 * time. */
static void pass_through(struct containerd *c, size_t total)
{
	_cleanup_(freep) char *piece = xmalloc(1 << 16), *b = xmalloc(1 << 16);
	uint8_t sent[SHA256_SIZE], got[SHA256_SIZE];
	struct sha256 in, out;
	size_t written = 0, read_bytes = 0, pending = 0, offset = 0;
	ssize_t written_now = 0;
	struct streams s;
	uint64_t deadline = clock_after(60 * USEC_PER_SEC);

	streams_open(c, "cat", "ioe", &s);
	/* A round of the loop lasts a millisecond: fewer of them. */
	assert_true(fcntl(s.in_fd, F_SETPIPE_SZ, 1 << 20) > 0);
	assert_true(fcntl(s.out_fd, F_SETPIPE_SZ, 1 << 20) > 0);
	exec_start(c, "cat", "\"cat\"", &s, false);
	sha256_init(&in);
	sha256_init(&out);
	for (bool closed = false;;) {
		ssize_t n;

		if (pending == 0 && written < total) {
			pending = MIN(1U << 16, total - written);
			for (size_t i = 0; i < pending; i += 4) {
				uint32_t r = (uint32_t)random();

				memcpy(piece + i, &r, 4);
			}
			sha256_add(&in, piece, pending);
			offset = 0;
		}
		n = pending ? write(s.in_fd, piece + offset, pending) : 0;
		written_now = MAX(n, 0);
		if (n > 0) {
			pending -= n;
			offset += n;
			written += n;
		}
		if (written == total && !closed) {
			closed = true;
			s.in_fd = fd_close(s.in_fd);
			assert_int_equal(task_close_io(c, "c1", "cat", NULL), 0);
		}
		n = read(s.out_fd, b, 1 << 16);
		if (n > 0)
			sha256_add(&out, b, n);
		if (n == 0)
			break;
		read_bytes += MAX(n, 0);
		assert_true(clock_now() < deadline);
		if (n < 0 && written_now == 0)
			assert_int_equal(loop_round(c->loop, 100), 0);
	}
	assert_int_equal(read_bytes, total);
	sha256_end(&in, sent);
	sha256_end(&out, got);
	assert_memory_equal(sent, got, sizeof(sent));
	assert_int_equal(task_wait(c, "c1", "cat"), 0);
	assert_int_equal(task_delete(c, "c1", "cat", NULL), 0);
	streams_close(&s);
}

static void test_64_mib(void **state)
{
	open_shim(*state);
	pass_through(*state, 64U << 20);
}

/* `ctr task exec … </dev/null`: the input is closed before the process is started. */
static void test_close_before_start(void **state)
{
	struct containerd *c = *state;

	open_shim(c);
	for (int i = 0; i < 20; i++) {
		_cleanup_(freep) char *out = NULL;
		struct streams s;
		char id[16];

		snprintf(id, sizeof(id), "e%d", i);
		streams_open(c, id, "io", &s);
		assert_int_equal(
			task_exec(c, "c1", id, "\"sh\",\"-c\",\"cat; echo end\"", &s, false, NULL),
			0);
		assert_int_equal(write(s.in_fd, "early ", 6), 6);
		assert_int_equal(task_close_io(c, "c1", id, NULL), 0);
		assert_int_equal(task_close_io(c, "c1", id, NULL), 0);
		assert_int_equal(task_start(c, "c1", id, NULL), 0);
		s.in_fd = fd_close(s.in_fd);
		out = streams_read(c, s.out_fd, NULL);
		assert_string_equal(out, "early end\n");
		assert_int_equal(task_wait(c, "c1", id), 0);
		streams_close(&s);
	}
	assert_int_equal(task_state(c, "c1", ""), 2);
}

/* A client that goes away does not end the input: another one may attach. Only CloseIO does. */
static void test_reattach(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *out = NULL;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "io", &s);
	exec_start(c, "e1", "\"cat\"", &s, false);
	assert_int_equal(write(s.in_fd, "one ", 4), 4);
	containerd_rounds(c, 30);
	s.in_fd = fd_close(s.in_fd);
	containerd_rounds(c, 30);
	s.in_fd = open(s.in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(s.in_fd >= 0);
	assert_int_equal(write(s.in_fd, "two", 3), 3);
	s.in_fd = fd_close(s.in_fd);
	containerd_rounds(c, 30);
	assert_int_equal(task_state(c, "c1", "e1"), 2);
	assert_int_equal(task_close_io(c, "c1", "e1", NULL), 0);
	out = streams_read(c, s.out_fd, NULL);
	assert_string_equal(out, "one two");
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	streams_close(&s);
}

/* The reader of the output goes away and comes back: what it has not read is still there. */
static void test_reader_returns(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *out = NULL;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "o", &s);
	exec_start(c, "e1", "\"sh\",\"-c\",\"sleep 0.2; echo first; sleep 0.2; echo second\"", &s,
		   false);
	s.out_fd = fd_close(s.out_fd);
	containerd_rounds(c, 300);
	s.out_fd = open(s.out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	out = streams_read(c, s.out_fd, NULL);
	assert_string_equal(out, "first\nsecond\n");
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	streams_close(&s);
}

/* A client waits for the end of its streams when Start or Exec has failed, before it calls anything
 * else. */
static void test_start_fails(void **state)
{
	struct containerd *c = *state;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "ioe", &s);
	assert_int_equal(task_exec(c, "c1", "e1", "\"fail-start\"", &s, false, NULL), 0);
	assert_true(task_start(c, "c1", "e1", NULL) < 0);
	free(streams_read(c, s.out_fd, NULL));
	free(streams_read(c, s.err_fd, NULL));
	assert_int_equal(task_start(c, "c1", "e1", NULL), -EBUSY);
	assert_int_equal(task_close_io(c, "c1", "e1", NULL), 0);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 0);
	streams_close(&s);
	streams_open(c, "e2", "ioe", &s);
	assert_true(task_exec(c, "c1", "e2", "\"nosuch\"", &s, false, NULL) < 0);
	free(streams_read(c, s.out_fd, NULL));
	streams_close(&s);
}

/* Nobody reads: the exit is reported nevertheless, after a while, and Delete works. */
static void test_nobody_reads(void **state)
{
	struct containerd *c = *state;
	struct streams s;
	uint64_t begin = clock_now();

	open_shim(c);
	streams_open(c, "e1", "o", &s);
	exec_start(c, "e1", "\"sh\",\"-c\",\"head -c 100000 /dev/zero & sleep 0.1; exit 4\"", &s,
		   false);
	assert_int_equal(task_wait(c, "c1", "e1"), 4);
	assert_true(clock_now() - begin < test_limit(5 * USEC_PER_SEC));
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 4);
	streams_close(&s);
}

/* A stream that nobody wants does not block the process. */
static void test_unwanted(void **state)
{
	struct containerd *c = *state;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "", &s);
	exec_start(
		c, "e1",
		"\"sh\",\"-c\",\"head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; cat\"",
		&s, false);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	streams_close(&s);
}

static void test_terminal(void **state)
{
	struct containerd *c = *state;
	Containerd__Task__V2__ResizePtyRequest size =
		CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;
	_cleanup_(freep) char *out = NULL;
	struct streams s;

	open_shim(c);
	streams_open(c, "e1", "io", &s);
	exec_start(c, "e1", "\"sh\",\"-c\",\"read line; stty size; echo got $line\"", &s, true);
	size.id = (char *)"c1";
	size.exec_id = (char *)"e1";
	size.width = 132;
	size.height = 43;
	assert_int_equal(containerd_call(c, c->service, "ResizePty", &size.base,
					 &google__protobuf__empty__descriptor, NULL, NULL),
			 0);
	assert_int_equal(write(s.in_fd, "hello\n", 6), 6);
	out = streams_read(c, s.out_fd, NULL);
	assert_string_equal(out, "hello\r\n43 132\r\ngot hello\r\n");
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	size.exec_id = (char *)"";
	assert_int_equal(containerd_call(c, c->service, "ResizePty", &size.base,
					 &google__protobuf__empty__descriptor, NULL, NULL),
			 -EBUSY);
	streams_close(&s);
}

/* containerd's log URIs. */
static void test_log_file(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *path = xasprintf("%s/logs/a.log", c->dir), *text = NULL;
	struct streams s = {.in_fd = -1, .out_fd = -1, .err_fd = -1};

	open_shim(c);
	s.in = xstrdup("");
	s.out = xasprintf("file://%s", path);
	s.err = xstrdup(s.out);
	exec_start(c, "e1", "\"sh\",\"-c\",\"echo out; sleep 0.1; echo err >&2\"", &s, false);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	assert_int_equal(fs_read(path, 100, &text, NULL), 0);
	assert_string_equal(text, "out\nerr\n");
	streams_close(&s);
}

static void test_log_binary(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *program = path_join(c->dir, "logger"), *text = NULL;
	_cleanup_(freep) char *path = path_join(c->dir, "logged");
	static const char script[] =
		"#!/bin/sh\n"
		"printf x >&5; exec 5>&-\n"
		"{ echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $1 $2 $3\"; cat <&3; cat <&4; } >$2\n";
	struct streams s = {.in_fd = -1, .out_fd = -1, .err_fd = -1};
	_cleanup_err_ struct err err = {0};

	open_shim(c);
	assert_int_equal(fs_replace(program, script, sizeof(script) - 1, 0700, false), 0);
	s.in = xstrdup("");
	s.out = xasprintf("binary-v2://%s?to=%s&a%%20b=", program, path);
	s.err = xstrdup(s.out);
	exec_start(c, "e1", "\"sh\",\"-c\",\"echo out; echo err >&2\"", &s, false);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 0);
	containerd_rounds(c, 200);
	assert_int_equal(fs_read(path, 1000, &text, NULL), 0);
	free(s.out);
	s.out = xasprintf("c1 testing to %s a b\nout\nerr\n", path);
	assert_string_equal(text, s.out);

	/* A logger that is not there, or ends at once; a scheme nobody knows. */
	free(s.out);
	s.out = xstrdup("binary:///no/such/logger");
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", &s, false, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "/no/such/logger"));
	free(s.out);
	s.out = xstrdup("binary-v2:///bin/true");
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", &s, false, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "before it was ready"));
	free(s.out);
	s.out = xstrdup("npipe:////./pipe/x");
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", &s, false, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "not supported"));
	free(s.out);
	s.out = xstrdup("/no/such/fifo");
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", &s, false, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "open output /no/such/fifo"));
	streams_close(&s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_output),
		TEST(test_output_before_exit),
		TEST(test_output_after_exit),
		TEST(test_delete_in_drain),
		TEST(test_64_mib),
		TEST(test_close_before_start),
		TEST(test_reattach),
		TEST(test_reader_returns),
		TEST(test_start_fails),
		TEST(test_nobody_reads),
		TEST(test_unwanted),
		TEST(test_terminal),
		TEST(test_log_file),
		TEST(test_log_binary),
	};

	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
