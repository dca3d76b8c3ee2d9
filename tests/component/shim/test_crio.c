/* SPDX-License-Identifier: Apache-2.0 */

/* The shim under CRI-O's `runtime_type = "vm"`: its calls, in its order, with its payloads. */

#include "base/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "crio.h"
#include "fakes/own_run.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "metrics_v2.pb-c.h"
#include "shim.pb-c.h"

enum { CREATED = 1, RUNNING = 2, STOPPED = 3, PAUSED = 4 };

static int setup(void **state)
{
	static struct containerd c;

	crio_open(&c);
	*state = &c;
	return 0;
}

static int teardown(void **state)
{
	crio_close(*state);
	return 0;
}

static void expect_text(struct err *err, const char *text)
{
	if (!strstr(err_text(err), text))
		fail_msg("\"%s\" is not in \"%s\"", text, err_text(err));
	err_clear(err);
}

static bool exists(const struct containerd *c, const char *name)
{
	_cleanup_(freep) char *path = path_join(c->dir, name);

	return access(path, F_OK) == 0;
}

static void expect_output(struct containerd *c, struct streams *s, const char *out, const char *err)
{
	_cleanup_(freep) char *got_out = streams_read(c, s->out_fd, NULL);
	_cleanup_(freep) char *got_err = err ? streams_read(c, s->err_fd, NULL) : NULL;

	assert_string_equal(got_out, out);
	if (err)
		assert_string_equal(got_err, err);
	streams_close(s);
}

static int simple(struct containerd *c, const char *method, const ProtobufCMessage *request)
{
	return containerd_call(c, c->service, method, request, &google__protobuf__empty__descriptor,
			       NULL, NULL);
}

/* A pod of two containers, as most tests have it. The infra container is the first. */
enum { INFRA, FIRST, SECOND, N_CONTAINERS };

struct pod {
	struct crio_container of[N_CONTAINERS];
};

static void pod_run(struct containerd *c, struct pod *pod, const char *first, const char *second)
{
	crio_bundle(c, &pod->of[INFRA], "infra", "infra", "exec sleep 1000", false, "");
	crio_bundle(c, &pod->of[FIRST], "infra", "first", first, false, "");
	crio_bundle(c, &pod->of[SECOND], "infra", "second", second, true, "");
	for (size_t i = 0; i < N_CONTAINERS; i++)
		crio_run(c, &pod->of[i]);
}

/* StopPodSandbox: the same order. */
static void pod_stop(struct containerd *c, struct pod *pod)
{
	for (size_t i = N_CONTAINERS; i-- > 0;)
		crio_stop(c, &pod->of[i], 5000);
}

/* RemovePodSandbox: the containers, then the one that they were in. */
static void pod_remove(struct containerd *c, struct pod *pod)
{
	for (size_t i = N_CONTAINERS; i-- > 0;)
		crio_remove(c, &pod->of[i]);
	task_end_daemon(c);
	for (size_t i = 0; i < N_CONTAINERS; i++)
		crio_container_fini(c, &pod->of[i]);
}

#define UNTIL_TERM "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done"

static void test_pod(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *script = xasprintf("#!/bin/sh\ntouch %s/published\n", c->dir);
	_cleanup_err_ struct err err = {0};
	char up[4] = "";
	struct pod pod;

	assert_int_equal(fs_replace(c->publish_binary, script, strlen(script), 0700, false), 0);
	pod_run(c, &pod, UNTIL_TERM, "trap '' TERM; while :; do sleep 0.02; done");
	for (size_t i = 0; i < N_CONTAINERS; i++) {
		crio_expect(c, &pod.of[i], RUNNING, 0);
		/* ReopenContainerLog asks so whether it is alive. */
		assert_int_equal(crio_signal(c, &pod.of[i], "", 0, NULL), 0);
	}
	while (read(pod.of[FIRST].streams.out_fd, up, 3) != 3)
		containerd_rounds(c, 2);
	assert_string_equal(up, "up\n");

	/* One ends by SIGTERM, one by SIGKILL when its time is over. */
	crio_stop(c, &pod.of[FIRST], 5000);
	crio_stop(c, &pod.of[SECOND], 100);
	assert_int_equal(call_finish(c, &pod.of[FIRST].wait), 0);
	assert_int_equal(call_finish(c, &pod.of[SECOND].wait), 0);
	crio_expect(c, &pod.of[FIRST], STOPPED, 7);
	crio_expect(c, &pod.of[SECOND], STOPPED, 137);
	assert_int_equal(crio_signal(c, &pod.of[FIRST], "", 0, &err), -ENOENT);
	expect_text(&err, "already finished");

	/* The VM ends with the infra container, days before the pod may be removed. */
	assert_true(exists(c, "running-infra"));
	crio_stop(c, &pod.of[INFRA], 5000);
	for (int i = 0; i < 2000 && exists(c, "running-infra"); i++)
		containerd_rounds(c, 1);
	assert_false(exists(c, "running-infra"));
	crio_expect(c, &pod.of[INFRA], STOPPED, 143);
	crio_expect(c, &pod.of[FIRST], STOPPED, 7);
	pod_remove(c, &pod);
	/* It would start CRI-O for every event, which does nothing with them. */
	assert_false(exists(c, "published"));
}

/* --- exec --- */

static int exec_end(struct containerd *c, const struct crio_container *ctr, const char *exec_id)
{
	int status = task_wait(c, ctr->id, exec_id);

	assert_int_equal(task_delete(c, ctr->id, exec_id, NULL), status);
	return status;
}

static void resize(struct containerd *c, const char *id, const char *exec_id)
{
	Containerd__Task__V2__ResizePtyRequest request =
		CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.width = 111;
	request.height = 33;
	assert_int_equal(simple(c, "ResizePty", &request.base), 0);
}

static void test_exec(void **state)
{
	struct containerd *c = *state;
	struct streams s;
	struct pod pod;

	pod_run(c, &pod, "exec sleep 1000", "exec sleep 1000");
	/* ExecSync. */
	crio_exec(c, &pod.of[FIRST], "e1", "echo out; echo err >&2; exit 3", false, false, &s);
	assert_int_equal(exec_end(c, &pod.of[FIRST], "e1"), 3);
	expect_output(c, &s, "out\n", "err\n");
	/* Exec with an input, whose end CRI-O tells in two ways. */
	crio_exec(c, &pod.of[FIRST], "e2", "cat; exit 4", true, false, &s);
	assert_int_equal(fd_write_all(s.in_fd, "typed", 5), 0);
	s.in_fd = fd_close(s.in_fd);
	assert_int_equal(task_close_io(c, "first", "e2", NULL), 0);
	assert_int_equal(exec_end(c, &pod.of[FIRST], "e2"), 4);
	expect_output(c, &s, "typed", "");
	/* With a terminal, in a container without, and the other way round. */
	crio_exec(c, &pod.of[FIRST], "e3", "read x; stty size; tty | cut -c1-8", true, true, &s);
	resize(c, "first", "e3");
	assert_int_equal(fd_write_all(s.in_fd, "\n", 1), 0);
	assert_int_equal(exec_end(c, &pod.of[FIRST], "e3"), 0);
	expect_output(c, &s, "\r\n33 111\r\n/dev/pts\r\n", NULL);
	crio_exec(c, &pod.of[SECOND], "e4", "tty; echo more >&2", false, false, &s);
	assert_int_equal(exec_end(c, &pod.of[SECOND], "e4"), 0);
	expect_output(c, &s, "not a tty\n", "more\n");
	pod_stop(c, &pod);
	pod_remove(c, &pod);
}

/* ExecSync that runs out of time: CRI-O kills it and waits for it, but never deletes it. Probes do
 * that for months. */
static void test_exec_timeout(void **state)
{
	struct containerd *c = *state;
	struct streams s;
	struct call wait;
	struct pod pod;

	pod_run(c, &pod, "exec sleep 1000", "exec sleep 1000");
	crio_exec(c, &pod.of[FIRST], "probe", "exec sleep 1000", false, false, &s);
	crio_wait(c, &pod.of[FIRST], "probe", &wait);
	assert_int_equal(crio_signal(c, &pod.of[FIRST], "probe", SIGKILL, NULL), 0);
	assert_int_equal(call_finish(c, &wait), 0);
	assert_int_equal(((Containerd__Task__V2__WaitResponse *)wait.response)->exit_status, 137);
	call_fini(&wait);
	expect_output(c, &s, "", "");
	for (int i = 0; i < 2000 && task_state(c, "first", "probe") != -ENOENT; i++)
		containerd_rounds(c, 1);
	assert_int_equal(task_state(c, "first", "probe"), -ENOENT);
	/* The id is free, in the guest too. */
	crio_exec(c, &pod.of[FIRST], "probe", "true", false, false, &s);
	assert_int_equal(exec_end(c, &pod.of[FIRST], "probe"), 0);
	streams_close(&s);
	/* That it ended just before is no failure of the kill. */
	crio_exec(c, &pod.of[FIRST], "probe", "exit 5", false, false, &s);
	assert_int_equal(task_wait(c, "first", "probe"), 5);
	assert_int_equal(crio_signal(c, &pod.of[FIRST], "probe", SIGKILL, NULL), 0);
	streams_close(&s);
	pod_stop(c, &pod);
	pod_remove(c, &pod);
}

/* --- statistics and limits --- */

static Io__Containerd__Cgroups__V2__Metrics *stats(struct containerd *c, const char *id)
{
	Containerd__Task__V2__StatsRequest request = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	ProtobufCMessage *m = NULL;
	const Google__Protobuf__Any *any;

	request.id = (char *)id;
	assert_int_equal(containerd_call(c, c->service, "Stats", &request.base,
					 &containerd__task__v2__stats_response__descriptor, &m,
					 NULL),
			 0);
	any = ((Containerd__Task__V2__StatsResponse *)m)->stats;
	/* The one of its two types that a guest of ours can fill. */
	assert_string_equal(any->type_url, "io.containerd.cgroups.v2.Metrics");
	metrics = io__containerd__cgroups__v2__metrics__unpack(NULL, any->value.len,
							       any->value.data);
	protobuf_c_message_free_unpacked(m, NULL);
	/* CRI-O does not look whether they are there. */
	assert_non_null(metrics->cpu);
	assert_non_null(metrics->memory);
	assert_non_null(metrics->pids);
	return metrics;
}

static void test_stats(void **state)
{
	struct containerd *c = *state;
	Containerd__Task__V2__UpdateTaskRequest update =
		CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	static uint8_t resources[] = "{\"cpu\":{\"shares\":2,\"quota\":5000,\"period\":100000},"
				     "\"memory\":{\"limit\":1048576,\"swap\":1048576}}";
	Containerd__Task__V2__PauseRequest pause = CONTAINERD__TASK__V2__PAUSE_REQUEST__INIT;
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	struct crio_container silent;
	struct pod pod;

	pod_run(c, &pod, "exec sleep 1000", "exec sleep 1000");
	metrics = stats(c, "first");
	assert_int_equal(metrics->pids->current, 7);
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	/* A guest may well say nothing. */
	crio_bundle(c, &silent, "infra", "silent", "exec sleep 1000", false,
		    "\"fake.stats.none\":\"\"");
	crio_run(c, &silent);
	metrics = stats(c, "silent");
	assert_int_equal(metrics->memory->usage, 0);
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	any.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
	any.value = (ProtobufCBinaryData){sizeof(resources) - 1, resources};
	update.id = (char *)"first";
	update.resources = &any;
	assert_int_equal(simple(c, "Update", &update.base), 0);
	pause.id = (char *)"first";
	assert_int_equal(simple(c, "Pause", &pause.base), 0);
	crio_expect(c, &pod.of[FIRST], PAUSED, 0);
	assert_int_equal(simple(c, "Resume", &pause.base), 0);
	crio_stop(c, &silent, 5000);
	crio_remove(c, &silent);
	crio_container_fini(c, &silent);
	pod_stop(c, &pod);
	pod_remove(c, &pod);
}

/* CRI-O takes no events: the reason of a failure is a file in the bundle, there before the end. */
static void test_out_of_memory(void **state)
{
	struct containerd *c = *state;
	struct crio_container pod, app;

	crio_bundle(c, &pod, "infra", "infra", "exec sleep 1000", false, "");
	crio_bundle(c, &app, "infra", "app", "kill -9 $$", false, "\"fake.oom\":\"\"");
	crio_run(c, &pod);
	crio_run(c, &app);
	assert_int_equal(call_finish(c, &app.wait), 0);
	assert_true(exists(c, "overlay-containers/app/userdata/oom"));
	assert_false(exists(c, "overlay-containers/infra/userdata/oom"));
	crio_expect(c, &app, STOPPED, 137);
	crio_stop(c, &pod, 5000);
	crio_remove(c, &app);
	crio_remove(c, &pod);
	task_end_daemon(c);
	crio_container_fini(c, &app);
	crio_container_fini(c, &pod);
}

/* --- what goes wrong --- */

/* CRI-O restarts: no connection, no waiter. What ended meanwhile can still be stopped: it would be
 * "terminating" for ever otherwise. */
static void test_restart(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *path = path_join(c->dir, "go");
	_cleanup_(freep) char *script = xasprintf("until [ -e %s ]; do sleep 0.02; done; exit 9",
						  path);
	struct pod pod;

	pod_run(c, &pod, script, "exec sleep 1000");
	for (size_t i = 0; i < N_CONTAINERS; i++) {
		ttrpc_client_free(TAKE_PTR(pod.of[i].client));
		pod.of[i].streams.out_fd = fd_close(pod.of[i].streams.out_fd);
		pod.of[i].streams.err_fd = fd_close(pod.of[i].streams.err_fd);
	}
	c->client = NULL;
	assert_int_equal(fs_replace(path, "", 0, 0600, false), 0);
	for (size_t i = 0; i < N_CONTAINERS; i++)
		crio_connect(c, &pod.of[i]);
	for (int i = 0; i < 2000 && task_state(c, "first", "") == RUNNING; i++)
		containerd_rounds(c, 1);
	crio_expect(c, &pod.of[INFRA], RUNNING, 0);
	crio_expect(c, &pod.of[FIRST], STOPPED, 9);
	crio_expect(c, &pod.of[SECOND], RUNNING, 0);
	assert_int_equal(crio_signal(c, &pod.of[FIRST], "", SIGQUIT, NULL), 0);
	pod_stop(c, &pod);
	pod_remove(c, &pod);
}

/* The shim is killed: every call fails at once, nothing waits. Its socket goes with `delete`. */
static void test_shim_killed(void **state)
{
	struct containerd *c = *state;
	struct pod pod;
	struct run run;

	pod_run(c, &pod, "exec sleep 1000", "exec sleep 1000");
	kill(c->daemon, SIGKILL);
	task_end_daemon(c);
	containerd_run(c, pod.of[INFRA].bundle, "", 0, &run, "-namespace", "default", "-address",
		       "", "-id", pod.of[INFRA].id, "-bundle", pod.of[INFRA].bundle, "delete",
		       NULL);
	assert_int_equal(run.status, 0);
	run_fini(&run);
	for (size_t i = 0; i < N_CONTAINERS; i++) {
		assert_true(call_finish(c, &pod.of[i].wait) < 0);
		assert_true(crio_signal(c, &pod.of[i], "", SIGTERM, NULL) < 0);
		crio_container_fini(c, &pod.of[i]);
	}
}

/* The VM is killed: as if every container had been. */
static void test_vm_killed(void **state)
{
	struct containerd *c = *state;
	Containerd__Task__V2__PidsRequest of = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
	ProtobufCMessage *m = NULL;
	struct pod pod;

	pod_run(c, &pod, "exec sleep 1000", "exec sleep 1000");
	of.id = (char *)"first";
	assert_int_equal(containerd_call(c, c->service, "Pids", &of.base,
					 &containerd__task__v2__pids_response__descriptor, &m,
					 NULL),
			 0);
	kill((pid_t)((Containerd__Task__V2__PidsResponse *)m)->processes[0]->pid, SIGKILL);
	protobuf_c_message_free_unpacked(m, NULL);
	for (size_t i = 0; i < N_CONTAINERS; i++) {
		assert_int_equal(call_finish(c, &pod.of[i].wait), 0);
		crio_expect(c, &pod.of[i], STOPPED, 137);
		assert_int_equal(crio_signal(c, &pod.of[i], "", SIGTERM, NULL), 0);
	}
	pod_remove(c, &pod);
}

/* After a Create that failed, or was not followed by a Start, CRI-O deletes and shuts down. */
static void test_create_fails(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *path = path_join(c->dir, "kata.toml");
	static const char text[] = "[hypervisor.qemu]\nno_such_key = 1\n";
	_cleanup_err_ struct err err = {0};
	struct crio_container pod, app;

	/* runtime_config_path comes with each Create. */
	assert_int_equal(fs_replace(path, text, strlen(text), 0600, false), 0);
	crio_bundle(c, &pod, "infra", "infra", "exec sleep 1000", false, "");
	crio_start_shim(c, &pod);
	assert_true(crio_create(c, &pod, path, &err) < 0);
	expect_text(&err, "no_such_key");
	assert_int_equal(task_delete(c, "infra", "", NULL), -ENOENT);
	assert_int_equal(task_shutdown(c, "infra"), 0);
	task_end_daemon(c);
	crio_container_fini(c, &pod);

	crio_bundle(c, &pod, "other", "other", "exec sleep 1000", false, "");
	crio_run(c, &pod);
	/* Never started. */
	crio_bundle(c, &app, "other", "app", "true", false, "");
	crio_start_shim(c, &app);
	assert_int_equal(crio_create(c, &app, NULL, NULL), 0);
	assert_true(task_delete(c, "app", "", NULL) >= 0);
	assert_int_equal(task_shutdown(c, "app"), 0);
	crio_container_fini(c, &app);
	crio_expect(c, &pod, RUNNING, 0);
	crio_stop(c, &pod, 5000);
	crio_remove(c, &pod);
	task_end_daemon(c);
	crio_container_fini(c, &pod);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pod),         TEST(test_exec),          TEST(test_exec_timeout),
		TEST(test_stats),       TEST(test_out_of_memory), TEST(test_restart),
		TEST(test_shim_killed), TEST(test_vm_killed),     TEST(test_create_fails),
	};

	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
