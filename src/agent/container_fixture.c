/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/container_fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kernel/cgroup.h"

#define BUSYBOX "/bin/busybox"

struct fixture_state t;

/* --- the agent --- */

static void make_rootfs(void)
{
	static const char *const folders[] = {"bin", "proc", "sys",  "dev",
					      "tmp", "etc",  "root", "full"};
	static const char *const applets[] = {
		"sh",    "cat",      "echo", "sleep",    "id",  "ls",  "true", "grep",  "mount",
		"touch", "stty",     "wc",   "md5sum",   "dd",  "pwd", "env",  "umask", "kill",
		"ps",    "hostname", "rm",   "readlink", "tty", "seq", "head", "stat"};
	_cleanup_(freep) char *busybox = path_join(t.rootfs, "bin/busybox");
	_cleanup_(freep) char *passwd = path_join(t.rootfs, "etc/passwd");
	_cleanup_(freep) char *plain = path_join(t.rootfs, "bin/plain");
	_cleanup_(freep) char *escape = path_join(t.rootfs, "escape");
	_cleanup_(freep) char *data = NULL;
	size_t n;

	assert_int_equal(fs_mkdir_all(t.rootfs, 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		_cleanup_(freep) char *path = path_join(t.rootfs, folders[i]);

		assert_int_equal(mkdir(path, 0755), 0);
	}
	assert_int_equal(fs_read(BUSYBOX, 16 << 20, &data, &n), 0);
	assert_int_equal(fs_replace(busybox, data, n, 0755, false), 0);
	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		_cleanup_(freep) char *path = xasprintf("%s/bin/%s", t.rootfs, applets[i]);

		assert_int_equal(symlink("busybox", path), 0);
	}
	assert_int_equal(fs_replace(passwd, "u:x:1000:1000::/home/u:/bin/sh\n", 31, 0644, false),
			 0);
	assert_int_equal(fs_replace(plain, "x", 1, 0644, false), 0);
	/* A link that leads out of the root for whoever follows it outside. */
	assert_int_equal(symlink("/../../../../tmp", escape), 0);
}

static pid_t agent_pid;

static void pass_on(int signo)
{
	kill(agent_pid, signo);
}

/* The helper above the agent's namespace: gives it SIGTERM and has its exit status. */
static _noreturn_ void run_agent(const char *program)
{
	_cleanup_(freep) char *listen = xasprintf("unix://%s", t.address);
	const char *level = getenv("AGENT_LOG") ? getenv("AGENT_LOG") : "error";

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID) < 0)
		_exit(99);
	agent_pid = fork();
	if (agent_pid) {
		int status;

		signal(SIGTERM, pass_on);
		while (waitpid(agent_pid, &status, 0) < 0 && errno == EINTR) {
		}
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* Shared as in the guest, but apart from the machine. */
	mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);
	mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	if (t.own_run)
		mount("run", "/run", "tmpfs", 0, NULL);
	execl(program, program, "--listen", listen, "--log", level, NULL);
	_exit(97);
}

static bool has_controllers(void)
{
	return fs_exists("/sys/fs/cgroup/cgroup.controllers");
}

static int fixture_setup(_unused_ void **state)
{
	const char *program = getenv("KATA_AGENT");
	int fd = -1;

	assert_non_null(program);
	fd = cgroup_root_open();
	t.has_groups = fd >= 0;
	fd = fd_close(fd);
	t.is_guest = getenv("KATA_TEST_GUEST") != NULL;
	if (t.is_guest)
		assert_true(t.has_groups && has_controllers());
	t.dir = xstrdup("/tmp/kata-agent-test-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	assert_int_equal(chmod(t.dir, 0755), 0);
	t.rootfs = path_join(t.dir, "bundle/rootfs");
	t.address = path_join(t.dir, "agent.sock");
	make_rootfs();
	t.pid = fork();
	if (t.pid == 0)
		run_agent(program);
	for (int i = 0; i < 500 && fd < 0; i++) {
		fd = fd_unix_connect(t.address);
		if (fd < 0)
			usleep(10000);
	}
	assert_true(fd >= 0);
	fd_set_nonblock(fd, true);
	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(ttrpc_client_new(t.loop, fd, NULL, NULL, &t.client), 0);
	return 0;
}

static int fixture_teardown(_unused_ void **state)
{
	int status;

	ttrpc_client_free(t.client);
	loop_free(t.loop);
	/* It ends by itself, so that a sanitizer sees what it has lost. */
	kill(t.pid, SIGTERM);
	waitpid(t.pid, &status, 0);
	assert_int_equal(status, 0);
	fs_remove_all(t.dir);
	strv_fini(&t.kept);
	free(t.dir);
	free(t.rootfs);
	free(t.address);
	return 0;
}

/* --- calls --- */

int call_method(const char *method, const void *request, const ProtobufCMessageDescriptor *output,
		void *ret, struct err *err)
{
	ProtobufCMessage *response = NULL;
	int r = ttrpc_client_call(t.client, SERVICE, method, request, output,
				  clock_after(30 * USEC_PER_SEC), &response, err);

	if (ret)
		*(ProtobufCMessage **)ret = response;
	else if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	return r;
}

void add_mount(struct fixture *f, const char *destination, const char *type, const char *source,
	       const char *options)
{
	Grpc__Mount *m = &f->mounts[f->spec.n_mounts];
	char **list = f->options[f->spec.n_mounts];
	char *copy, *save = NULL;

	strv_add(&t.kept, options);
	copy = t.kept.v[t.kept.n - 1];
	*m = (Grpc__Mount)GRPC__MOUNT__INIT;
	m->destination = (char *)(uintptr_t)destination;
	m->type = (char *)(uintptr_t)type;
	m->source = (char *)(uintptr_t)source;
	m->options = list;
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save))
		list[m->n_options++] = o;
	f->mount_list[f->spec.n_mounts++] = m;
}

void add_namespace(struct fixture *f, const char *type, const char *path)
{
	Grpc__LinuxNamespace *ns = &f->namespaces[f->linux_.n_namespaces];

	*ns = (Grpc__LinuxNamespace)GRPC__LINUX_NAMESPACE__INIT;
	ns->type = S(type);
	ns->path = S(path);
	f->linux_.namespaces = f->namespace_list;
	f->namespace_list[f->linux_.n_namespaces++] = ns;
}

void set_args(struct fixture *f, const char *const *args)
{
	f->process.n_args = 0;
	f->process.args = f->args;
	while (*args)
		f->args[f->process.n_args++] = (char *)(uintptr_t)*args++;
}

void fixture_init(struct fixture *f, const char *id, const char *const *args)
{
	static char path[] = "PATH=/bin:/full";

	memset(f, 0, sizeof(*f));
	f->request = (Grpc__CreateContainerRequest)GRPC__CREATE_CONTAINER_REQUEST__INIT;
	f->spec = (Grpc__Spec)GRPC__SPEC__INIT;
	f->process = (Grpc__Process)GRPC__PROCESS__INIT;
	f->user = (Grpc__User)GRPC__USER__INIT;
	f->root = (Grpc__Root)GRPC__ROOT__INIT;
	f->linux_ = (Grpc__Linux)GRPC__LINUX__INIT;
	f->caps = (Grpc__LinuxCapabilities)GRPC__LINUX_CAPABILITIES__INIT;
	f->request.container_id = f->request.exec_id = (char *)(uintptr_t)id;
	f->request.oci = &f->spec;
	f->spec.process = &f->process;
	f->spec.root = &f->root;
	f->spec.linux = &f->linux_;
	f->spec.mounts = f->mount_list;
	f->root.path = t.rootfs;
	f->process.user = &f->user;
	f->process.capabilities = &f->caps;
	f->process.cwd = (char *)(uintptr_t) "/";
	f->process.env = f->env;
	f->env[f->process.n_env++] = path;
	set_args(f, args);
	add_mount(f, "/proc", "proc", "proc", "nosuid,noexec,nodev");
	add_mount(f, "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
	add_mount(f, "/dev/pts", "devpts", "devpts",
		  "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
	add_mount(f, "/tmp", "tmpfs", "tmpfs", "nosuid,nodev");
}

int create(struct fixture *f, struct err *err)
{
	return CALL_EMPTY("CreateContainer", &f->request, err);
}

int start(const char *id, struct err *err)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;

	request.container_id = (char *)(uintptr_t)id;
	return CALL_EMPTY("StartContainer", &request, err);
}

int remove_container(const char *id, struct err *err)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	request.container_id = (char *)(uintptr_t)id;
	return CALL_EMPTY("RemoveContainer", &request, err);
}

static int wait_process_with(const char *id, const char *exec_id, bool hold)
{
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__WaitProcessResponse *response = NULL;
	_cleanup_err_ struct err err = {0};
	int r;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	request.hold_streams = hold;
	r = CALL("WaitProcess", &request, grpc__wait_process_response, &response, &err);
	if (r < 0)
		return r;
	r = response->status;
	protobuf_c_message_free_unpacked(&response->base, NULL);
	return r;
}

int wait_process(const char *id, const char *exec_id)
{
	return wait_process_with(id, exec_id, false);
}

int wait_process_held(const char *id, const char *exec_id)
{
	return wait_process_with(id, exec_id, true);
}

int signal_process(const char *id, const char *exec_id, int signo)
{
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	request.signal = (uint32_t)signo;
	return CALL_EMPTY("SignalProcess", &request, NULL);
}

/* One read: the number of bytes, appended to out. */
ssize_t read_once(const char *id, const char *exec_id, bool is_stdout, uint32_t len,
		  struct buf *out)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *response = NULL;
	ssize_t n;
	int r;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	request.len = len;
	r = CALL(is_stdout ? "ReadStdout" : "ReadStderr", &request, grpc__read_stream_response,
		 &response, NULL);
	if (r < 0)
		return r;
	n = (ssize_t)response->data.len;
	buf_add(out, response->data.data, response->data.len);
	protobuf_c_message_free_unpacked(&response->base, NULL);
	return n;
}

/* What a container says may come in parts. */
void expect_line(const char *id, const char *line)
{
	_cleanup_(buf_fini) struct buf out = {0};

	while (out.len < strlen(line))
		assert_true(read_once(id, id, true, 100, &out) > 0);
	assert_string_equal(out.data, line);
}

/* Everything until the end. */
char *read_all(const char *id, const char *exec_id, bool is_stdout)
{
	struct buf out = {0};

	while (read_once(id, exec_id, is_stdout, 65536, &out) > 0) {
	}
	return buf_take(&out);
}

int write_stdin(const char *id, const char *exec_id, const void *p, size_t n)
{
	Grpc__WriteStreamRequest request = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__WriteStreamResponse *response = NULL;
	int r;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	request.data.data = (uint8_t *)(uintptr_t)p;
	request.data.len = n;
	r = CALL("WriteStdin", &request, grpc__write_stream_response, &response, NULL);
	if (r < 0)
		return r;
	r = (int)response->len;
	protobuf_c_message_free_unpacked(&response->base, NULL);
	return r;
}

int close_stdin(const char *id, const char *exec_id)
{
	Grpc__CloseStdinRequest request = GRPC__CLOSE_STDIN_REQUEST__INIT;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	return CALL_EMPTY("CloseStdin", &request, NULL);
}

int exec(struct fixture *f, const char *id, const char *exec_id, struct err *err)
{
	Grpc__ExecProcessRequest request = GRPC__EXEC_PROCESS_REQUEST__INIT;

	request.container_id = (char *)(uintptr_t)id;
	request.exec_id = (char *)(uintptr_t)exec_id;
	request.process = &f->process;
	return CALL_EMPTY("ExecProcess", &request, err);
}

/* Creates, starts, and gives all of its output; the container is removed. */
char *run(struct fixture *f, int *ret_status)
{
	const char *id = f->request.container_id;
	_cleanup_err_ struct err err = {0};
	char *out;

	if (create(f, &err) < 0 || start(id, &err) < 0) {
		print_message("%s\n", err_text(&err));
		remove_container(id, NULL);
		return xasprintf("ERROR %s", err_text(&err));
	}
	out = read_all(id, id, true);
	*ret_status = wait_process(id, id);
	if (*ret_status) {
		_cleanup_(freep) char *text = read_all(id, id, false);

		print_message("stderr: %s\n", text);
	}
	assert_int_equal(remove_container(id, &err), 0);
	return out;
}

/* Runs a shell script in a container that `change` has altered; gives its output. */
char *run_script(const char *script, void (*change)(struct fixture *f))
{
	struct fixture f;
	int status = -1;
	char *out;

	fixture_init(&f, "script", ARGS("sh", "-c", script));
	if (change)
		change(&f);
	out = run(&f, &status);
	if (status)
		print_message("\"%s\" ended with %d: %s\n", script, status, out);
	assert_int_equal(status, 0);
	return out;
}

void check_script(const char *script, void (*change)(struct fixture *f), const char *wanted)
{
	_cleanup_(freep) char *out = run_script(script, change);

	assert_string_equal(out, wanted);
}

void check_refused(void (*change)(struct fixture *f), int code, const char *text)
{
	struct fixture f;
	_cleanup_err_ struct err err = {0};

	fixture_init(&f, "refused", ARGS("true"));
	change(&f);
	assert_int_equal(create(&f, &err), code);
	if (!strstr(err_text(&err), text))
		fail_msg("\"%s\" is not in \"%s\"", text, err_text(&err));
	assert_int_equal(remove_container("refused", NULL), -ENOENT);
}

/* --- tests run in a coroutine --- */

static void (*body)(void);

static void run_body(_unused_ void *arg)
{
	body();
	loop_quit(t.loop, 0);
}

void fixture_run(void **state)
{
	body = (void (*)(void))(uintptr_t)*state;
	co_start(t.loop, run_body, NULL);
	assert_int_equal(loop_run(t.loop), 0);
}

/* A test's name is nowhere but in the table. */
static const struct CMUnitTest *table;

static const char *name_of(void *const *state)
{
	const struct CMUnitTest *test = table;

	while (test->initial_state != *state)
		test++;
	return test->name;
}

void fixture_run_groups(void **state)
{
	if (!t.has_groups)
		skip_test_of(name_of(state), "needs a hierarchy of cgroup v2");
	fixture_run(state);
}

void fixture_run_controllers(void **state)
{
	if (!has_controllers())
		skip_test_of(name_of(state), "needs cgroup v2 with all controllers");
	fixture_run(state);
}

void fixture_run_guest(void **state)
{
	if (!t.is_guest)
		skip_test_of(name_of(state), "changes the machine that it runs on");
	fixture_run(state);
}

int fixture_main(const struct CMUnitTest *tests, size_t n)
{
	if (geteuid() != 0 || access(BUSYBOX, X_OK) < 0)
		skip_program("needs root and busybox");
	table = tests;
	/* An assertion that fails in a coroutine has nowhere to jump to. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	/* One alone, for a look at it: TEST_FILTER=test_many. */
	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
	return _cmocka_run_group_tests("containers", tests, n, fixture_setup, fixture_teardown);
}
