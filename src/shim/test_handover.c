/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/proc.h"
#include "loop/test.h"
#include "runtime/spare.h"

#define ORDER_MAX 16384

static struct loop *loop;
static int pair[2]; /* start's end, which blocks, and the spare's */
static int n_open;
static struct handover taken;
static int taken_result;

static int set_up(_unused_ void **state)
{
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fd_set_nonblock(pair[1], true), 0);
	n_open = proc_fds(0);
	return 0;
}

static int tear_down(_unused_ void **state)
{
	fd_close(pair[0]);
	fd_close(pair[1]);
	loop_free(loop);
	return 0;
}

/* --- the spare's side, this process --- */

/* In the place of a mount namespace. */
static const char *own_mounts = "/dev/zero";

static void take_body(void)
{
	_cleanup_(closep) int mounts = open(own_mounts, O_RDONLY | O_CLOEXEC);

	taken_result = handover_take(TAKE_FD(pair[1]), mounts, &taken);
}

static void take(void)
{
	test_in_coroutine(loop, take_body);
}

/* All that came is closed; so is its own end of the connection. */
static void expect_nothing(int result)
{
	take();
	assert_int_equal(taken_result, result);
	assert_int_equal(taken.serve.listener, -1);
	assert_int_equal(taken.serve.mounts, -1);
	assert_int_equal(taken.words.n, 0);
	assert_int_equal(proc_fds(0), n_open - 1);
}

/* --- start's side --- */

static const struct options options = {
	.namespace = "ns",
	.address = "/unused",
	.publish_binary = "/bin/publish",
	.id = "c1",
};
static const struct caller caller = {
	.debug = true,
	.address = (char *)"/run/containerd.sock",
	.ttrpc_address = (char *)"/run/containerd.ttrpc",
	.socket_dir = (char *)"/s",
	.config_path = (char *)"/etc/c.toml",
};

static const struct serve serve = {
	.options = &options,
	.caller = &caller,
	.id = "pod",
	.bundle = "/run/bundle",
	.socket = "/run/s/1",
};

static int prepare_result;

static int note_pid(const struct serve *given, pid_t pid, struct err *err)
{
	if (prepare_result < 0)
		return err_setx(err, prepare_result, "not written down");
	return given == &serve && pid == getppid() ? 0 : err_setx(err, -ESRCH, "not the spare");
}

static int give(const struct serve *what, struct err *err)
{
	_cleanup_(closep) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	return handover_give(pair[0], what, null, zero, note_pid, err);
}

/* In a child, since it blocks. Its exit code is 0 or the error. */
static pid_t start_giving(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(20);
		close(pair[1]);
		(void)setenv("KATA_TEST_MARK", "theirs=", 1);
		_exit(-give(&serve, NULL));
	}
	pair[0] = fd_close(pair[0]);
	n_open--;
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Another one, which says what it likes. */
static void say(const void *p, size_t n, size_t n_fds)
{
	_cleanup_(closep) int mounts = open(own_mounts, O_RDONLY | O_CLOEXEC);
	int fds[16] = {0};

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = i == 1 ? mounts : pair[0];
	assert_int_equal(fd_send(pair[0], p, n, fds, n_fds), n);
}

/* What the true one sends. */
static size_t order(char *ret)
{
	int listening[2], fds[2];
	size_t n_fds = ARRAY_SIZE(fds);
	ssize_t n;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, listening), 0);
	pid = fork();
	if (pid == 0) {
		alarm(20);
		close(listening[1]);
		pair[0] = listening[0];
		/* It is the whole environment, and the first of it. */
		(void)clearenv();
		(void)setenv("KATA_TEST_MARK", "theirs=", 1);
		_exit(-give(&serve, NULL));
	}
	close(listening[0]);
	n = fd_recv(listening[1], ret, ORDER_MAX, fds, &n_fds);
	assert_true(n > 0);
	assert_int_equal(n_fds, 2);
	close(fds[0]);
	close(fds[1]);
	close(listening[1]);
	assert_int_equal(end_of(pid), ECANCELED);
	return (size_t)n;
}

/* --- it works --- */

static void check_device(int fd, const char *path)
{
	struct stat a, b;

	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(stat(path, &b), 0);
	assert_int_equal(a.st_rdev, b.st_rdev);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void whole(_unused_ void **state)
{
	pid_t pid = start_giving();
	const struct serve *s = &taken.serve;

	prepare_result = 0;
	take();
	assert_int_equal(end_of(pid), 0);
	assert_int_equal(taken_result, 0);
	assert_string_equal(s->id, "pod");
	assert_string_equal(s->bundle, "/run/bundle");
	assert_string_equal(s->socket, "/run/s/1");
	assert_string_equal(s->options->namespace, "ns");
	assert_string_equal(s->options->publish_binary, "/bin/publish");
	assert_string_equal(s->caller->address, "/run/containerd.sock");
	(void)setenv("KATA_TEST_MARK", "ours", 1);
	(void)setenv("KATA_TEST_OWN", "ours", 1);
	handover_enter(&taken);
	assert_string_equal(getenv("KATA_TEST_MARK"), "theirs=");
	assert_null(getenv("KATA_TEST_OWN"));
	assert_string_equal(s->caller->ttrpc_address, "/run/containerd.ttrpc");
	assert_string_equal(s->caller->config_path, "/etc/c.toml");
	assert_true(s->caller->debug);
	check_device(s->listener, "/dev/null");
	check_device(s->mounts, "/dev/zero");
	handover_fini(&taken);
	assert_int_equal(proc_fds(0), n_open - 1);
}

/* --- it does not --- */

/* What has to be done before the last word could not be: the spare is free. */
static void taken_back(_unused_ void **state)
{
	pid_t pid;

	prepare_result = -ENOSPC;
	pid = start_giving();
	prepare_result = 0;
	expect_nothing(-ECANCELED);
	assert_int_equal(end_of(pid), ENOSPC);
}

static void another_mount_namespace(_unused_ void **state)
{
	pid_t pid = start_giving();

	own_mounts = "/dev/null";
	expect_nothing(-EXDEV);
	own_mounts = "/dev/zero";
	assert_int_equal(end_of(pid), ECANCELED);
}

static void too_long(_unused_ void **state)
{
	_cleanup_(freep) char *bundle = xmalloc(ORDER_MAX + 2);
	struct serve longer = serve;
	_cleanup_err_ struct err err = {0};

	memset(bundle, 'x', ORDER_MAX + 1);
	bundle[0] = '/';
	bundle[ORDER_MAX + 1] = '\0';
	longer.bundle = bundle;
	assert_int_equal(give(&longer, &err), -E2BIG);
	/* Nothing was sent. */
	pair[0] = fd_close(pair[0]);
	n_open--;
	expect_nothing(-ECANCELED);
}

/* Whoever only looked, like spare_count(). */
static void closed_at_once(_unused_ void **state)
{
	pair[0] = fd_close(pair[0]);
	n_open--;
	expect_nothing(-ECANCELED);
}

static void closed_behind_the_order(_unused_ void **state)
{
	char text[ORDER_MAX];
	size_t n = order(text);

	say(text, n, 2);
	pair[0] = fd_close(pair[0]);
	n_open--;
	expect_nothing(-ECANCELED);
}

static void mute(_unused_ void **state)
{
	uint64_t began = clock_now();

	expect_nothing(-ECANCELED);
	assert_true(clock_now() - began >= 900 * USEC_PER_MSEC);
	assert_true(clock_now() - began < test_limit(5 * USEC_PER_SEC));
}

static void mute_behind_the_order(_unused_ void **state)
{
	char text[ORDER_MAX], answer[8] = "";
	size_t n = order(text);

	say(text, n, 2);
	expect_nothing(-ECANCELED);
	/* It was willing. */
	assert_int_equal(fd_read_full(pair[0], answer, sizeof(answer)), 5);
	assert_string_equal(answer, "will");
}

static void other_words(_unused_ void **state)
{
	char text[ORDER_MAX];
	size_t n = order(text);

	say(text, n, 2);
	say("never", 6, 0);
	expect_nothing(-ECANCELED);
}

static void dismissed(_unused_ void **state)
{
	say(SPARE_DISMISSED, sizeof(SPARE_DISMISSED), 0);
	expect_nothing(-ESHUTDOWN);
}

static void descriptors(void **state)
{
	static const size_t counts[] = {0, 1, 16};
	char text[ORDER_MAX];
	size_t n = order(text);

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		/* More than there are to be are closed. */
		say(text, n, counts[i]);
		if (counts[i] > 2)
			pair[0] = fd_close(pair[0]), n_open--;
		expect_nothing(counts[i] > 2 ? -ECANCELED : -EBADMSG);
		tear_down(state);
		set_up(state);
	}
}

static void garbage(void **state)
{
	char text[ORDER_MAX];
	size_t n = order(text), first = strlen(text) + 1;
	/* One word less than an order needs: behind them is the environment. */
	size_t fixed = (size_t)((char *)memmem(text, n, "KATA_TEST_MARK=", 15) - text);
	struct {
		const char *p;
		size_t n;
		int result;
	} cases[] = {
		{"", 1, -ESTALE},                /* no word */
		{"GET / HTTP/1.1", 15, -ESTALE}, /* of nobody's version */
		{text, 3, -EBADMSG},             /* cut in a word … */
		{text, first, -EBADMSG},         /* … and behind one */
		{text, fixed - 5, -EBADMSG},     /* the last is "yes" */
		{text, n - 1, -EBADMSG},
		{text + first, n - first, -ESTALE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		say(cases[i].p, cases[i].n, 2);
		expect_nothing(cases[i].result);
		tear_down(state);
		set_up(state);
	}
}

/* Paths and names are not taken from anybody unseen. */
static void hostile(void **state)
{
	static const struct {
		const char *from, *to;
	} cases[] = {{"pod", "../"}, {"/run/bundle", "/run/../dle"}};
	char text[ORDER_MAX];
	size_t n = order(text);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *at = memmem(text, n, cases[i].from, strlen(cases[i].from) + 1);

		assert_non_null(at);
		memcpy(at, cases[i].to, strlen(cases[i].to));
		say(text, n, 2);
		expect_nothing(-EBADMSG);
		memcpy(at, cases[i].from, strlen(cases[i].from));
		tear_down(state);
		set_up(state);
	}
}

/* A spare that answers nothing, or nonsense, or has gone. */
static void bad_spares(_unused_ void **state)
{
	_cleanup_err_ struct err err = {0};
	uint64_t began = clock_now();

	assert_int_equal(give(&serve, &err), -ECANCELED);
	assert_true(clock_now() - began >= 900 * USEC_PER_MSEC);
	assert_true(clock_now() - began < test_limit(5 * USEC_PER_SEC));
	assert_int_equal(fd_write_all(pair[1], "would", 5), 0);
	assert_int_equal(give(&serve, &err), -EBADMSG);
	pair[1] = fd_close(pair[1]);
	assert_true(give(&serve, &err) < 0);
	assert_int_equal(proc_fds(0), n_open - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whole),
		TEST(taken_back),
		TEST(another_mount_namespace),
		TEST(too_long),
		TEST(closed_at_once),
		TEST(closed_behind_the_order),
		TEST(mute),
		TEST(mute_behind_the_order),
		TEST(other_words),
		TEST(dismissed),
		TEST(descriptors),
		TEST(garbage),
		TEST(hostile),
		TEST(bad_spares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
