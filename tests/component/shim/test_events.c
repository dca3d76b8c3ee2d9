/* SPDX-License-Identifier: Apache-2.0 */

/* Events when containerd is not there, and the sandbox API with its management socket. */

#include "base/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "containerd.h"
#include "fakes/own_run.h"
#include "kernel/proc.h"
#include "metrics_v2.pb-c.h"
#include "sandbox.pb-c.h"

#define SANDBOX "containerd.runtime.sandbox.v1.Sandbox"

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

static char *start_container(struct containerd *c, const char *script)
{
	char *bundle = containerd_bundle(c, "c1", script, "");

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	return bundle;
}

/* containerd restarts: nothing is lost and nothing changes its place. The publishing program fails
 * meanwhile, as containerd's own does then. */
static void test_restart(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = NULL;

	free(c->publish_binary);
	c->publish_binary = xstrdup("/bin/false");
	bundle = start_container(c, "exec sleep 100");
	containerd_await_event(c, "/tasks/start c1");
	containerd_deaf(c);
	assert_int_equal(task_exec(c, "c1", "e1", "\"true\"", NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "e1", NULL), 0);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 0);
	containerd_rounds(c, 300);
	assert_int_equal(c->events.n, 2);
	containerd_listen(c);
	containerd_await_event(c, "/tasks/delete c1 e1");
	assert_int_equal(c->events.n, 6);
	assert_string_equal(c->events.v[2], "/tasks/exec-added c1 e1");
	assert_string_equal(c->events.v[3], "/tasks/exec-started c1 e1");
	assert_string_equal(c->events.v[4], "/tasks/exit c1 e1 0");
}

/* No socket, as with CRI-O: each event goes to the program, on its standard input. */
static void test_publish_binary(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *program = path_join(c->dir, "publish");
	_cleanup_(freep) char *path = path_join(c->dir, "published"), *script = NULL, *text = NULL;
	_cleanup_(freep) char *bundle = NULL, *expected = NULL;

	script = xasprintf("#!/bin/sh\necho \"$* $(strings | head -1)\" >>%s\n", path);
	assert_int_equal(fs_replace(program, script, strlen(script), 0700, false), 0);
	free(c->publish_binary);
	c->publish_binary = xstrdup(program);
	containerd_deaf(c);
	bundle = start_container(c, "exit 3");
	assert_int_equal(task_wait(c, "c1", ""), 3);
	assert_int_equal(task_delete(c, "c1", "", NULL), 3);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	expected = xasprintf("--address %s publish --topic /tasks/create --namespace testing "
			     "containerd.events.TaskCreate",
			     c->address);
	assert_non_null(strstr(text, expected));
	assert_non_null(strstr(text, "containerd.events.TaskStart"));
	assert_true(strstr(text, "TaskExit") > strstr(text, "TaskStart"));
	assert_true(strstr(text, "TaskDelete") > strstr(text, "TaskExit"));
}

/* --- the sandbox API --- */

static int sandbox_call(struct containerd *c, const char *method, const char *id,
			const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret)
{
	Containerd__Runtime__Sandbox__V1__StartSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_REQUEST__INIT;

	/* In all of these requests the id is the first field. */
	request.sandbox_id = (char *)id;
	return containerd_call(c, SANDBOX, method, &request.base, output, ret, NULL);
}

#define OUT(name) &containerd__runtime__sandbox__v1__##name##_response__descriptor

static void check_status(struct containerd *c, const char *expected)
{
	ProtobufCMessage *m = NULL;

	assert_int_equal(sandbox_call(c, "SandboxStatus", "pod", OUT(sandbox_status), &m), 0);
	assert_string_equal(((Containerd__Runtime__Sandbox__V1__SandboxStatusResponse *)m)->state,
			    expected);
	protobuf_c_message_free_unpacked(m, NULL);
}

static int create_sandbox(struct containerd *c, const char *bundle)
{
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;

	request.sandbox_id = (char *)"pod";
	request.bundle_path = (char *)bundle;
	return containerd_call(c, SANDBOX, "CreateSandbox", &request.base, OUT(create_sandbox),
			       NULL, NULL);
}

static char *http_get(struct containerd *c, const char *path, const char *request)
{
	int fd = fd_unix_connect(path);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, request, strlen(request)), 0);
	fd_set_nonblock(fd, true);
	return streams_read(c, fd, NULL);
}

static uint64_t resident(pid_t pid)
{
	struct proc_stat stat;

	assert_int_equal(proc_stat_read(pid, &stat), 0);
	return stat.rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void test_sandbox_api(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = path_join(c->dir, "pod"), *app = NULL, *text = NULL;
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	const Google__Protobuf__Any *any;
	ProtobufCMessage *m = NULL;
	pid_t vm;
	struct stat st;

	/* containerd makes no config.json for a sandbox. */
	assert_int_equal(fs_mkdir_all(bundle, 0700), 0);
	free(containerd_start(c, "pod", bundle));
	assert_int_equal(sandbox_call(c, "StartSandbox", "pod", OUT(start_sandbox), NULL), -EBUSY);
	assert_int_equal(create_sandbox(c, bundle), 0);
	assert_int_equal(create_sandbox(c, bundle), -EEXIST);
	assert_int_equal(sandbox_call(c, "StartSandbox", "other", OUT(start_sandbox), NULL),
			 -ENOENT);
	check_status(c, "SANDBOX_NOTREADY");
	assert_int_equal(sandbox_call(c, "PingSandbox", "pod", OUT(ping), NULL), -EBUSY);
	assert_int_equal(sandbox_call(c, "StartSandbox", "pod", OUT(start_sandbox), &m), 0);
	vm = (pid_t)((Containerd__Runtime__Sandbox__V1__StartSandboxResponse *)m)->pid;
	assert_true(vm > 1);
	protobuf_c_message_free_unpacked(m, NULL);
	check_status(c, "SANDBOX_READY");
	assert_int_equal(sandbox_call(c, "PingSandbox", "pod", OUT(ping), NULL), 0);
	assert_int_equal(sandbox_call(c, "Platform", "pod", OUT(platform), &m), 0);
	assert_string_equal(((Containerd__Runtime__Sandbox__V1__PlatformResponse *)m)->platform->os,
			    "linux");
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(sandbox_call(c, "SandboxMetrics", "pod", OUT(sandbox_metrics), &m), 0);
	any = ((Containerd__Runtime__Sandbox__V1__SandboxMetricsResponse *)m)->metrics->data;
	metrics = io__containerd__cgroups__v2__metrics__unpack(NULL, any->value.len,
							       any->value.data);
	/* Of all the sandbox's processes, not of the VM's alone. */
	assert_true(metrics->memory->usage >= (resident(vm) + resident(c->daemon)) * 9 / 10);
	assert_true(metrics->memory->usage < 2 * (resident(vm) + resident(c->daemon)));
	assert_true(resident(c->daemon) > resident(vm));
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	protobuf_c_message_free_unpacked(m, NULL);

	/* QEMU's user must get past the folders that all sandboxes share. */
	assert_int_equal(stat("/run/vc", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(stat("/run/vc/sbs/pod", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	text = http_get(c, "/run/vc/sbs/pod/shim-monitor.sock",
			"GET /metrics HTTP/1.1\r\nHost: shim\r\n\r\n");
	assert_non_null(strstr(text, "\r\n\r\nkata_shim_threads 1\n"));
	free(text);
	text = http_get(c, "/run/vc/sbs/pod/shim-monitor.sock", "GET /agent-url HTTP/1.1\r\n\r\n");
	assert_non_null(strstr(text, "\r\n\r\nfake://agent"));

	/* Containers come and go; the sandbox stays until it is told to end. */
	app = containerd_bundle(c, "app", "exit 6",
				"\"io.kubernetes.cri.container-type\":\"container\","
				"\"io.kubernetes.cri.sandbox-id\":\"pod\"");
	free(containerd_start(c, "app", app));
	assert_int_equal(task_create(c, "app", app, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "app", "", NULL), 0);
	assert_int_equal(task_wait(c, "app", ""), 6);
	assert_int_equal(task_delete(c, "app", "", NULL), 6);
	assert_int_equal(task_shutdown(c, "app"), 0);
	check_status(c, "SANDBOX_READY");
	assert_int_equal(sandbox_call(c, "StopSandbox", "pod", OUT(stop_sandbox), NULL), 0);
	check_status(c, "SANDBOX_NOTREADY");
	assert_int_equal(sandbox_call(c, "WaitSandbox", "pod", OUT(wait_sandbox), &m), 0);
	assert_int_equal(((Containerd__Runtime__Sandbox__V1__WaitSandboxResponse *)m)->exit_status,
			 0);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(access("/run/vc/sbs/pod", F_OK), -1);
	assert_int_equal(sandbox_call(c, "ShutdownSandbox", "pod", OUT(shutdown_sandbox), NULL), 0);
	task_end_daemon(c);
}

/* A container cannot boot what CreateSandbox has made: not before StartSandbox, not after the end;
 * and it is told why. */
static void test_only_start_boots(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = path_join(c->dir, "pod"), *app = NULL, *running = NULL;
	_cleanup_err_ struct err err = {0};
	ProtobufCMessage *m = NULL;
	pid_t vm;

	assert_int_equal(fs_mkdir_all(bundle, 0700), 0);
	free(containerd_start(c, "pod", bundle));
	assert_int_equal(create_sandbox(c, bundle), 0);
	app = containerd_bundle(c, "app", "exec sleep 100",
				"\"io.kubernetes.cri.container-type\":\"container\","
				"\"io.kubernetes.cri.sandbox-id\":\"pod\"");
	running = path_join(c->dir, "running-pod");
	assert_int_equal(task_create(c, "app", app, NULL, false, &err), -EBUSY);
	assert_non_null(strstr(err_text(&err), "sandbox pod has not been started"));
	err_clear(&err);
	assert_int_equal(access(running, F_OK), -1);
	check_status(c, "SANDBOX_NOTREADY");

	assert_int_equal(sandbox_call(c, "StartSandbox", "pod", OUT(start_sandbox), &m), 0);
	vm = (pid_t)((Containerd__Runtime__Sandbox__V1__StartSandboxResponse *)m)->pid;
	protobuf_c_message_free_unpacked(m, NULL);
	kill(vm, SIGKILL);
	containerd_rounds(c, 200);
	assert_int_equal(task_create(c, "app", app, NULL, false, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "sandbox pod has ended: the fake VM was killed"));
	err_clear(&err);
	check_status(c, "SANDBOX_NOTREADY");

	assert_int_equal(sandbox_call(c, "StopSandbox", "pod", OUT(stop_sandbox), NULL), 0);
	assert_int_equal(task_create(c, "app", app, NULL, false, &err), -EREMOTEIO);
	assert_non_null(strstr(err_text(&err), "sandbox pod has ended"));
	check_status(c, "SANDBOX_NOTREADY");
	assert_int_equal(access(running, F_OK), -1);
	assert_int_equal(sandbox_call(c, "ShutdownSandbox", "pod", OUT(shutdown_sandbox), NULL), 0);
	task_end_daemon(c);
}

/* WaitSandbox while the sandbox runs; its VM is killed. */
static void test_sandbox_dies(void **state)
{
	struct containerd *c = *state;
	Containerd__Runtime__Sandbox__V1__WaitSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_REQUEST__INIT;
	_cleanup_(freep) char *bundle = path_join(c->dir, "pod");
	ProtobufCMessage *m = NULL;
	struct call wait;

	assert_int_equal(fs_mkdir_all(bundle, 0700), 0);
	free(containerd_start(c, "pod", bundle));
	assert_int_equal(create_sandbox(c, bundle), 0);
	assert_int_equal(sandbox_call(c, "StartSandbox", "pod", OUT(start_sandbox), &m), 0);
	request.sandbox_id = (char *)"pod";
	c->service = SANDBOX;
	containerd_send(c, "WaitSandbox", &request.base, OUT(wait_sandbox), &wait);
	containerd_rounds(c, 50);
	assert_false(wait.done);
	kill((pid_t)((Containerd__Runtime__Sandbox__V1__StartSandboxResponse *)m)->pid, SIGKILL);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(call_finish(c, &wait), 0);
	assert_int_equal(((Containerd__Runtime__Sandbox__V1__WaitSandboxResponse *)wait.response)
				 ->exit_status,
			 137);
	call_fini(&wait);
	check_status(c, "SANDBOX_NOTREADY");
	assert_int_equal(sandbox_call(c, "ShutdownSandbox", "pod", OUT(shutdown_sandbox), NULL), 0);
	task_end_daemon(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_restart),          TEST(test_publish_binary), TEST(test_sandbox_api),
		TEST(test_only_start_boots), TEST(test_sandbox_dies),
	};

	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
