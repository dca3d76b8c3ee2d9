/* SPDX-License-Identifier: Apache-2.0 */
/* Containers and processes: life, streams, signals, misuse. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "agent/container_fixture.h"

static void body_life(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;
	_cleanup_err_ struct err err = {0};
	uint64_t before;

	fixture_init(&f, "life", ARGS("sh", "-c", "echo out; echo err >&2; exit 3"));
	before = clock_now();
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(create(&f, &err), -EEXIST);
	assert_int_equal(start("life", &err), 0);
	print_message("create and start: %llu us\n", (unsigned long long)(clock_now() - before));
	assert_int_equal(start("life", &err), -EBUSY);
	out = read_all("life", "life", true);
	assert_string_equal(out, "out\n");
	free(out);
	out = read_all("life", "", false);
	assert_string_equal(out, "err\n");
	assert_int_equal(wait_process("life", "life"), 3);
	assert_int_equal(wait_process("life", "life"), 3);
	assert_int_equal(remove_container("life", &err), 0);
	assert_int_equal(remove_container("life", &err), -ENOENT);
	assert_int_equal(wait_process("life", "life"), -ENOENT);
}

static void check_missing(const char *program, int code, const char *text)
{
	struct fixture f;
	_cleanup_err_ struct err err = {0};

	fixture_init(&f, "missing", ARGS(program));
	assert_int_equal(create(&f, &err), code);
	assert_non_null(strstr(err_text(&err), text));
	assert_int_equal(remove_container("missing", NULL), -ENOENT);
}

static void body_missing(void)
{
	check_missing("nothere", -ENOENT, "exec: \"nothere\": executable file not found in $PATH");
	check_missing("/bin/nothere", -ENOENT,
		      "exec: \"/bin/nothere\": stat /bin/nothere: no such file or directory");
	check_missing("/bin/plain", -EACCES, "exec: \"/bin/plain\": permission denied");
	check_missing("plain", -EACCES, "exec: \"plain\": permission denied");
	check_missing("/bin", -EREMOTEIO, "exec: \"/bin\": is a directory");
}

static void body_exec(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;
	_cleanup_err_ struct err err = {0};
	uint64_t before;

	fixture_init(&f, "c", ARGS("sleep", "1000"));
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(start("c", &err), 0);
	set_args(&f, ARGS("sh", "-c", "echo $$; ps | grep -c '[s]leep 1000'; exit 9"));
	before = clock_now();
	assert_int_equal(exec(&f, "c", "e1", &err), 0);
	print_message("exec: %llu us\n", (unsigned long long)(clock_now() - before));
	out = read_all("c", "e1", true);
	assert_non_null(strstr(out, "\n1\n"));
	assert_int_equal(wait_process("c", "e1"), 9);
	set_args(&f, ARGS("nothere"));
	assert_int_equal(exec(&f, "c", "e2", &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "executable file not found in $PATH"));
	assert_int_equal(wait_process("c", "e2"), -ENOENT);
	assert_int_equal(signal_process("c", "c", SIGTERM), 0);
	assert_int_equal(wait_process("c", "c"), 128 + SIGKILL);
	set_args(&f, ARGS("true"));
	assert_int_equal(exec(&f, "c", "e3", &err), -EBUSY);
	assert_int_equal(remove_container("c", &err), 0);
}

static void body_stdin(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;
	_cleanup_err_ struct err err = {0};

	fixture_init(&f, "in", ARGS("cat"));
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(start("in", &err), 0);
	assert_int_equal(write_stdin("in", "in", "hello", 5), 5);
	assert_int_equal(close_stdin("in", "in"), 0);
	out = read_all("in", "in", true);
	assert_string_equal(out, "hello");
	assert_int_equal(wait_process("in", "in"), 0);
	assert_int_equal(remove_container("in", &err), 0);
	free(out);
	fixture_init(&f, "run", ARGS("sh", "-c", "pwd"));
	{
		int status;

		out = run(&f, &status);
		assert_string_equal(out, "/\n");
	}
}

/* A child of the agent that is at work for ten seconds does not hold the end of the input back.
 * Last: the child is still there then. */
static void body_stdin_end(void)
{
	Grpc__OnlineCPUMemRequest online = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	struct fixture f;
	uint64_t before;

	fixture_init(&f, "end", ARGS("cat"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("end", NULL), 0);
	/* More processors than will ever come. */
	online.nb_cpus = 100000;
	online.cpu_only = true;
	assert_int_equal(CALL_EMPTY("OnlineCPUMem", &online, NULL), 0);
	co_sleep(100 * USEC_PER_MSEC);
	before = clock_now();
	assert_int_equal(close_stdin("end", "end"), 0);
	assert_int_equal(wait_process("end", "end"), 0);
	assert_true(clock_now() - before < test_limit(5 * USEC_PER_SEC));
	assert_int_equal(remove_container("end", NULL), 0);
}

/* --- streams --- */

#define BULK_SIZE  (64U << 20)
#define BULK_CHUNK (256U << 10)

static bool writer_done;

/* A pattern that no shift or loss leaves as it is. */
static void fill(uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((at + i) * 2654435761U >> 13 ^ (at + i) >> 8);
}

static void write_bulk(_unused_ void *arg)
{
	_cleanup_(freep) uint8_t *chunk = xmalloc(BULK_CHUNK);

	for (uint64_t at = 0; at < BULK_SIZE; at += BULK_CHUNK) {
		fill(chunk, BULK_CHUNK, at);
		assert_int_equal(write_stdin("bulk", "bulk", chunk, BULK_CHUNK), BULK_CHUNK);
	}
	assert_int_equal(close_stdin("bulk", "bulk"), 0);
	writer_done = true;
}

/* 64 MiB through `cat`: in and out at the same time, both with back-pressure, unchanged. */
static void body_bulk(void)
{
	struct fixture f;
	_cleanup_(buf_fini) struct buf out = {0};
	_cleanup_(freep) uint8_t *wanted = xmalloc(4 << 20);
	uint64_t at = 0, before;

	fixture_init(&f, "bulk", ARGS("cat"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("bulk", NULL), 0);
	before = clock_now();
	co_start(t.loop, write_bulk, NULL);
	while (read_once("bulk", "bulk", true, 1 << 20, &out) > 0) {
		fill(wanted, out.len, at);
		assert_memory_equal(out.data, wanted, out.len);
		at += out.len;
		buf_consume(&out, out.len);
	}
	assert_int_equal(at, BULK_SIZE);
	assert_true(writer_done);
	print_message("%u MiB through cat in %llu ms\n", BULK_SIZE >> 20,
		      (unsigned long long)((clock_now() - before) / USEC_PER_MSEC));
	assert_int_equal(wait_process("bulk", "bulk"), 0);
	assert_int_equal(write_stdin("bulk", "bulk", "x", 1), -EBUSY);
	assert_int_equal(remove_container("bulk", NULL), 0);
}

static void resize(const char *id, uint32_t rows, uint32_t columns, int wanted)
{
	Grpc__TtyWinResizeRequest request = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;

	request.container_id = request.exec_id = S(id);
	request.row = rows;
	request.column = columns;
	assert_int_equal(CALL_EMPTY("TtyWinResize", &request, NULL), wanted);
}

static void body_terminal(void)
{
	static Grpc__Box box = GRPC__BOX__INIT;
	struct fixture f;
	_cleanup_(buf_fini) struct buf out = {0};
	_cleanup_(freep) char *text = NULL;

	box.height = 20;
	box.width = 70;
	fixture_init(&f, "tty",
		     ARGS("sh", "-c",
			  "tty; stty size; read x; stty size; echo got $x; "
			  "stat -c %t /dev/console; exit 4"));
	f.process.terminal = true;
	f.process.consolesize = &box;
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("tty", NULL), 0);
	while (!out.len || !strstr(out.data, "20 70"))
		assert_true(read_once("tty", "tty", true, 4096, &out) > 0);
	assert_non_null(strstr(out.data, "/dev/"));
	resize("tty", 33, 100, 0);
	/* The end of standard input is nothing for a terminal. */
	assert_int_equal(close_stdin("tty", "tty"), 0);
	assert_int_equal(write_stdin("tty", "tty", "abc\n", 4), 4);
	text = read_all("tty", "tty", true);
	assert_non_null(strstr(text, "33 100"));
	assert_non_null(strstr(text, "got abc"));
	assert_non_null(strstr(text, "88"));
	assert_int_equal(wait_process("tty", "tty"), 4);
	free(text);
	text = read_all("tty", "tty", false);
	assert_string_equal(text, "");
	assert_int_equal(remove_container("tty", NULL), 0);
	fixture_init(&f, "notty", ARGS("sleep", "10"));
	assert_int_equal(create(&f, NULL), 0);
	resize("notty", 1, 1, -EBUSY);
	assert_int_equal(remove_container("notty", NULL), 0);
}

/* Descendants that keep the stream open do not keep the reader for ever. */
static void body_lingering(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;
	uint64_t before;

	fixture_init(&f, "linger", ARGS("sleep", "1000"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("linger", NULL), 0);
	set_args(&f, ARGS("sh", "-c", "sleep 1000 & echo started"));
	assert_int_equal(exec(&f, "linger", "e", NULL), 0);
	before = clock_now();
	out = read_all("linger", "e", true);
	assert_string_equal(out, "started\n");
	assert_in_range(clock_now() - before, 100 * USEC_PER_MSEC, 5 * USEC_PER_SEC);
	assert_int_equal(wait_process("linger", "e"), 0);
	assert_int_equal(remove_container("linger", NULL), 0);
}

/* … unless the host holds them: then nothing that they write is lost, until it gives them up. */
static void body_held(void)
{
	struct fixture f;
	_cleanup_(freep) char *late = NULL, *never = NULL;
	uint64_t before;

	fixture_init(&f, "held", ARGS("sleep", "1000"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("held", NULL), 0);
	set_args(&f, ARGS("sh", "-c", "{ sleep 1; echo late; } & echo early"));
	assert_int_equal(exec(&f, "held", "e1", NULL), 0);
	assert_int_equal(wait_process_held("held", "e1"), 0);
	late = read_all("held", "e1", true);
	assert_string_equal(late, "early\nlate\n");

	set_args(&f, ARGS("sh", "-c", "sleep 1000 & echo started; exit 3"));
	assert_int_equal(exec(&f, "held", "e2", NULL), 0);
	assert_int_equal(wait_process_held("held", "e2"), 3);
	co_sleep(700 * USEC_PER_MSEC);
	before = clock_now();
	assert_int_equal(wait_process("held", "e2"), 3);
	never = read_all("held", "e2", true);
	assert_string_equal(never, "started\n");
	assert_in_range(clock_now() - before, 100 * USEC_PER_MSEC, 5 * USEC_PER_SEC);
	assert_int_equal(remove_container("held", NULL), 0);
}

/* --- what is lost when a caller goes --- */

static int read_and_go(const char *id)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	struct ttrpc_client *client;
	int fd = fd_unix_connect(t.address), r;

	assert_true(fd >= 0);
	fd_set_nonblock(fd, true);
	assert_int_equal(ttrpc_client_new(t.loop, fd, NULL, NULL, &client), 0);
	request.container_id = request.exec_id = S(id);
	request.len = 100;
	r = ttrpc_client_call(client, SERVICE, "ReadStdout", &request.base,
			      &grpc__read_stream_response__descriptor,
			      clock_after(50 * USEC_PER_MSEC), NULL, NULL);
	ttrpc_client_free(client);
	return r;
}

/* A read that waits, and whose caller goes, takes nothing out of the stream. */
static void body_gone(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&f, "gone", ARGS("cat"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("gone", NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_and_go("gone"), -ETIMEDOUT);
	co_sleep(20 * USEC_PER_MSEC);
	assert_int_equal(write_stdin("gone", "gone", "all of it", 9), 9);
	assert_int_equal(close_stdin("gone", "gone"), 0);
	out = read_all("gone", "gone", true);
	assert_string_equal(out, "all of it");
	assert_int_equal(remove_container("gone", NULL), 0);
}

/* --- many processes --- */

static size_t count_entries(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}

/* The agent's process, the only child of the helper. */
static pid_t agent_pid(void)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/task/%d/children", t.pid, t.pid);
	_cleanup_(freep) char *text = NULL;

	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	return (pid_t)atoi(text);
}

static void body_many(void)
{
	_cleanup_(freep) char *fds = xasprintf("/proc/%d/fd", agent_pid());
	_cleanup_(freep) char *children = xasprintf("/proc/%d/task/%d/children", agent_pid(),
						    agent_pid());
	_cleanup_(freep) char *text = NULL;
	struct fixture f;
	size_t before;
	uint64_t began, spent = 0;

	fixture_init(&f, "many", ARGS("sleep", "1000"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("many", NULL), 0);
	before = count_entries(fds);
	set_args(&f, ARGS("echo", "x"));
	for (int i = 0; i < 200; i++) {
		_cleanup_(freep) char *id = xasprintf("e%d", i), *out = NULL, *none = NULL;

		began = clock_now();
		assert_int_equal(exec(&f, "many", id, NULL), 0);
		spent += clock_now() - began;
		out = read_all("many", id, true);
		assert_string_equal(out, "x\n");
		none = read_all("many", id, false);
		assert_string_equal(none, "");
		assert_int_equal(wait_process("many", id), 0);
		/* Known, read and waited for: its record is gone. */
		assert_int_equal(wait_process("many", id), -ENOENT);
	}
	print_message("200 execs: %llu us each\n", (unsigned long long)(spent / 200));
	assert_int_equal(count_entries(fds), before);
	assert_int_equal(fs_read(children, 65536, &text, NULL), 0);
	assert_null(strchr(str_chomp(text), ' '));
	assert_int_equal(remove_container("many", NULL), 0);
}

static void body_signals(void)
{
	struct fixture f;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&f, "sig",
		     ARGS("sh", "-c",
			  "trap 'echo caught; exit 5' TERM; echo up; "
			  "while :; do sleep 0.05; done"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("sig", NULL), 0);
	assert_int_equal(signal_process("sig", "sig", 0), 0);
	assert_int_equal(signal_process("sig", "sig", 65), -EINVAL);
	assert_int_equal(signal_process("sig", "nobody", SIGTERM), -ENOENT);
	expect_line("sig", "up\n");
	assert_int_equal(signal_process("sig", "sig", SIGTERM), 0);
	out = read_all("sig", "sig", true);
	assert_string_equal(out, "caught\n");
	assert_int_equal(wait_process("sig", "sig"), 5);
	assert_int_equal(signal_process("sig", "sig", SIGTERM), 0);
	assert_int_equal(remove_container("sig", NULL), 0);
	/* Created, and never started. */
	fixture_init(&f, "never", ARGS("true"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(signal_process("never", "", SIGKILL), 0);
	assert_int_equal(wait_process("never", "never"), 137);
	assert_int_equal(start("never", NULL), -EBUSY);
	assert_int_equal(remove_container("never", NULL), 0);
}

/* --- programs of the guest --- */

/* A script that the agent finds as one of its own in /usr/sbin, which is `dir` for it. */
static void write_program(const char *dir, const char *name, const char *script)
{
	_cleanup_(freep) char *path = path_join(dir, name);

	assert_int_equal(fs_replace(path, script, strlen(script), 0755, false), 0);
}

static void show_programs(const char *dir)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/ns/mnt", agent_pid());
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		_exit(setns(fd, CLONE_NEWNS) < 0 ||
		      mount(dir, "/usr/sbin", NULL, MS_BIND, NULL) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void expect_tables(const char *input, const char *wanted)
{
	Grpc__GetIPTablesRequest get = GRPC__GET_IPTABLES_REQUEST__INIT;
	Grpc__SetIPTablesRequest set = GRPC__SET_IPTABLES_REQUEST__INIT;
	Grpc__GetIPTablesResponse *got = NULL;
	Grpc__SetIPTablesResponse *done = NULL;
	const ProtobufCBinaryData *data;

	if (input) {
		set.data.data = (uint8_t *)(uintptr_t)input;
		set.data.len = strlen(input);
		assert_int_equal(
			CALL("SetIPTables", &set, grpc__set_iptables_response, &done, NULL), 0);
		data = &done->data;
	} else {
		assert_int_equal(CALL("GetIPTables", &get, grpc__get_iptables_response, &got, NULL),
				 0);
		data = &got->data;
	}
	assert_int_equal(data->len, strlen(wanted));
	assert_memory_equal(data->data, wanted, data->len);
	protobuf_c_message_free_unpacked(input ? &done->base : &got->base, NULL);
}

/* A child of the agent's child, beside a container with pipes. */
static void body_iptables(void)
{
	_cleanup_(freep) char *dir = path_join(t.dir, "sbin");
	struct fixture f;

	assert_int_equal(fs_mkdir_all(dir, 0755), 0);
	write_program(dir, "iptables-save", "#!/bin/sh\necho saved\n");
	write_program(dir, "iptables-restore", "#!/bin/sh\nexec cat\n");
	show_programs(dir);
	fixture_init(&f, "beside", ARGS("sleep", "1000"));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("beside", NULL), 0);
	expect_tables(NULL, "saved\n");
	expect_tables("rules", "rules");
	assert_int_equal(remove_container("beside", NULL), 0);
}

static void bad_id(struct fixture *f)
{
	f->request.container_id = S("../x");
}

static void bad_root(struct fixture *f)
{
	f->root.path = S("/tmp/../etc");
}

static void no_filter(struct fixture *f)
{
	static Grpc__LinuxSeccomp seccomp = GRPC__LINUX_SECCOMP__INIT;

	seccomp.defaultaction = S("SCMP_ACT_ERRNO");
	f->linux_.seccomp = &seccomp;
}

static void vsock_streams(struct fixture *f)
{
	f->request.stdout_port = 5;
}

static void absent_cwd(struct fixture *f)
{
	f->process.cwd = S("relative");
}

static void file_cwd(struct fixture *f)
{
	f->process.cwd = S("/bin/plain");
}

static void body_refused(void)
{
	struct buf out = {0};

	check_refused(bad_id, -EINVAL, "not a valid container id");
	check_refused(bad_root, -EINVAL, "not an absolute path");
	check_refused(no_filter, -ENOSYS, "kata-c.seccomp-bpf");
	check_refused(vsock_streams, -ENOSYS, "vsock");
	check_refused(absent_cwd, -EINVAL, "not absolute");
	check_refused(file_cwd, -EREMOTEIO, "chdir to cwd (\"/bin/plain\")");
	assert_int_equal(read_once("nobody", "nobody", true, 1, &out), -ENOENT);
	assert_int_equal(write_stdin("nobody", "", "x", 1), -ENOENT);
	buf_fini(&out);
}

static void create_slowly(_unused_ void *arg)
{
	struct fixture f;

	fixture_init(&f, "race", ARGS("sleep", "1000"));
	(void)create(&f, NULL);
	(void)start("race", NULL);
	set_args(&f, ARGS("true"));
	(void)exec(&f, "race", "e", NULL);
}

/* A removal at any moment of a creation leaves nothing behind. */
static void body_races(void)
{
	for (uint64_t i = 0; i < 40; i++) {
		int r;

		co_start(t.loop, create_slowly, NULL);
		co_sleep(i * 150);
		while ((r = remove_container("race", NULL)) == -EBUSY)
			co_sleep(200);
		assert_true(r == 0 || r == -ENOENT);
		co_sleep(20 * USEC_PER_MSEC);
		r = remove_container("race", NULL);
		assert_true(r == 0 || r == -ENOENT);
	}
}

FIXTURE_MAIN(FIXTURE_TEST(life), FIXTURE_TEST(missing), FIXTURE_TEST(exec), FIXTURE_TEST(stdin),
	     FIXTURE_TEST(bulk), FIXTURE_TEST(terminal), FIXTURE_TEST(lingering),
	     FIXTURE_TEST(held), FIXTURE_TEST(gone), FIXTURE_TEST(many), FIXTURE_TEST(signals),
	     FIXTURE_TEST(iptables), FIXTURE_TEST(refused), FIXTURE_TEST(races),
	     FIXTURE_TEST(stdin_end))
