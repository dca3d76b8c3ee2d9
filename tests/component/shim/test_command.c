/* SPDX-License-Identifier: Apache-2.0 */

/* containerd-shim-kata-v2 as a command: what start, delete, -info and -v print and leave. */

#include "base/test.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "bootstrap.pb-c.h"
#include "containerd.h"
#include "fakes/own_run.h"
#include "types_containerd.pb-c.h"

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

/* Nothing of the caller's is open in the daemon, and its streams are /dev/null. */
static void check_descriptors(pid_t pid)
{
	_cleanup_(freep) char *dir = xasprintf("/proc/%d/fd", pid);
	_cleanup_(closedirp) DIR *d = opendir(dir);
	struct dirent *entry;

	assert_non_null(d);
	while ((entry = readdir(d))) {
		_cleanup_(freep) char *path = path_join(dir, entry->d_name);
		int fd = atoi(entry->d_name);
		char target[256];
		ssize_t n;

		if (entry->d_name[0] == '.')
			continue;
		n = readlink(path, target, sizeof(target) - 1);
		assert_true(n > 0);
		target[n] = '\0';
		assert_int_not_equal(fd, 77);
		if (fd <= 2)
			assert_string_equal(target, "/dev/null");
		assert_false(str_has_prefix(target, "pipe:"));
	}
}

static char *read_file(const char *dir, const char *name)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	char *text = NULL;

	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	return text;
}

static void test_start(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle), *text = NULL, *pid = NULL;
	_cleanup_(freep) char *again = NULL;

	/* Exactly one line: the address, at a place that is containerd's. */
	assert_true(str_has_prefix(line, "unix:///run/containerd/s/"));
	assert_int_equal(strlen(line), strlen("unix:///run/containerd/s/") + 64 + 1);
	assert_int_equal(strspn(line + 25, "0123456789abcdef"), 64);
	assert_int_equal(line[strlen(line) - 1], '\n');
	text = read_file(bundle, "address");
	assert_int_equal(strncmp(text, line, strlen(line) - 1), 0);
	assert_int_equal(strlen(text), strlen(line) - 1);
	/* Whoever answers has settled. */
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	check_descriptors(c->daemon);
	pid = read_file(bundle, "shim.pid");
	assert_int_equal(atoi(pid), c->daemon);
	/* Not in our session: a signal to our terminal does not reach it. */
	assert_int_equal(getsid(c->daemon), c->daemon);

	/* The same container again: the same shim. */
	again = containerd_start(c, "c1", bundle);
	assert_string_equal(again, line);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	line[strlen(line) - 1] = '\0';
	assert_int_equal(access(line + 7, F_OK), -1);
}

/* The log is the bundle's FIFO, in the form that the environment wants. */
static void test_log(void **state)
{
	static const struct {
		const char *format, *expected;
	} rows[] = {
		{"json", "\"level\":\"error\",\"msg\":\"create container c1: "},
		{"text", " level=error msg=\"create container c1: "},
		{"xml", " level=warning msg=\"KATA_LOG_FORMAT is text or json, not "},
	};
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle_args(c, "c1", "[\"/no/such\"]", "");
	_cleanup_(freep) char *path = path_join(bundle, "log");
	_cleanup_(closep) int fd = -1;

	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[8192];
		ssize_t n;

		setenv("KATA_LOG_FORMAT", rows[i].format, 1);
		free(containerd_start(c, "c1", bundle));
		unsetenv("KATA_LOG_FORMAT");
		assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), -EREMOTEIO);
		assert_int_equal(task_shutdown(c, "c1"), 0);
		task_end_daemon(c);
		n = read(fd, text, sizeof(text) - 1);
		assert_true(n > 0);
		text[n] = '\0';
		if (!strstr(text, rows[i].expected))
			fail_msg("no \"%s\" in: %s", rows[i].expected, text);
	}
}

/* Other containerds and namespaces have other sockets. */
static void test_addresses(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *first = containerd_start(c, "c1", bundle), *other = NULL;
	struct run run;
	pid_t pid = c->daemon;

	containerd_run(c, bundle, "", 0, &run, "--namespace=elsewhere", "--address", c->address,
		       "--id=c1", "start", NULL);
	assert_int_equal(run.status, 0);
	assert_string_not_equal(run.out.data, first);
	other = read_file(bundle, "shim.pid");
	assert_int_not_equal(atoi(other), pid);
	run.out.data[strcspn(run.out.data, "\n")] = '\0';
	containerd_connect(c, run.out.data + strlen("unix://"));
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	kill(atoi(other), SIGTERM);
	assert_int_equal(waitpid(atoi(other), NULL, 0), atoi(other));
	run_fini(&run);
}

static void test_start_fails(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *config = path_join(bundle, "config.json");
	struct run run;

	/* A container of a sandbox that does not run. */
	free(bundle);
	bundle = containerd_bundle(c, "c1", "true",
				   "\"io.kubernetes.cri.container-type\":\"container\","
				   "\"io.kubernetes.cri.sandbox-id\":\"nosuch\"");
	containerd_run(c, bundle, "", 0, &run, "-namespace", "testing", "-address", c->address,
		       "-id", "c1", "start", NULL);
	assert_int_equal(run.status, 1);
	assert_int_equal(run.out.len, 0);
	assert_non_null(strstr(run.err.data, "sandbox nosuch does not run"));
	run_fini(&run);

	assert_int_equal(fs_replace(config, "{\"process\": 7", 13, 0600, false), 0);
	containerd_run(c, bundle, "", 0, &run, "-namespace", "testing", "-address", c->address,
		       "-id", "c1", "start", NULL);
	assert_int_equal(run.status, 1);
	assert_non_null(strstr(run.err.data, "config.json"));
	run_fini(&run);

	containerd_run(c, bundle, "\xff\xff\xff", 3, &run, "-namespace", "testing", "-address",
		       c->address, "-id", "c1", "start", NULL);
	assert_int_equal(run.status, 1);
	assert_non_null(strstr(run.err.data, "standard input"));
	run_fini(&run);

	containerd_run(c, bundle, "", 0, &run, "-namespace", "testing", "-frob", "start", NULL);
	assert_int_equal(run.status, 1);
	assert_non_null(strstr(run.err.data, "-frob"));
	run_fini(&run);
}

static void check_json(const char *line)
{
	assert_true(str_has_prefix(line, "{\"version\":3,\"address\":\"unix:///run/containerd/s/"));
	assert_true(str_has_suffix(line, "\",\"protocol\":\"ttrpc\"}\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

/* containerd 2.3: parameters on standard input. */
static void test_bootstrap(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	Containerd__Runtime__Bootstrap__V1__BootstrapParams params =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
	_cleanup_(freep) char *dir = path_join(c->dir, "s"), *pid = NULL;
	uint8_t packed[1024];
	struct run run;
	size_t n;

	params.instance_id = (char *)"c1";
	params.namespace_ = (char *)"testing";
	params.containerd_grpc_address = c->address;
	params.opt_socket_dir_case =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__OPT_SOCKET_DIR_SOCKET_DIR;
	params.socket_dir = dir;
	n = containerd__runtime__bootstrap__v1__bootstrap_params__pack(&params, packed);
	containerd_run(c, bundle, packed, n, &run, "-namespace", "testing", "-address", "", "-id",
		       "c1", "start", NULL);
	assert_int_equal(run.status, 0);
	assert_int_equal(run.err.len, 0);
	assert_true(str_has_prefix(run.out.data, "{\"version\":3,\"address\":\"unix:///tmp/"));
	assert_non_null(strstr(run.out.data, dir));
	run_fini(&run);
	pid = read_file(bundle, "shim.pid");
	c->daemon = atoi(pid);
}

/* A program as Go's linker leaves it: an ELF file with a section .go.buildinfo. */
static void write_go_program(const char *path, const char *modules)
{
	static const char names[] = "\0.go.buildinfo\0.shstrtab";
	_cleanup_(buf_fini) struct buf b = {0}, info = {0};
	Elf64_Ehdr header = {.e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3, .e_shstrndx = 2};
	Elf64_Shdr sections[3] = {0};

	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_shoff = sizeof(header);
	buf_add(&info, "\xff Go buildinf:\x08\x02", 16);
	buf_add(&info, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	buf_adds(&info, modules);
	sections[1] = (Elf64_Shdr){.sh_name = 1,
				   .sh_type = SHT_PROGBITS,
				   .sh_offset = sizeof(header) + sizeof(sections),
				   .sh_size = info.len};
	sections[2] = (Elf64_Shdr){.sh_name = 15,
				   .sh_type = SHT_STRTAB,
				   .sh_offset = sections[1].sh_offset + info.len,
				   .sh_size = sizeof(names)};
	buf_add(&b, &header, sizeof(header));
	buf_add(&b, sections, sizeof(sections));
	buf_add(&b, info.data, info.len);
	buf_add(&b, names, sizeof(names));
	assert_int_equal(fs_replace(path, b.data, b.len, 0700, false), 0);
}

/* containerd 2.0 to 2.2 and 1.7 send the same; the caller's program tells them apart. */
static void test_answer_forms(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *program = path_join(c->dir, "containerd"), *line = NULL;

	free(c->publish_binary);
	c->publish_binary = xstrdup(program);
	write_go_program(program, "path\tgithub.com/containerd/containerd/cmd/containerd\n"
				  "dep\tgithub.com/containerd/typeurl/v2\tv2.1.1\n");
	line = containerd_start(c, "c1", bundle);
	assert_true(str_has_prefix(line, "unix://"));
	free(line);
	write_go_program(program, "path\tgithub.com/containerd/containerd/v2/cmd/containerd\n");
	line = containerd_start(c, "c1", bundle);
	check_json(line);
	free(line);
	/* k3s contains containerd. */
	write_go_program(program, "path\tgithub.com/k3s-io/k3s/cmd/k3s\n"
				  "dep\tgithub.com/containerd/containerd/v2\tv2.1.4\th1:x\n");
	line = containerd_start(c, "c1", bundle);
	check_json(line);
	free(line);
	line = NULL;
	/* CRI-O may contain it too, but has no address and takes the bare form only. */
	free(c->address);
	c->address = xstrdup("");
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	line = containerd_start(c, "c1", bundle);
	assert_true(str_has_prefix(line, "unix://"));
}

static void check_group(struct containerd *c, const char *sandbox, const char *container)
{
	_cleanup_(freep) char *first = containerd_bundle(c, "pod", "exec sleep 100", sandbox);
	_cleanup_(freep) char *second = containerd_bundle(c, "app", "exec sleep 100", container);
	_cleanup_(freep) char *line = containerd_start(c, "pod", first), *other = NULL;
	pid_t pid = c->daemon;

	other = containerd_start(c, "app", second);
	assert_string_equal(other, line);
	assert_int_equal(c->daemon, pid);
	free(other);
	other = read_file(second, "address");
	assert_memory_equal(other, line, strlen(other));

	assert_int_equal(task_create(c, "pod", first, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "pod", "", NULL), 0);
	assert_int_equal(task_create(c, "app", second, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "app", "", NULL), 0);
	assert_int_equal(task_kill(c, "app", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "app", ""), 137);
	assert_int_equal(task_delete(c, "app", "", NULL), 137);
	/* After each container containerd shuts down, closes and calls delete: the pod lives on. */
	assert_int_equal(task_shutdown(c, "app"), 0);
	assert_int_equal(containerd_delete(c, "app", second), 137);
	assert_int_equal(task_state(c, "pod", ""), 2);
	assert_int_equal(task_kill(c, "pod", "", SIGTERM, NULL), 0);
	assert_int_equal(task_wait(c, "pod", ""), 143);
	assert_int_equal(task_delete(c, "pod", "", NULL), 143);
	assert_int_equal(task_shutdown(c, "pod"), 0);
	task_end_daemon(c);
	assert_int_equal(containerd_delete(c, "pod", first), 137);
}

static void test_group_containerd(void **state)
{
	check_group(*state,
		    "\"io.kubernetes.cri.container-type\":\"sandbox\","
		    "\"io.kubernetes.cri.sandbox-id\":\"pod\"",
		    "\"io.kubernetes.cri.container-type\":\"container\","
		    "\"io.kubernetes.cri.sandbox-id\":\"pod\"");
}

static void test_group_crio(void **state)
{
	struct containerd *c = *state;

	free(c->address);
	c->address = xstrdup("");
	check_group(c,
		    "\"io.kubernetes.cri-o.ContainerType\":\"sandbox\","
		    "\"io.kubernetes.cri-o.SandboxID\":\"pod\"",
		    "\"io.kubernetes.cri-o.ContainerType\":\"container\","
		    "\"io.kubernetes.cri-o.SandboxID\":\"pod\"");
}

/* The shim is killed: delete removes its socket and what is left of the sandbox. */
static void test_delete_after_crash(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle);
	_cleanup_(freep) char *cleanup = path_join(c->dir, "cleanup-c1");

	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	kill(c->daemon, SIGKILL);
	task_end_daemon(c);
	line[strlen(line) - 1] = '\0';
	assert_int_equal(access(line + 7, F_OK), 0);
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
	assert_int_equal(access(line + 7, F_OK), -1);
	assert_int_equal(access(cleanup, F_OK), 0);
	/* Once more, with nothing there. */
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
}

/* A shim that hangs is killed by delete. */
static void test_delete_of_hung(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle);

	kill(c->daemon, SIGSTOP);
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
	task_end_daemon(c);
}

/* Another process that has got the pid since is left alone. */
static void test_delete_of_stranger(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *path = path_join(bundle, "shim.pid"), *text = NULL;
	pid_t stranger = fork();

	if (stranger == 0) {
		pause();
		_exit(0);
	}
	text = xasprintf("%d", stranger);
	assert_int_equal(fs_replace(path, text, strlen(text), 0600, false), 0);
	assert_int_equal(containerd_delete(c, "c1", bundle), 137);
	assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
	kill(stranger, SIGKILL);
	assert_int_equal(waitpid(stranger, NULL, 0), stranger);
}

/* Nor is anything removed that is no socket, or one that somebody serves: the file that names it
 * could name anything. */
static void test_delete_of_other_socket(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");
	_cleanup_(freep) char *file = path_join(c->dir, "precious");
	_cleanup_(freep) char *dead = path_join(c->dir, "dead");
	const struct {
		const char *path;
		bool stays;
	} rows[] = {{file, true}, {c->ttrpc_address, true}, {dead, false}};

	assert_int_equal(fs_replace(file, "x", 1, 0600, false), 0);
	close(fd_unix_listen(dead, 0600));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(freep) char *address = path_join(bundle, "address");
		_cleanup_(freep) char *text = xasprintf("unix://%s", rows[i].path);

		assert_int_equal(fs_replace(address, text, strlen(text), 0600, false), 0);
		assert_int_equal(containerd_delete(c, "c1", bundle), 137);
		assert_int_equal(access(rows[i].path, F_OK) == 0, rows[i].stays);
	}
}

static void test_sigterm(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100", "");
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle);
	_cleanup_(freep) char *running = path_join(c->dir, "running-c1");

	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	assert_int_equal(access(running, F_OK), 0);
	kill(c->daemon, SIGTERM);
	containerd_await_event(c, "/tasks/exit c1 c1 137");
	task_end_daemon(c);
	assert_int_equal(access(running, F_OK), -1);
	line[strlen(line) - 1] = '\0';
	assert_int_equal(access(line + 7, F_OK), -1);
}

static void test_info(void **state)
{
	struct containerd *c = *state;
	Containerd__Types__RuntimeInfo *info;
	struct run run;

	containerd_run(c, c->dir, "\x0a\x01x\x12\x02yz", 7, &run, "-info", NULL);
	assert_int_equal(run.status, 0);
	assert_int_equal(run.err.len, 0);
	info = containerd__types__runtime_info__unpack(NULL, run.out.len, (uint8_t *)run.out.data);
	assert_non_null(info);
	assert_string_equal(info->name, "io.containerd.kata.v2");
	assert_string_equal(info->version->version, KATA_VERSION);
	assert_string_equal(info->options->type_url, "x");
	assert_non_null(strstr(info->features->type_url, "runtime-spec/1/features/Features"));
	assert_non_null(strstr((char *)info->features->value.data, "\"rro\""));
	containerd__types__runtime_info__free_unpacked(info, NULL);
	run_fini(&run);
	containerd_run(c, c->dir, "", 0, &run, "-v", NULL);
	assert_int_equal(run.status, 0);
	assert_non_null(strstr(run.out.data, KATA_VERSION));
	run_fini(&run);
	containerd_run(c, c->dir, "", 0, &run, "--help", NULL);
	assert_int_equal(run.status, 0);
	assert_true(str_has_prefix(run.out.data, "Usage: "));
	run_fini(&run);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_start),
		TEST(test_addresses),
		TEST(test_log),
		TEST(test_start_fails),
		TEST(test_bootstrap),
		TEST(test_answer_forms),
		TEST(test_group_containerd),
		TEST(test_group_crio),
		TEST(test_delete_after_crash),
		TEST(test_delete_of_hung),
		TEST(test_delete_of_stranger),
		TEST(test_delete_of_other_socket),
		TEST(test_sigterm),
		TEST(test_info),
	};

	/* The sockets are in containerd's own folder. */
	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
