/* SPDX-License-Identifier: Apache-2.0 */

/* Spares: shims that have a VM ready before their pod is known. */

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "containerd.h"
#include "fakes/own_run.h"
#include "kernel/proc.h"
#include "runtime/spare.h"

#define WAIT_USEC (20 * USEC_PER_SEC)

static char *config_file; /* with one spare */

static char *write_config(struct containerd *c, const char *name, unsigned int spares)
{
	_cleanup_(freep) char *text = xasprintf("[factory]\nspares = %u\n", spares);
	char *path = path_join(c->dir, name);

	assert_int_equal(fs_replace(path, text, strlen(text), 0600, false), 0);
	return path;
}

static int setup(void **state)
{
	static struct containerd c;

	containerd_open(&c);
	config_file = write_config(&c, "configuration.toml", 1);
	setenv("KATA_CONF_FILE", config_file, 1);
	*state = &c;
	return 0;
}

/* Those that wait still, each of which has the next one made. */
static void end_all(void)
{
	pid_t pids[64];
	size_t n;

	while ((n = proc_descendants(0, pids, ARRAY_SIZE(pids)))) {
		for (size_t i = 0; i < n; i++)
			kill(pids[i], SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(5000);
	}
}

static int teardown(void **state)
{
	unsetenv("KATA_CONF_FILE");
	free(config_file);
	containerd_close(*state);
	end_all();
	return fs_remove_all(SPARE_ROOT);
}

/* --- helpers --- */

static pid_t spare_pid(const char *file)
{
	struct ucred peer = {0};
	socklen_t n = sizeof(peer);
	unsigned int next = 0;
	_cleanup_(closep) int fd = spare_connect(file, &next);

	if (fd < 0)
		return 0;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n), 0);
	return peer.pid;
}

static pid_t await_spare(struct containerd *c, const char *file, pid_t not )
{
	uint64_t deadline = clock_after(test_limit(WAIT_USEC));
	pid_t pid;

	while ((pid = spare_pid(file)) == 0 || pid == not ) {
		assert_true(clock_now() < deadline);
		containerd_rounds(c, 20);
	}
	return pid;
}

static void begin(struct containerd *c, const char *id, const char *bundle)
{
	free(containerd_start(c, id, bundle));
	assert_int_equal(task_create(c, id, bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, id, "", NULL), 0);
}

static void end(struct containerd *c, const char *id)
{
	assert_int_equal(task_kill(c, id, "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, id, ""), 137);
	assert_int_equal(task_delete(c, id, "", NULL), 137);
	assert_int_equal(task_shutdown(c, id), 0);
	task_end_daemon(c);
}

/* The first sandbox of a host finds none, and has one made. */
static pid_t make_spare(struct containerd *c)
{
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c0", "exec sleep 100", "");

	begin(c, "c0", bundle);
	end(c, "c0");
	return await_spare(c, config_file, 0);
}

static bool is_noted(struct containerd *c, const char *name)
{
	_cleanup_(freep) char *path = path_join(c->dir, name);

	return fs_exists(path);
}

static char *read_proc(pid_t pid, const char *name, size_t *ret_n)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%d/%s", pid, name);
	char *text = NULL;

	assert_int_equal(fs_read(path, 65536, &text, ret_n), 0);
	return text;
}

static bool has_arguments(pid_t pid, const char *wanted, size_t n_wanted)
{
	size_t n;
	_cleanup_(freep) char *text = read_proc(pid, "cmdline", &n);

	return memmem(text, n, wanted, n_wanted) != NULL;
}

static int64_t oom_score(pid_t pid)
{
	_cleanup_(freep) char *text = read_proc(pid, "oom_score_adj", NULL);
	int64_t score;

	assert_int_equal(parse_i64(str_chomp(text), &score), 0);
	return score;
}

static void await_end(struct containerd *c, pid_t pid, int wanted)
{
	uint64_t deadline = clock_after(test_limit(WAIT_USEC));
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		assert_true(clock_now() < deadline);
		containerd_rounds(c, 10);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), wanted);
}

/* --- it is taken --- */

static void check_waiting(pid_t pid)
{
	assert_int_equal(oom_score(pid), 1000);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), 19);
	assert_int_equal(getsid(pid), pid);
	assert_true(has_arguments(pid, "-id\0spare", 10));
}

/* As one that `start` has forked. */
static void check_taken(pid_t pid, const char *id)
{
	_cleanup_(freep) char *wanted = xasprintf("-namespace%ctesting%c-id%c%s%c-address", 0, 0, 0,
						  id, 0);

	assert_int_equal(oom_score(pid), oom_score(getpid()) + 1);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), getpriority(PRIO_PROCESS, 0));
	assert_true(has_arguments(pid, wanted,
				  strlen("-namespace testing -id  -address") + strlen(id) + 1));
	assert_false(has_arguments(pid, "spare", 6));
	for (int fd = 0; fd <= 2; fd++) {
		_cleanup_(freep) char *path = xasprintf("/proc/%d/fd/%d", pid, fd);
		char target[64] = "";

		assert_true(readlink(path, target, sizeof(target) - 1) > 0);
		assert_string_equal(target, "/dev/null");
	}
}

static void test_taken(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid = make_spare(c);

	check_waiting(pid);
	free(containerd_start(c, "c1", bundle));
	assert_int_equal(c->daemon, pid);
	/* Whoever answers has settled. */
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	check_taken(pid, "c1");
	assert_int_equal(spare_count(config_file), 0);
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_true(is_noted(c, "adopted-c1"));
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	containerd_await_event(c, "/tasks/start c1");
	end(c, "c1");
	containerd_await_event(c, "/tasks/exit c1 c1 137");
	assert_false(is_noted(c, "running-c1"));
	/* Its place is taken again. */
	assert_int_not_equal(await_spare(c, config_file, 0), pid);
}

/* In time, while the first one runs. */
static void test_ordered(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid, other;

	begin(c, "c1", bundle);
	other = c->daemon;
	pid = await_spare(c, config_file, 0);
	assert_int_not_equal(pid, other);
	check_waiting(pid);
	/* One, not one for each that looks. */
	end(c, "c1");
	containerd_rounds(c, 300);
	assert_int_equal(spare_pid(config_file), pid);
}

/* As many as there are to be, each of which has the next one made. */
static void test_several(void **state)
{
	struct containerd *c = *state;
	uint64_t deadline = clock_after(test_limit(WAIT_USEC));

	free(write_config(c, "configuration.toml", 3));
	make_spare(c);
	while (spare_count(config_file) < 3) {
		assert_true(clock_now() < deadline);
		containerd_rounds(c, 50);
	}
	assert_false(spare_missing(config_file, 3));
	assert_true(spare_missing(config_file, 4));
}

static void test_delete_after_crash(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid = make_spare(c);

	begin(c, "c1", bundle);
	assert_int_equal(c->daemon, pid);
	kill(pid, SIGKILL);
	task_end_daemon(c);
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
	assert_true(is_noted(c, "cleanup-c1"));
	assert_false(fs_exists(c->sockets.v[c->sockets.n - 1]));
}

/* A shim that hangs is found by the -id of its command line. */
static void test_delete_of_hung(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid = make_spare(c);

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(c->daemon, pid);
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	kill(pid, SIGSTOP);
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
	task_end_daemon(c);
}

static void test_two_at_once(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *first = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *second = containerd_bundle(c, "c2", "true", "");
	_cleanup_(freep) char *path = path_join(second, "shim.pid"), *text = NULL;
	pid_t pid = make_spare(c), child = fork();
	uint32_t other;

	if (child == 0) {
		struct run run;

		containerd_run(c, second, "", 0, &run, "-namespace", "testing", "-address",
			       c->address, "-publish-binary", "/bin/true", "-id", "c2", "start",
			       NULL);
		_exit(run.status);
	}
	free(containerd_start(c, "c1", first));
	await_end(c, child, 0);
	assert_int_equal(fs_read(path, 16, &text, NULL), 0);
	assert_int_equal(parse_u32(text, &other), 0);
	assert_int_not_equal((pid_t)other, c->daemon);
	assert_true((pid_t)other == pid || c->daemon == pid);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	kill((pid_t)other, SIGTERM);
	await_end(c, (pid_t)other, 0);
}

/* --- it is not --- */

static void test_stale(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.spare.stale\":\"x\"");
	pid_t pid = make_spare(c);

	begin(c, "c1", bundle);
	assert_int_equal(c->daemon, pid);
	assert_false(is_noted(c, "adopted-c1"));
	assert_true(is_noted(c, "running-c1"));
	end(c, "c1");
}

/* Not even asked: it would be dropped. */
static void test_annotations(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(
		c, "c1", "exec sleep 100",
		"\"io.katacontainers.config.hypervisor.kernel_params\":\"x\"");
	pid_t pid = make_spare(c);

	free(containerd_start(c, "c1", bundle));
	assert_int_not_equal(c->daemon, pid);
	assert_int_equal(spare_pid(config_file), pid);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
}

static void test_other_configuration(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *other = write_config(c, "other.toml", 1);
	pid_t pid = make_spare(c);

	setenv("KATA_CONF_FILE", other, 1);
	free(containerd_start(c, "c1", bundle));
	assert_int_not_equal(c->daemon, pid);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	assert_int_equal(spare_pid(config_file), pid);
	assert_int_equal(spare_pid(other), 0);
}

/* The environment of whoever had it made is not that of its pod. */
static void test_other_environment(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.spare.stale\":\"x\"");
	_cleanup_(freep) char *other = write_config(c, "other.toml", 0);
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; fd <= 2; fd++)
			(void)dup2(null, fd);
		setenv("KATA_CONF_FILE", other, 1);
		execl(getenv("KATA_SHIM"), "shim", "-id", "spare", "-config", config_file, "spare",
		      NULL);
		_exit(127);
	}
	assert_int_equal(await_spare(c, config_file, 0), pid);
	begin(c, "c1", bundle);
	assert_int_equal(c->daemon, pid);
	/* It orders the next one of its own configuration. */
	end(c, "c1");
	assert_int_not_equal(await_spare(c, config_file, 0), pid);
}

/* It does not hold `start` up, nor takes what `start` has given to another since. */
static void test_frozen(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid = make_spare(c);
	uint64_t began;
	int n;

	containerd_rounds(c, 200); /* it settles */
	n = proc_fds(pid);
	kill(pid, SIGSTOP);
	began = clock_now();
	begin(c, "c1", bundle);
	assert_true(clock_now() - began < test_limit(4 * USEC_PER_SEC));
	assert_int_not_equal(c->daemon, pid);
	kill(pid, SIGCONT);
	containerd_rounds(c, 500);
	assert_int_equal(spare_pid(config_file), pid);
	containerd_rounds(c, 100);
	/* It waits as before. */
	check_waiting(pid);
	assert_int_equal(proc_fds(pid), n);
	assert_int_equal(task_state(c, "c1", ""), 2);
	end(c, "c1");
}

/* --- its end --- */

static void test_sigterm(void **state)
{
	struct containerd *c = *state;
	pid_t pid = make_spare(c);

	kill(pid, SIGTERM);
	await_end(c, pid, 0);
	assert_int_equal(spare_pid(config_file), 0);
	assert_true(spare_missing(config_file, 1));
}

static void test_dismissed(void **state)
{
	struct containerd *c = *state;
	pid_t pid = make_spare(c);

	assert_int_equal(spare_dismiss(config_file), 1);
	await_end(c, pid, 0);
	assert_int_equal(spare_count(config_file), 0);
}

static pid_t vm_of(pid_t pid)
{
	pid_t pids[4];

	assert_int_equal(proc_descendants(pid, pids, ARRAY_SIZE(pids)), 1);
	return pids[0];
}

static void test_vm_dies(void **state)
{
	struct containerd *c = *state;
	pid_t pid = make_spare(c);

	kill(vm_of(pid), SIGKILL);
	await_end(c, pid, 0);
	assert_int_equal(spare_count(config_file), 0);
}

/* Behind the last word: the sandbox is made anew. */
static void test_vm_dies_when_taken(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	pid_t pid = make_spare(c);

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(c->daemon, pid);
	kill(vm_of(pid), SIGKILL);
	containerd_rounds(c, 100);
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	assert_false(is_noted(c, "adopted-c1"));
	end(c, "c1");
}

/* Its order, as `start` writes it. */
static void format_order(struct containerd *c, const char *bundle, const char *socket,
			 struct buf *ret)
{
	const char *words[] = {"c1",        bundle,           socket, "testing", c->address,
			       "/bin/true", c->ttrpc_address, "",     ""};
	struct stat st;

	assert_int_equal(stat(getenv("KATA_SHIM"), &st), 0);
	buf_addf(ret, KATA_VERSION " %ju:%ju %jd", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
		 (intmax_t)st.st_mtim.tv_sec);
	buf_add(ret, "", 1);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		buf_add(ret, words[i], strlen(words[i]) + 1);
}

/* Between the first word and the last one. What was promised is kept: `start` has answered. */
static void test_promised(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	_cleanup_(freep) char *path = path_join(c->dir, "c1.sock");
	_cleanup_(buf_fini) struct buf order = {0};
	pid_t pid = make_spare(c);
	unsigned int next = 0;
	int fd = spare_connect(config_file, &next), fds[2];
	char answer[8] = "";

	assert_true(fd >= 0);
	format_order(c, bundle, path, &order);
	fds[0] = fd_unix_listen(path, 0600);
	fds[1] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fd_send(fd, order.data, order.len, fds, 2), order.len);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(fd_read_full(fd, answer, 5), 5);
	assert_string_equal(answer, "will");
	kill(vm_of(pid), SIGKILL);
	containerd_rounds(c, 200);
	assert_int_equal(fd_write_all(fd, "shall", 6), 0);
	close(fd);
	containerd_connect(c, path);
	c->daemon = pid;
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	end(c, "c1");
	assert_false(fs_exists(path));
}

/* A stop ends the adoption, and nothing is booted in its place. */
static void test_stopped(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.boot.msec\":\"8000\"");
	pid_t pid = make_spare(c), child;
	uint64_t began;

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(c->daemon, pid);
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	began = clock_now();
	child = fork();
	if (child == 0) {
		usleep(500000);
		kill(pid, SIGTERM);
		_exit(0);
	}
	assert_true(task_create(c, "c1", bundle, NULL, false, NULL) < 0);
	task_end_daemon(c);
	assert_true(clock_now() - began < test_limit(6 * USEC_PER_SEC));
	await_end(c, child, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_taken),
		TEST(test_ordered),
		TEST(test_several),
		TEST(test_delete_after_crash),
		TEST(test_delete_of_hung),
		TEST(test_two_at_once),
		TEST(test_stale),
		TEST(test_annotations),
		TEST(test_other_configuration),
		TEST(test_other_environment),
		TEST(test_frozen),
		TEST(test_sigterm),
		TEST(test_dismissed),
		TEST(test_vm_dies),
		TEST(test_vm_dies_when_taken),
		TEST(test_promised),
		TEST(test_stopped),
	};

	/* The sockets are in containerd's own folder. */
	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	if (getenv("KATA_TEST_ONLY"))
		cmocka_set_test_filter(getenv("KATA_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
