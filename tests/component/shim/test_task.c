/* SPDX-License-Identifier: Apache-2.0 */

/* The task service: states, codes, texts, and that nobody waits for somebody else's call. */

#include "base/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "containerd.h"
#include "fakes/own_run.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "metrics_v2.pb-c.h"
#include "shim.pb-c.h"

enum { CREATED = 1, RUNNING = 2, STOPPED = 3, PAUSED = 4 };

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

/* Start a shim for `id`, create and start the container. */
static char *run_container(struct containerd *c, const char *id, const char *script)
{
	char *bundle = containerd_bundle(c, id, script, "");

	free(containerd_start(c, id, bundle));
	assert_int_equal(task_create(c, id, bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, id, "", NULL), 0);
	return bundle;
}

static void expect_text(struct err *err, const char *text)
{
	if (!strstr(err_text(err), text))
		fail_msg("\"%s\" is not in \"%s\"", text, err_text(err));
	err_clear(err);
}

static void life(struct containerd *c, const char *service)
{
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "sleep 0.1; exit 3", "");
	_cleanup_err_ struct err err = {0};

	c->service = service;
	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_state(c, "c1", ""), CREATED);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	assert_int_equal(task_state(c, "c1", ""), RUNNING);
	assert_int_equal(task_start(c, "c1", "", &err), -EBUSY);
	expect_text(&err, "started already");
	assert_int_equal(task_delete(c, "c1", "", &err), -EBUSY);
	expect_text(&err, "cannot delete a running container");
	assert_int_equal(task_wait(c, "c1", ""), 3);
	assert_int_equal(task_state(c, "c1", ""), STOPPED);
	assert_int_equal(task_wait(c, "c1", ""), 3);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, &err), -ENOENT);
	expect_text(&err, "already finished");
	assert_int_equal(task_delete(c, "c1", "", NULL), 3);
	assert_int_equal(task_delete(c, "c1", "", NULL), -ENOENT);
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	assert_int_equal(c->events.n, 4);
	assert_string_equal(c->events.v[0], "/tasks/create c1");
	assert_string_equal(c->events.v[1], "/tasks/start c1");
	assert_string_equal(c->events.v[2], "/tasks/exit c1 c1 3");
	assert_string_equal(c->events.v[3], "/tasks/delete c1 c1 3");
}

static void test_life_v2(void **state)
{
	life(*state, "containerd.task.v2.Task");
}

static void test_life_v3(void **state)
{
	life(*state, "containerd.task.v3.Task");
}

/* A process that ends at once: its exit is published after its start, with its output. */
static void test_short_lives(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");

	for (int i = 0; i < 30; i++) {
		char exec_id[16];

		snprintf(exec_id, sizeof(exec_id), "e%d", i);
		assert_int_equal(task_exec(c, "c1", exec_id, "\"true\"", NULL, false, NULL), 0);
		assert_int_equal(task_start(c, "c1", exec_id, NULL), 0);
		assert_int_equal(task_wait(c, "c1", exec_id), 0);
		assert_int_equal(task_delete(c, "c1", exec_id, NULL), 0);
	}
	containerd_await_event(c, "/tasks/delete c1 e29");
	for (int i = 0; i < 30; i++) {
		_cleanup_(freep) char *of = xasprintf("c1 e%d", i);
		static const char *const order[] = {"/tasks/exec-added ", "/tasks/exec-started ",
						    "/tasks/exit ", "/tasks/delete "};

		for (int j = 0; j < 4; j++) {
			_cleanup_(freep) char *start = xasprintf("%s%s", order[j], of);

			assert_true(str_has_prefix(c->events.v[2 + 4 * i + j], start));
		}
	}
}

static void test_exec_codes(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");
	_cleanup_err_ struct err err = {0};

	assert_int_equal(task_exec(c, "c1", "e1", "\"nosuch\"", NULL, false, &err), -EREMOTEIO);
	expect_text(&err, "OCI runtime exec failed: exec failed: exec: \"nosuch\": executable file "
			  "not found in $PATH");
	assert_int_equal(task_state(c, "c1", "e1"), -ENOENT);
	assert_int_equal(task_exec(c, "c1", "e1", "\"sleep\",\"100\"", NULL, false, NULL), 0);
	assert_int_equal(task_exec(c, "c1", "e1", "\"true\"", NULL, false, &err), -EEXIST);
	expect_text(&err, "has a process e1 already");
	assert_int_equal(task_state(c, "c1", "e1"), CREATED);
	assert_int_equal(task_kill(c, "c1", "e1", SIGKILL, &err), -EBUSY);
	expect_text(&err, "has not been started");
	assert_int_equal(task_start(c, "c1", "e1", NULL), 0);
	assert_int_equal(task_delete(c, "c1", "e1", &err), -EBUSY);
	expect_text(&err, "cannot delete a running process");
	assert_int_equal(task_kill(c, "c1", "e1", SIGTERM, NULL), 0);
	assert_int_equal(task_wait(c, "c1", "e1"), 143);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 143);
	/* One that is never started. */
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", NULL, false, NULL), 0);
	assert_int_equal(task_delete(c, "c1", "e2", NULL), 0);
	assert_int_equal(task_exec(c, "c1", "../e3", "\"true\"", NULL, false, NULL), -EINVAL);
	assert_int_equal(task_exec(c, "nosuch", "e3", "\"true\"", NULL, false, NULL), -ENOENT);
}

static void test_create_fails(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle_args(c, "c1", "[\"/no/such\"]", "");
	_cleanup_(freep) char *unbootable = containerd_bundle(
		c, "c2", "true", "\"fake.boot.error\":\"open /boot/vmlinux: gone\"");
	_cleanup_err_ struct err err = {0};

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, &err), -EREMOTEIO);
	expect_text(&err, "OCI runtime create failed: exec: \"/no/such\": stat /no/such: no such "
			  "file or directory");
	assert_int_equal(task_delete(c, "c1", "", NULL), -ENOENT);
	assert_int_equal(task_create(c, "c1", "/no/such/bundle", NULL, false, &err), -EREMOTEIO);
	expect_text(&err, "/no/such/bundle/config.json");
	assert_int_equal(task_create(c, "../c1", bundle, NULL, false, NULL), -EINVAL);
	assert_int_equal(task_create(c, "c1", "../bundle", NULL, false, NULL), -EINVAL);
	/* containerd gives up: the sandbox goes, and the shim. */
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);

	free(containerd_start(c, "c2", unbootable));
	assert_int_equal(task_create(c, "c2", unbootable, NULL, false, &err), -EREMOTEIO);
	expect_text(&err, "start sandbox c2: open /boot/vmlinux: gone");
	assert_int_equal(task_shutdown(c, "c2"), 0);
	task_end_daemon(c);
	assert_int_equal(c->events.n, 0);
}

static void create_request(Containerd__Task__V2__CreateTaskRequest *request, const char *id,
			   const char *bundle)
{
	containerd__task__v2__create_task_request__init(request);
	request->id = (char *)id;
	request->bundle = (char *)bundle;
}

/* A create that takes long delays nothing else, and a second one for it gets the same answer. */
static void test_slow_create(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *first = run_container(c, "c1", "exec sleep 100");
	_cleanup_(freep) char *second = containerd_bundle(c, "c2", "exec sleep 100",
							  "\"fake.create.msec\":\"2000\"");
	Containerd__Task__V2__CreateTaskRequest request;
	struct call slow, twin;

	create_request(&request, "c2", second);
	containerd_send(c, "Create", &request.base,
			&containerd__task__v2__create_task_response__descriptor, &slow);
	containerd_rounds(c, 50);
	containerd_send(c, "Create", &request.base,
			&containerd__task__v2__create_task_response__descriptor, &twin);
	assert_int_equal(task_state(c, "c1", ""), RUNNING);
	assert_int_equal(task_state(c, "c2", ""), -ENOENT);
	assert_int_equal(task_exec(c, "c1", "e1", "\"true\"", NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "e1", NULL), 0);
	assert_int_equal(task_wait(c, "c1", "e1"), 0);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 137);
	assert_false(slow.done);
	assert_int_equal(call_finish(c, &slow), 0);
	assert_int_equal(call_finish(c, &twin), 0);
	call_fini(&slow);
	call_fini(&twin);
	assert_int_equal(task_state(c, "c2", ""), CREATED);
	/* Also after a restart of containerd; but not once it was started, or for another bundle.
	 */
	assert_int_equal(task_create(c, "c2", second, NULL, false, NULL), 0);
	assert_int_equal(task_create(c, "c2", first, NULL, false, NULL), -EEXIST);
	assert_int_equal(task_start(c, "c2", "", NULL), 0);
	assert_int_equal(task_create(c, "c2", second, NULL, false, NULL), -EEXIST);
}

/* --- a Create that nobody waits for any more --- */

static void send_create(struct containerd *c, const char *id, const char *bundle, struct call *ret)
{
	Containerd__Task__V2__CreateTaskRequest request;

	create_request(&request, id, bundle);
	containerd_send(c, "Create", &request.base,
			&containerd__task__v2__create_task_response__descriptor, ret);
	containerd_rounds(c, 100);
	assert_false(ret->done);
}

static void expect_given_up(struct containerd *c, struct call *create)
{
	uint64_t begin = clock_now();

	assert_true(call_finish(c, create) < 0);
	assert_true(clock_now() - begin < test_limit(USEC_PER_SEC));
	call_fini(create);
}

/* What containerd does when its client gives up while the VM boots: Delete, then Shutdown. */
static void test_give_up_a_boot(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.boot.msec\":\"15000\"");
	_cleanup_(freep) char *running = path_join(c->dir, "running-c1");
	uint64_t begin;
	struct call create;

	free(containerd_start(c, "c1", bundle));
	send_create(c, "c1", bundle, &create);
	begin = clock_now();
	assert_int_equal(task_delete(c, "c1", "", NULL), -ENOENT);
	expect_given_up(c, &create);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	assert_true(clock_now() - begin < test_limit(2 * USEC_PER_SEC));
	assert_int_equal(access(running, F_OK), -1);
	assert_int_equal(c->events.n, 0);
}

/* Shutdown alone, while the guest makes the container: the sandbox is there for nothing else. */
static void test_give_up_in_guest(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.create.msec\":\"15000\"");
	_cleanup_(freep) char *running = path_join(c->dir, "running-c1");
	struct call create;

	free(containerd_start(c, "c1", bundle));
	send_create(c, "c1", bundle, &create);
	assert_int_equal(access(running, F_OK), 0);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	expect_given_up(c, &create);
	task_end_daemon(c);
	assert_int_equal(access(running, F_OK), -1);
	assert_int_equal(c->events.n, 0);
}

/* Two wait for the same boot: who was given up meanwhile does not begin the next one. */
static void test_give_up_waiting(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *first = containerd_bundle(c, "c1", "exec sleep 100",
							 "\"fake.boot.msec\":\"60000\"");
	_cleanup_(freep) char *second = containerd_bundle(c, "c2", "exec sleep 100",
							  "\"fake.boot.msec\":\"60000\"");
	_cleanup_(freep) char *running = path_join(c->dir, "running-c1");
	struct call creates[2];

	free(containerd_start(c, "c1", first));
	send_create(c, "c1", first, &creates[0]);
	send_create(c, "c2", second, &creates[1]);
	assert_int_equal(task_delete(c, "c2", "", NULL), -ENOENT);
	assert_int_equal(task_delete(c, "c1", "", NULL), -ENOENT);
	expect_given_up(c, &creates[0]);
	expect_given_up(c, &creates[1]);
	assert_int_equal(access(running, F_OK), -1);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
}

/* A container of a pod: the pod is not disturbed, and what the guest has made is deleted again. */
static void test_give_up_a_member(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *pod = containerd_bundle(c, "pod", "exec sleep 100",
						       "\"io.kubernetes.cri.container-type\":"
						       "\"sandbox\","
						       "\"io.kubernetes.cri.sandbox-id\":\"pod\"");
	_cleanup_(freep) char *app = containerd_bundle(c, "app", "exec sleep 100",
						       "\"fake.create.msec\":\"500\"");
	struct call create;

	free(containerd_start(c, "pod", pod));
	assert_int_equal(task_create(c, "pod", pod, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "pod", "", NULL), 0);
	send_create(c, "app", app, &create);
	assert_int_equal(task_delete(c, "app", "", NULL), -ENOENT);
	/* It has been undone by now. */
	assert_int_equal(call_finish(c, &create), -EREMOTEIO);
	expect_text(&create.err, "container app: its creation was given up");
	call_fini(&create);
	assert_int_equal(task_state(c, "app", ""), -ENOENT);
	assert_int_equal(task_shutdown(c, "app"), 0);
	assert_int_equal(task_state(c, "pod", ""), RUNNING);
	/* The name is free, in the guest too: nothing of the first one is there. */
	assert_int_equal(task_create(c, "app", app, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "app", "", NULL), 0);
	assert_int_equal(task_kill(c, "app", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "app", ""), 137);
	containerd_await_event(c, "/tasks/exit app app 137");
	assert_int_equal(c->events.n, 5);
	assert_string_equal(c->events.v[2], "/tasks/create app");
}

/* The caller's connection ends, or its deadline: as long as another one waits, it goes on. */
static void test_give_up_by_leaving(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "exec sleep 100",
							  "\"fake.boot.msec\":\"1000\"");
	_cleanup_(freep) char *slow = containerd_bundle(c, "c2", "exec sleep 100",
							"\"fake.boot.msec\":\"15000\"");
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle), *running = NULL;
	struct ttrpc_client *first;
	struct call create, twin;
	uint64_t begin;

	line[strlen(line) - 1] = '\0';
	send_create(c, "c1", bundle, &create);
	containerd_connect(c, line + 7);
	assert_true(call_finish(c, &create) < 0);
	call_fini(&create);
	/* Nobody is left: the next one begins from the start. */
	containerd_rounds(c, 50);
	assert_int_equal(task_state(c, "c1", ""), -ENOENT);
	send_create(c, "c1", bundle, &create);
	first = TAKE_PTR(c->client);
	containerd_connect(c, line + 7);
	send_create(c, "c1", bundle, &twin);
	ttrpc_client_free(first);
	assert_true(create.done);
	assert_int_equal(call_finish(c, &twin), 0);
	call_fini(&create);
	call_fini(&twin);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 137);
	assert_int_equal(task_delete(c, "c1", "", NULL), 137);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);

	/* SIGTERM waits for no boot either. */
	free(containerd_start(c, "c2", slow));
	send_create(c, "c2", slow, &create);
	begin = clock_now();
	kill(c->daemon, SIGTERM);
	task_end_daemon(c);
	assert_true(clock_now() - begin < test_limit(2 * USEC_PER_SEC));
	containerd_rounds(c, 10);
	assert_true(create.done);
	call_fini(&create);
	running = path_join(c->dir, "running-c2");
	assert_int_equal(access(running, F_OK), -1);
}

/* Created, never started, deleted. */
static void test_delete_created(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true", "");

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_true(task_delete(c, "c1", "", NULL) >= 0);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
}

/* Wait is answered when the process ends, also when it has been called before the start; a caller
 * that goes away leaves nothing behind. */
static void test_wait(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "sleep 0.2; exit 9", "");
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	_cleanup_(freep) char *line = containerd_start(c, "c1", bundle);
	struct call waits[3], lost;

	line[strlen(line) - 1] = '\0';
	request.id = (char *)"c1";
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	containerd_send(c, "Wait", &request.base, &containerd__task__v2__wait_response__descriptor,
			&lost);
	containerd_rounds(c, 20);
	containerd_connect(c, line + 7);
	assert_true(lost.done);
	call_fini(&lost);
	for (int i = 0; i < 3; i++)
		containerd_send(c, "Wait", &request.base,
				&containerd__task__v2__wait_response__descriptor, &waits[i]);
	containerd_rounds(c, 50);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(call_finish(c, &waits[i]), 0);
		assert_int_equal(
			((Containerd__Task__V2__WaitResponse *)waits[i].response)->exit_status, 9);
		call_fini(&waits[i]);
	}
}

static int simple(struct containerd *c, const char *method, const ProtobufCMessage *request,
		  struct err *err)
{
	return containerd_call(c, c->service, method, request, &google__protobuf__empty__descriptor,
			       NULL, err);
}

static void test_pause(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");
	Containerd__Task__V2__PauseRequest request = CONTAINERD__TASK__V2__PAUSE_REQUEST__INIT;
	_cleanup_err_ struct err err = {0};

	request.id = (char *)"c1";
	assert_int_equal(simple(c, "Resume", &request.base, &err), -EBUSY);
	expect_text(&err, "not paused");
	assert_int_equal(simple(c, "Pause", &request.base, NULL), 0);
	assert_int_equal(task_state(c, "c1", ""), PAUSED);
	assert_int_equal(simple(c, "Pause", &request.base, &err), -EBUSY);
	expect_text(&err, "not running");
	assert_int_equal(task_delete(c, "c1", "", &err), -EBUSY);
	expect_text(&err, "cannot delete a paused");
	assert_int_equal(simple(c, "Resume", &request.base, NULL), 0);
	assert_int_equal(task_state(c, "c1", ""), RUNNING);
	containerd_await_event(c, "/tasks/resumed c1");
	assert_string_equal(c->events.v[2], "/tasks/paused c1");
}

static void test_queries(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");
	Containerd__Task__V2__StatsRequest of = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	ProtobufCMessage *m = NULL;
	const Google__Protobuf__Any *any;

	of.id = (char *)"c1";
	assert_int_equal(containerd_call(c, c->service, "Stats", &of.base,
					 &containerd__task__v2__stats_response__descriptor, &m,
					 NULL),
			 0);
	any = ((Containerd__Task__V2__StatsResponse *)m)->stats;
	assert_string_equal(any->type_url, "io.containerd.cgroups.v2.Metrics");
	metrics = io__containerd__cgroups__v2__metrics__unpack(NULL, any->value.len,
							       any->value.data);
	assert_int_equal(metrics->pids->current, 7);
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	protobuf_c_message_free_unpacked(m, NULL);

	assert_int_equal(containerd_call(c, c->service, "Pids", &of.base,
					 &containerd__task__v2__pids_response__descriptor, &m,
					 NULL),
			 0);
	assert_int_equal(((Containerd__Task__V2__PidsResponse *)m)->n_processes, 1);
	assert_true(((Containerd__Task__V2__PidsResponse *)m)->processes[0]->pid > 1);
	protobuf_c_message_free_unpacked(m, NULL);

	assert_int_equal(containerd_call(c, c->service, "Connect", &of.base,
					 &containerd__task__v2__connect_response__descriptor, &m,
					 NULL),
			 0);
	assert_int_equal(((Containerd__Task__V2__ConnectResponse *)m)->shim_pid, c->daemon);
	assert_true(((Containerd__Task__V2__ConnectResponse *)m)->task_pid > 1);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(simple(c, "Checkpoint", &of.base, NULL), -ENOSYS);
	assert_int_equal(simple(c, "Frobnicate", &of.base, NULL), -ENOSYS);
}

#define UPDATE "{\"memory\":{\"limit\":1048576}}"

static int update(struct containerd *c, const char *resources, struct err *err)
{
	Containerd__Task__V2__UpdateTaskRequest request =
		CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	request.id = (char *)"c1";
	any.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
	any.value = (ProtobufCBinaryData){resources ? strlen(resources) : 0, (uint8_t *)resources};
	request.resources = resources ? &any : NULL;
	return simple(c, "Update", &request.base, err);
}

static void test_update(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");

	assert_int_equal(update(c, NULL, NULL), -EINVAL);
	assert_int_equal(update(c, UPDATE, NULL), 0);
	assert_int_equal(update(c, "{\"memory\":3}", NULL), -EINVAL);
}

/* The VM is killed: every process ends with 137, and all calls still have an answer. */
static void test_vm_dies(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exec sleep 100");
	Containerd__Task__V2__PidsRequest of = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
	ProtobufCMessage *m = NULL;
	_cleanup_err_ struct err err = {0};
	pid_t vm;

	of.id = (char *)"c1";
	assert_int_equal(task_exec(c, "c1", "e1", "\"sleep\",\"100\"", NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "e1", NULL), 0);
	assert_int_equal(task_exec(c, "c1", "e3", "\"true\"", NULL, false, NULL), 0);
	assert_int_equal(containerd_call(c, c->service, "Pids", &of.base,
					 &containerd__task__v2__pids_response__descriptor, &m,
					 NULL),
			 0);
	vm = (pid_t)((Containerd__Task__V2__PidsResponse *)m)->processes[0]->pid;
	protobuf_c_message_free_unpacked(m, NULL);
	kill(vm, SIGKILL);
	assert_int_equal(task_wait(c, "c1", "e1"), 137);
	assert_int_equal(task_wait(c, "c1", ""), 137);
	assert_int_equal(task_state(c, "c1", ""), STOPPED);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, NULL), -ENOENT);
	/* Every call that would need it says why it cannot. */
	assert_int_equal(task_exec(c, "c1", "e2", "\"true\"", NULL, false, &err), -EBUSY);
	expect_text(&err, "container c1 is not running: the sandbox is gone: the fake VM was "
			  "killed");
	assert_int_equal(task_start(c, "c1", "e3", &err), -EREMOTEIO);
	expect_text(&err, "the sandbox is gone: the fake VM was killed");
	assert_int_equal(task_start(c, "c1", "", &err), -EBUSY);
	expect_text(&err, "the sandbox is gone: the fake VM was killed");
	assert_int_equal(simple(c, "Pause", &of.base, &err), -EBUSY);
	expect_text(&err, "the sandbox is gone: the fake VM was killed");
	assert_int_equal(containerd_call(c, c->service, "Stats", &of.base,
					 &containerd__task__v2__stats_response__descriptor, &m,
					 &err),
			 -ENOENT);
	expect_text(&err, "already finished: the sandbox is gone: the fake VM was killed");
	assert_int_equal(update(c, UPDATE, &err), -EREMOTEIO);
	expect_text(&err, "the sandbox is gone: the fake VM was killed");
	assert_int_equal(task_delete(c, "c1", "e3", NULL), 0);
	assert_int_equal(task_delete(c, "c1", "e1", NULL), 137);
	assert_int_equal(task_delete(c, "c1", "", NULL), 137);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
	/* The first process is the last to be reported. */
	assert_string_equal(c->events.v[5], "/tasks/exit c1 e1 137");
	assert_string_equal(c->events.v[6], "/tasks/exit c1 c1 137");
}

/* What a guest cannot undo goes with the sandbox: the last Delete succeeds. */
static void test_delete_despite_guest(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "true",
							  "\"fake.delete.error\":\"it hangs\"");

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 0);
	assert_int_equal(task_delete(c, "c1", "", NULL), 0);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
}

/* A new container in a shim whose last one is gone: a new sandbox. */
static void test_again(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = run_container(c, "c1", "exit 1");

	assert_int_equal(task_wait(c, "c1", ""), 1);
	assert_int_equal(task_delete(c, "c1", "", NULL), 1);
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 1);
	assert_int_equal(task_delete(c, "c1", "", NULL), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Another process makes it, in a session of its own, when it has been put out of the sandbox's
 * group. */
static void test_template(void **state)
{
	struct containerd *c = *state;
	_cleanup_(freep) char *bundle = containerd_bundle(c, "c1", "sleep 100",
							  "\"fake.template\":\"abc\"");
	_cleanup_(freep) char *made = path_join(c->dir, "template-abc");

	free(containerd_start(c, "c1", bundle));
	assert_int_equal(task_create(c, "c1", bundle, NULL, false, NULL), 0);
	assert_int_equal(task_start(c, "c1", "", NULL), 0);
	for (int i = 0; i < 300 && access(made, F_OK) < 0; i++)
		usleep(100000);
	assert_int_equal(access(made, F_OK), 0);
	assert_int_equal(task_kill(c, "c1", "", SIGKILL, NULL), 0);
	assert_int_equal(task_wait(c, "c1", ""), 137);
	assert_int_equal(task_delete(c, "c1", "", NULL), 137);
	assert_int_equal(task_shutdown(c, "c1"), 0);
	task_end_daemon(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_life_v2),
		TEST(test_life_v3),
		TEST(test_short_lives),
		TEST(test_exec_codes),
		TEST(test_create_fails),
		TEST(test_slow_create),
		TEST(test_give_up_a_boot),
		TEST(test_give_up_in_guest),
		TEST(test_give_up_a_member),
		TEST(test_give_up_waiting),
		TEST(test_give_up_by_leaving),
		TEST(test_delete_created),
		TEST(test_wait),
		TEST(test_pause),
		TEST(test_queries),
		TEST(test_update),
		TEST(test_vm_dies),
		TEST(test_delete_despite_guest),
		TEST(test_again),
		TEST(test_template),
	};

	if (geteuid() != 0)
		skip_program("needs root");
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
