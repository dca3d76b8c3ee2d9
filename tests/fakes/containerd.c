/* SPDX-License-Identifier: Apache-2.0 */
#include "containerd.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/spawn.h"
#include "events.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "shim.pb-c.h"
#include "ttrpc_events.pb-c.h"

#define CALL_TIMEOUT (20 * USEC_PER_SEC)
#define END_TIMEOUT  (5 * USEC_PER_SEC)

/* --- events --- */

static char *describe(const Google__Protobuf__Any *any)
{
	const void *p = any->value.data;
	size_t n = any->value.len;

	if (streq(any->type_url, "containerd.events.TaskExit")) {
		Containerd__Events__TaskExit *e = containerd__events__task_exit__unpack(NULL, n, p);
		char *text = xasprintf("%s %s %u", e->container_id, e->id, e->exit_status);

		containerd__events__task_exit__free_unpacked(e, NULL);
		return text;
	}
	if (streq(any->type_url, "containerd.events.TaskDelete")) {
		Containerd__Events__TaskDelete *e = containerd__events__task_delete__unpack(NULL, n,
											    p);
		char *text = xasprintf("%s %s %u", e->container_id, e->id, e->exit_status);

		containerd__events__task_delete__free_unpacked(e, NULL);
		return text;
	}
	if (streq(any->type_url, "containerd.events.TaskExecStarted") ||
	    streq(any->type_url, "containerd.events.TaskExecAdded")) {
		Containerd__Events__TaskExecAdded *e = containerd__events__task_exec_added__unpack(
			NULL, n, p);
		char *text = xasprintf("%s %s", e->container_id, e->exec_id);

		containerd__events__task_exec_added__free_unpacked(e, NULL);
		return text;
	}
	/* All others begin with the container's id. */
	Containerd__Events__TaskOOM *e = containerd__events__task_oom__unpack(NULL, n, p);
	char *text = xstrdup(e->container_id);

	containerd__events__task_oom__free_unpacked(e, NULL);
	return text;
}

static int forwarded(struct ttrpc_call *call, const void *request, _unused_ void *response,
		     struct err *err)
{
	const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *req = request;
	struct containerd *c = ttrpc_call_user(call);
	_cleanup_(freep) char *text = NULL;

	if (!req->envelope || !streq(req->envelope->namespace_, "testing") ||
	    !req->envelope->timestamp ||
	    !streq(ttrpc_call_metadata(call, "containerd-namespace-ttrpc"), "testing"))
		return err_setx(err, -EINVAL, "a bad envelope");
	text = describe(req->envelope->event);
	strv_addf(&c->events, "%s %s", req->envelope->topic, text);
	return 0;
}

static const struct ttrpc_method event_methods[] = {
	{"Forward", &containerd__services__events__ttrpc__v1__forward_request__descriptor,
	 &google__protobuf__empty__descriptor, forwarded},
};
static const struct ttrpc_service event_service = {"containerd.services.events.ttrpc.v1.Events",
						   event_methods, 1};

void containerd_listen(struct containerd *c)
{
	unlink(c->ttrpc_address);
	assert_int_equal(ttrpc_server_new(c->loop, c, &c->events_server), 0);
	ttrpc_server_add(c->events_server, &event_service);
	assert_int_equal(
		ttrpc_server_listen(c->events_server, fd_unix_listen(c->ttrpc_address, 0600)), 0);
}

void containerd_deaf(struct containerd *c)
{
	ttrpc_server_free(c->events_server);
	c->events_server = NULL;
	unlink(c->ttrpc_address);
}

/* --- its own folder --- */

void containerd_open(struct containerd *c)
{
	char dir[] = "/tmp/test-shim-XXXXXX";

	*c = (struct containerd){.service = "containerd.task.v2.Task"};
	/* The daemon becomes our child when `start` has ended, so that we see its end. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_non_null(mkdtemp(dir));
	c->dir = xstrdup(dir);
	c->address = path_join(dir, "containerd.sock");
	c->ttrpc_address = path_join(dir, "containerd.sock.ttrpc");
	c->publish_binary = xstrdup("/bin/true");
	assert_int_equal(setenv("FAKE_RUNTIME_DIR", dir, 1), 0);
	assert_int_equal(loop_new(&c->loop), 0);
	containerd_listen(c);
}

static bool is_served(const char *path)
{
	_cleanup_(closep) int fd = fd_unix_connect(path);

	return fd >= 0;
}

/* They are outside of our folder: nobody else would remove them. */
static void end_daemon(struct containerd *c)
{
	_cleanup_(freep) bool *served = xcalloc(c->sockets.n + 1, sizeof(bool));

	for (size_t i = 0; i < c->sockets.n; i++)
		served[i] = is_served(c->sockets.v[i]);
	if (c->daemon > 0) {
		kill(c->daemon, SIGKILL);
		spawn_wait(c->daemon);
	}
	for (size_t i = 0; i < c->sockets.n; i++) {
		const char *path = c->sockets.v[i];

		if (is_served(path))
			fail_msg("%s: a shim that was started is still there", path);
		if (served[i])
			unlink(path);
		else if (fs_exists(path))
			fail_msg("%s: a shim that has ended left it", path);
	}
}

void containerd_close(struct containerd *c)
{
	ttrpc_client_free(c->client);
	end_daemon(c);
	strv_fini(&c->sockets);
	ttrpc_server_free(c->events_server);
	loop_free(c->loop);
	strv_fini(&c->events);
	fs_remove_all(c->dir);
	free(c->dir);
	free(c->address);
	free(c->ttrpc_address);
	free(c->publish_binary);
}

char *containerd_bundle_args(struct containerd *c, const char *id, const char *args,
			     const char *annotations)
{
	_cleanup_(freep) char *text = NULL, *path = NULL;
	char *bundle = path_join(c->dir, id);

	assert_int_equal(fs_mkdir_all(bundle, 0700), 0);
	path = path_join(bundle, "config.json");
	text = xasprintf("{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"
			 "\"args\":%s,\"env\":[\"PATH=/usr/bin:/bin\"],\"cwd\":\"/\"},"
			 "\"root\":{\"path\":\"rootfs\"},\"annotations\":{%s},\"linux\":{}}",
			 args, annotations);
	assert_int_equal(fs_replace(path, text, strlen(text), 0600, false), 0);
	return bundle;
}

char *containerd_bundle(struct containerd *c, const char *id, const char *script,
			const char *annotations)
{
	_cleanup_(freep) char *args = xasprintf("[\"sh\",\"-c\",\"%s\"]", script);

	return containerd_bundle_args(c, id, args, annotations);
}

/* --- the shim's program --- */

void run_fini(struct run *run)
{
	buf_fini(&run->out);
	buf_fini(&run->err);
}

static void read_to_end(int fd, struct buf *b)
{
	ssize_t n;

	do {
		buf_reserve(b, 4096);
		n = read(fd, b->data + b->len, 4096);
		assert_true(n >= 0);
		b->len += n;
		b->data[b->len] = '\0';
	} while (n > 0);
}

/* In the child, with one more descriptor that a shim must not keep. */
static void exec_shim(struct containerd *c, const char *cwd, char *const *argv, int in, int out,
		      int err)
{
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || dup2(out, 77) < 0 ||
	    chdir(cwd) < 0)
		_exit(126);
	setpgid(0, 0);
	setenv("TTRPC_ADDRESS", c->ttrpc_address, 1);
	setenv("GRPC_ADDRESS", c->address, 1);
	setenv("MAX_SHIM_VERSION", "2", 1);
	execv(argv[0], argv);
	_exit(127);
}

/* The path in what `start` says, in whichever form; the caller frees. NULL: it is an error. */
static char *socket_in(const char *answer)
{
	const char *start = answer ? strstr(answer, "unix://") : NULL;

	return start ? xstrndup(start + 7, strcspn(start + 7, "\"\n")) : NULL;
}

static void note_socket(struct containerd *c, const struct run *run)
{
	_cleanup_(freep) char *path = socket_in(run->out.data);

	if (path)
		strv_add(&c->sockets, path);
}

void containerd_run(struct containerd *c, const char *cwd, const void *input, size_t n_input,
		    struct run *ret, ...)
{
	_cleanup_(strv_fini) struct strv argv = {0};
	int in[2], out[2], err[2];
	const char *arg;
	va_list ap;
	pid_t pid;

	strv_add(&argv, getenv("KATA_SHIM"));
	va_start(ap, ret);
	while ((arg = va_arg(ap, const char *)))
		strv_add(&argv, arg);
	va_end(ap);
	*ret = (struct run){0};
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		exec_shim(c, cwd, argv.v, in[0], out[1], err[1]);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	assert_int_equal(fd_write_all(in[1], input, n_input), 0);
	close(in[1]);
	/* A daemon that kept one of them would hold us here until the alarm. */
	alarm(10);
	read_to_end(out[0], &ret->out);
	read_to_end(err[0], &ret->err);
	close(out[0]);
	close(err[0]);
	ret->status = spawn_wait(pid);
	alarm(0);
	note_socket(c, ret);
}

void containerd_connect(struct containerd *c, const char *path)
{
	int fd = fd_unix_connect(path);

	assert_true(fd >= 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	ttrpc_client_free(c->client);
	c->client = NULL;
	assert_int_equal(ttrpc_client_new(c->loop, fd, NULL, NULL, &c->client), 0);
}

static pid_t pid_in(const char *bundle)
{
	_cleanup_(freep) char *path = path_join(bundle, "shim.pid"), *text = NULL;
	uint32_t pid = 0;

	if (fs_read(path, 64, &text, NULL) == 0)
		assert_int_equal(parse_u32(text, &pid), 0);
	return (pid_t)pid;
}

char *containerd_start(struct containerd *c, const char *id, const char *bundle)
{
	_cleanup_(freep) char *path = NULL;
	struct run run;

	containerd_run(c, bundle, "", 0, &run, "-namespace", "testing", "-address", c->address,
		       "-publish-binary", c->publish_binary, "-id", id, "start", NULL);
	if (run.err.len > 0)
		print_message("%s", run.err.data);
	assert_int_equal(run.status, 0);
	assert_int_equal(run.err.len, 0);
	path = socket_in(run.out.data);
	assert_non_null(path);
	containerd_connect(c, path);
	if (pid_in(bundle))
		c->daemon = pid_in(bundle);
	buf_fini(&run.err);
	return buf_take(&run.out);
}

int containerd_delete(struct containerd *c, const char *id, const char *bundle)
{
	Containerd__Task__V2__DeleteResponse *response;
	struct run run;
	int status;

	containerd_run(c, bundle, "", 0, &run, "-namespace", "testing", "-address", c->address,
		       "-publish-binary", c->publish_binary, "-id", id, "-bundle", bundle, "delete",
		       NULL);
	assert_int_equal(run.status, 0);
	assert_int_equal(run.err.len, 0);
	response = containerd__task__v2__delete_response__unpack(NULL, run.out.len,
								 (uint8_t *)run.out.data);
	assert_non_null(response);
	assert_non_null(response->exited_at);
	status = (int)response->exit_status;
	containerd__task__v2__delete_response__free_unpacked(response, NULL);
	run_fini(&run);
	return status;
}

/* --- calls --- */

void containerd_rounds(struct containerd *c, unsigned int msec)
{
	uint64_t deadline = clock_after(msec * USEC_PER_MSEC);

	while (clock_now() < deadline)
		assert_int_equal(loop_round(c->loop, 1000), 0);
}

void containerd_await_event(struct containerd *c, const char *start)
{
	uint64_t deadline = clock_after(END_TIMEOUT);

	while (clock_now() < deadline) {
		for (size_t i = 0; i < c->events.n; i++)
			if (str_has_prefix(c->events.v[i], start))
				return;
		assert_int_equal(loop_round(c->loop, 1000), 0);
	}
	fail_msg("no event \"%s\"", start);
}

static void call_done(void *arg, int r, const char *message, ProtobufCMessage *response)
{
	struct call *call = arg;

	call->done = true;
	call->r = r;
	call->response = response;
	if (r < 0)
		err_setx(&call->err, r, "%s", message);
}

static void send_call(struct containerd *c, const char *service, const char *method,
		      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		      struct call *ret)
{
	int r;

	*ret = (struct call){0};
	r = ttrpc_client_send(c->client, service, method, request, output,
			      clock_after(CALL_TIMEOUT), call_done, ret);
	if (r < 0)
		call_done(ret, r, "cannot be sent", NULL);
}

void containerd_send(struct containerd *c, const char *method, const ProtobufCMessage *request,
		     const ProtobufCMessageDescriptor *output, struct call *ret)
{
	send_call(c, c->service, method, request, output, ret);
}

int call_finish(struct containerd *c, struct call *call)
{
	while (!call->done)
		assert_int_equal(loop_round(c->loop, 10000), 0);
	return call->r;
}

void call_fini(struct call *call)
{
	if (call->response)
		protobuf_c_message_free_unpacked(call->response, NULL);
	err_clear(&call->err);
}

int containerd_call(struct containerd *c, const char *service, const char *method,
		    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		    ProtobufCMessage **ret, struct err *err)
{
	struct call call;
	int r;

	send_call(c, service, method, request, output, &call);
	r = call_finish(c, &call);
	if (r < 0 && err)
		err_move(err, &call.err);
	if (ret)
		*ret = TAKE_PTR(call.response);
	call_fini(&call);
	return r;
}

/* --- streams --- */

static char *fifo_make(struct containerd *c, const char *id, const char *name, bool wanted)
{
	char *path;

	if (!wanted)
		return xstrdup("");
	path = xasprintf("%s/%s-%s", c->dir, id, name);
	assert_int_equal(mkfifo(path, 0600), 0);
	return path;
}

void streams_open(struct containerd *c, const char *id, const char *which, struct streams *ret)
{
	struct streams s = {.in_fd = -1, .out_fd = -1, .err_fd = -1};

	s.in = fifo_make(c, id, "in", strchr(which, 'i'));
	s.out = fifo_make(c, id, "out", strchr(which, 'o'));
	s.err = fifo_make(c, id, "err", strchr(which, 'e'));
	if (*s.in)
		s.in_fd = open(s.in, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (*s.out)
		s.out_fd = open(s.out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (*s.err)
		s.err_fd = open(s.err, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	*ret = s;
}

void streams_close(struct streams *s)
{
	s->in_fd = fd_close(s->in_fd);
	s->out_fd = fd_close(s->out_fd);
	s->err_fd = fd_close(s->err_fd);
	free(s->in);
	free(s->out);
	free(s->err);
}

char *streams_read(struct containerd *c, int fd, size_t *ret_len)
{
	uint64_t deadline = clock_after(CALL_TIMEOUT);
	struct buf b = {0};

	for (;;) {
		ssize_t n;

		buf_reserve(&b, 65536);
		n = read(fd, b.data + b.len, 65536);
		if (n > 0) {
			b.len += n;
			b.data[b.len] = '\0';
			deadline = clock_after(CALL_TIMEOUT);
			continue;
		}
		if (n == 0)
			break;
		assert_int_equal(errno, EAGAIN);
		assert_true(clock_now() < deadline);
		assert_int_equal(loop_round(c->loop, 500), 0);
	}
	if (ret_len)
		*ret_len = b.len;
	return buf_take(&b);
}

/* --- the task service --- */

int task_create(struct containerd *c, const char *id, const char *bundle, const struct streams *s,
		bool terminal, struct err *err)
{
	Containerd__Task__V2__CreateTaskRequest request =
		CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;

	request.id = (char *)id;
	request.bundle = (char *)bundle;
	request.terminal = terminal;
	if (s) {
		request.stdin = s->in;
		request.stdout = s->out;
		request.stderr = s->err;
	}
	return containerd_call(c, c->service, "Create", &request.base,
			       &containerd__task__v2__create_task_response__descriptor, NULL, err);
}

int task_exec(struct containerd *c, const char *id, const char *exec_id, const char *script,
	      const struct streams *s, bool terminal, struct err *err)
{
	Containerd__Task__V2__ExecProcessRequest request =
		CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
	Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
	_cleanup_(freep) char *text = NULL;

	text = xasprintf("{\"user\":{\"uid\":0,\"gid\":0},\"args\":[%s],\"cwd\":\"/\","
			 "\"env\":[\"PATH=/usr/bin:/bin\"]}",
			 script);
	spec.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/Process";
	spec.value = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.spec = &spec;
	request.terminal = terminal;
	if (s) {
		request.stdin = s->in;
		request.stdout = s->out;
		request.stderr = s->err;
	}
	return containerd_call(c, c->service, "Exec", &request.base,
			       &google__protobuf__empty__descriptor, NULL, err);
}

int task_start(struct containerd *c, const char *id, const char *exec_id, struct err *err)
{
	Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	return containerd_call(c, c->service, "Start", &request.base,
			       &containerd__task__v2__start_response__descriptor, NULL, err);
}

int task_kill(struct containerd *c, const char *id, const char *exec_id, int signal,
	      struct err *err)
{
	Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.signal = (uint32_t)signal;
	return containerd_call(c, c->service, "Kill", &request.base,
			       &google__protobuf__empty__descriptor, NULL, err);
}

int task_close_io(struct containerd *c, const char *id, const char *exec_id, struct err *err)
{
	Containerd__Task__V2__CloseIORequest request = CONTAINERD__TASK__V2__CLOSE_IOREQUEST__INIT;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.stdin = true;
	return containerd_call(c, c->service, "CloseIO", &request.base,
			       &google__protobuf__empty__descriptor, NULL, err);
}

int task_state(struct containerd *c, const char *id, const char *exec_id)
{
	Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	int r;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	r = containerd_call(c, c->service, "State", &request.base,
			    &containerd__task__v2__state_response__descriptor, &response, NULL);
	if (r < 0)
		return r;
	r = (int)((Containerd__Task__V2__StateResponse *)response)->status;
	protobuf_c_message_free_unpacked(response, NULL);
	return r;
}

int task_wait(struct containerd *c, const char *id, const char *exec_id)
{
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	int r;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	r = containerd_call(c, c->service, "Wait", &request.base,
			    &containerd__task__v2__wait_response__descriptor, &response, NULL);
	if (r < 0)
		return r;
	r = (int)((Containerd__Task__V2__WaitResponse *)response)->exit_status;
	protobuf_c_message_free_unpacked(response, NULL);
	return r;
}

int task_delete(struct containerd *c, const char *id, const char *exec_id, struct err *err)
{
	Containerd__Task__V2__DeleteRequest request = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	int r;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	r = containerd_call(c, c->service, "Delete", &request.base,
			    &containerd__task__v2__delete_response__descriptor, &response, err);
	if (r < 0)
		return r;
	r = (int)((Containerd__Task__V2__DeleteResponse *)response)->exit_status;
	protobuf_c_message_free_unpacked(response, NULL);
	return r;
}

int task_shutdown(struct containerd *c, const char *id)
{
	Containerd__Task__V2__ShutdownRequest request =
		CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;

	request.id = (char *)id;
	return containerd_call(c, c->service, "Shutdown", &request.base,
			       &google__protobuf__empty__descriptor, NULL, NULL);
}

void task_end_daemon(struct containerd *c)
{
	uint64_t deadline = clock_after(END_TIMEOUT);

	assert_true(c->daemon > 0);
	while (waitpid(c->daemon, NULL, WNOHANG) == 0) {
		assert_true(clock_now() < deadline);
		assert_int_equal(loop_round(c->loop, 1000), 0);
	}
	c->daemon = 0;
}
