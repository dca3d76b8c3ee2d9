/* SPDX-License-Identifier: Apache-2.0 */
#include "crio.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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
#include "base/path.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "kernel/proc.h"
#include "runtimeoptions.pb-c.h"
#include "shim.pb-c.h"

#define NAMESPACE_HEADER "containerd-namespace-ttrpc"
#define PROCESS_TYPE     "types.containerd.io/opencontainers/runtime-spec/1/Process"
/* rspec.Process as CRI-O marshals it: an exec is the container's own with other arguments, and so
 * with the container's "terminal", whatever the exec's is. */
#define PROCESS                                                                                   \
	"{%s\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[0]},\"args\":[\"sh\",\"-c\","       \
	"\"%s\"],\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"," \
	"\"TERM=xterm\",\"HOSTNAME=web\"],\"cwd\":\"/\",\"capabilities\":{\"bounding\":"          \
	"[\"CAP_CHOWN\",\"CAP_KILL\"],\"effective\":[\"CAP_CHOWN\",\"CAP_KILL\"],\"permitted\":"  \
	"[\"CAP_CHOWN\",\"CAP_KILL\"]},\"oomScoreAdj\":1000,\"selinuxLabel\":"                    \
	"\"system_u:system_r:container_kvm_t:s0:c1,c2\",\"apparmorProfile\":\"crio-default\"}"
#define ANNOTATIONS                                                                            \
	"\"io.container.manager\":\"cri-o\",\"io.kubernetes.cri-o.ContainerType\":\"%s\","     \
	"\"io.kubernetes.cri-o.SandboxID\":\"%s\",\"io.kubernetes.cri-o.ContainerID\":\"%s\"," \
	"\"io.kubernetes.cri-o.TTY\":\"%s\",\"io.kubernetes.cri-o.Namespace\":\"shop\","       \
	"\"io.kubernetes.cri-o.KubeName\":\"web\",\"io.kubernetes.cri-o.MountPoint\":\"%s\","  \
	"\"org.systemd.property.CollectMode\":\"'inactive-or-failed'\"%s%s"

static char *marshal_process(bool terminal, const char *script)
{
	return xasprintf(PROCESS, terminal ? "\"terminal\":true," : "", script);
}

void crio_open(struct containerd *c)
{
	containerd_open(c);
	containerd_deaf(c);
	free(c->address);
	free(c->ttrpc_address);
	free(c->publish_binary);
	c->address = xstrdup("");
	c->ttrpc_address = xstrdup("");
	c->publish_binary = path_join(c->dir, "crio-program");
	assert_int_equal(setenv("GOMAXPROCS", "2", 1), 0);
}

void crio_close(struct containerd *c)
{
	c->client = NULL;
	containerd_close(c);
}

/* --- bundles --- */

void crio_bundle(struct containerd *c, struct crio_container *ret, const char *pod, const char *id,
		 const char *script, bool terminal, const char *more)
{
	_cleanup_(freep) char *process = marshal_process(terminal, script);
	_cleanup_(freep) char *merged = xasprintf("%s/overlay/%s/merged", c->dir, id);
	_cleanup_(freep) char *annotations = NULL, *path = NULL, *text = NULL, *log = NULL;

	*ret = (struct crio_container){.id = xstrdup(id), .terminal = terminal};
	ret->bundle = xasprintf("%s/overlay-containers/%s/userdata", c->dir, id);
	ret->streams = (struct streams){.in_fd = -1, .out_fd = -1, .err_fd = -1};
	assert_int_equal(fs_mkdir_all(ret->bundle, 0700), 0);
	assert_int_equal(fs_mkdir_all(merged, 0700), 0);
	annotations = xasprintf(ANNOTATIONS, streq(pod, id) ? "sandbox" : "container", pod, id,
				terminal ? "true" : "false", merged, *more ? "," : "", more);
	text = xasprintf("{\"ociVersion\":\"1.2.1\",\"process\":%s,\"root\":{\"path\":\"%s\"},"
			 "\"hostname\":\"web\",\"annotations\":{%s},\"linux\":{\"cgroupsPath\":"
			 "\"kubepods-besteffort-pod1.slice:crio:%s\",\"namespaces\":[{\"type\":"
			 "\"network\",\"path\":\"/var/run/netns/1\"},{\"type\":\"mount\"}]}}",
			 process, merged, annotations, id);
	path = path_join(ret->bundle, "config.json");
	assert_int_equal(fs_replace(path, text, strlen(text), 0644, false), 0);
	log = path_join(ret->bundle, "log");
	assert_int_equal(mkfifo(log, 0700), 0);
}

void crio_container_fini(struct containerd *c, struct crio_container *ctr)
{
	ttrpc_client_free(ctr->client);
	if (c->client == ctr->client)
		c->client = NULL;
	streams_close(&ctr->streams);
	call_fini(&ctr->wait);
	free(ctr->id);
	free(ctr->bundle);
}

/* --- the shim --- */

static void connect_to(struct containerd *c, struct crio_container *ctr, const char *address)
{
	const char *path = str_skip_prefix(address, "unix://");

	assert_non_null(path);
	ttrpc_client_free(ctr->client);
	c->client = NULL;
	containerd_connect(c, path);
	ctr->client = c->client;
	ttrpc_client_add_metadata(c->client, NAMESPACE_HEADER, "default");
}

/* A thread of CRI-O waits for a writer of the log, and copies it. */
static pid_t read_log(const struct crio_container *ctr)
{
	_cleanup_(freep) char *path = path_join(ctr->bundle, "log");
	struct proc_stat stat = {0};
	pid_t pid = fork();
	char piece[4096];
	int fd;

	assert_true(pid >= 0);
	if (pid > 0) {
		while (stat.state != 'S')
			assert_int_equal(proc_stat_read(pid, &stat), 0);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (read(fd, piece, sizeof(piece)) > 0)
		;
	_exit(fd < 0);
}

static bool has_ended(pid_t pid, unsigned int msec)
{
	uint64_t deadline = clock_after(msec * USEC_PER_MSEC);

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (clock_now() >= deadline)
			return false;
		usleep(2000);
	}
	return true;
}

void crio_start_shim(struct containerd *c, struct crio_container *ctr)
{
	_cleanup_(freep) char *path = path_join(ctr->bundle, "shim.pid"), *text = NULL;
	pid_t reader = read_log(ctr);
	struct run run;
	char *end;

	containerd_run(c, ctr->bundle, "", 0, &run, "-namespace", "default", "-address", "",
		       "-publish-binary", c->publish_binary, "-id", ctr->id, "start", NULL);
	/* CRI-O up to 1.36 takes both streams together for the address. */
	assert_int_equal(run.status, 0);
	assert_int_equal(run.err.len, 0);
	end = strchr(run.out.data, '\n');
	assert_non_null(end);
	assert_string_equal(end, "\n");
	*end = '\0';
	connect_to(c, ctr, run.out.data);
	if (fs_read(path, 64, &text, NULL) == 0) {
		c->daemon = atoi(text);
		/* The shim's log is open as long as the shim lives. */
		assert_false(has_ended(reader, 20));
	} else {
		assert_true(has_ended(reader, 2000));
	}
	run_fini(&run);
}

void crio_connect(struct containerd *c, struct crio_container *ctr)
{
	_cleanup_(freep) char *path = path_join(ctr->bundle, "address"), *text = NULL;

	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	connect_to(c, ctr, text);
	call_fini(&ctr->wait);
	ctr->wait = (struct call){0};
}

/* --- streams --- */

/* MkdirTemp below the root, and the container's id in the names, of its execs too. */
static void fifos_open(struct containerd *c, const char *id, bool stdin, struct streams *ret)
{
	_cleanup_(freep) char *io = path_join(c->dir, "crio/fifo/io");
	_cleanup_(freep) char *dir = xasprintf("%s/XXXXXX", io);
	struct streams s = {.in_fd = -1};

	assert_int_equal(fs_mkdir_all(io, 0700), 0);
	assert_non_null(mkdtemp(dir));
	s.in = stdin ? xasprintf("%s/%s-stdin", dir, id) : xstrdup("");
	s.out = xasprintf("%s/%s-stdout", dir, id);
	s.err = xasprintf("%s/%s-stderr", dir, id);
	if (stdin)
		assert_int_equal(mkfifo(s.in, 0700), 0);
	assert_int_equal(mkfifo(s.out, 0700) | mkfifo(s.err, 0700), 0);
	s.out_fd = open(s.out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	s.err_fd = open(s.err, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	*ret = s;
}

/* --- calls --- */

static void as(struct containerd *c, const struct crio_container *ctr)
{
	c->client = ctr->client;
}

static void check_pid(uint32_t pid)
{
	_cleanup_(freep) char *path = xasprintf("/proc/%u/stat", pid);

	assert_true(pid > 1);
	assert_int_equal(access(path, R_OK), 0);
}

int crio_create(struct containerd *c, struct crio_container *ctr, const char *config_path,
		struct err *err)
{
	Containerd__Task__V2__CreateTaskRequest request =
		CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	Runtimeoptions__V1__Options options = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	ProtobufCMessage *response = NULL;
	uint8_t packed[512];
	int r;

	as(c, ctr);
	if (!ctr->streams.out)
		fifos_open(c, ctr->id, false, &ctr->streams);
	request.id = ctr->id;
	request.bundle = ctr->bundle;
	request.stdin = ctr->streams.in;
	request.stdout = ctr->streams.out;
	request.stderr = ctr->streams.err;
	request.terminal = ctr->terminal;
	if (config_path) {
		options.config_path = (char *)config_path;
		any.type_url = (char *)"runtimeoptions.v1.Options";
		any.value.len = runtimeoptions__v1__options__pack(&options, packed);
		any.value.data = packed;
		request.options = &any;
	}
	r = containerd_call(c, c->service, "Create", &request.base,
			    &containerd__task__v2__create_task_response__descriptor, &response,
			    err);
	if (r < 0)
		return r;
	check_pid(((Containerd__Task__V2__CreateTaskResponse *)response)->pid);
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

void crio_wait(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
	       struct call *ret)
{
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;

	request.id = ctr->id;
	request.exec_id = (char *)exec_id;
	containerd_send(c, "Wait", &request.base, &containerd__task__v2__wait_response__descriptor,
			ret);
}

void crio_run(struct containerd *c, struct crio_container *ctr)
{
	_cleanup_err_ struct err err = {0};

	crio_start_shim(c, ctr);
	if (crio_create(c, ctr, NULL, &err) < 0)
		fail_msg("create %s: %s", ctr->id, err_text(&err));
	assert_int_equal(task_start(c, ctr->id, "", NULL), 0);
	crio_wait(c, ctr, "", &ctr->wait);
}

void crio_exec(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
	       const char *script, bool stdin, bool terminal, struct streams *ret)
{
	Containerd__Task__V2__ExecProcessRequest request =
		CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
	_cleanup_(freep) char *text = marshal_process(ctr->terminal, script);
	Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
	_cleanup_err_ struct err err = {0};

	as(c, ctr);
	fifos_open(c, ctr->id, stdin, ret);
	spec.type_url = (char *)PROCESS_TYPE;
	spec.value = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
	request.id = ctr->id;
	request.exec_id = (char *)exec_id;
	request.stdin = ret->in;
	request.stdout = ret->out;
	request.stderr = ret->err;
	request.terminal = terminal;
	request.spec = &spec;
	if (containerd_call(c, c->service, "Exec", &request.base,
			    &google__protobuf__empty__descriptor, NULL, &err) < 0)
		fail_msg("exec: %s", err_text(&err));
	assert_int_equal(task_start(c, ctr->id, exec_id, NULL), 0);
	/* Its open for writing has waited for the reader until now. */
	if (stdin)
		ret->in_fd = open(ret->in, O_WRONLY | O_CLOEXEC);
}

int crio_signal(struct containerd *c, const struct crio_container *ctr, const char *exec_id,
		int signo, struct err *err)
{
	as(c, ctr);
	return task_kill(c, ctr->id, exec_id, signo, err);
}

void crio_stop(struct containerd *c, struct crio_container *ctr, unsigned int msec)
{
	uint64_t deadline = clock_after(msec * USEC_PER_MSEC);
	struct call wait;

	as(c, ctr);
	crio_wait(c, ctr, "", &wait);
	assert_int_equal(crio_signal(c, ctr, "", SIGTERM, NULL), 0);
	while (!wait.done && clock_now() < deadline)
		assert_int_equal(loop_round(c->loop, 1000), 0);
	if (!wait.done)
		assert_int_equal(crio_signal(c, ctr, "", SIGKILL, NULL), 0);
	assert_int_equal(call_finish(c, &wait), 0);
	call_fini(&wait);
}

void crio_expect(struct containerd *c, const struct crio_container *ctr, int status, int exit_code)
{
	Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	const Containerd__Task__V2__StateResponse *state;
	ProtobufCMessage *response = NULL;

	as(c, ctr);
	request.id = ctr->id;
	assert_int_equal(containerd_call(c, c->service, "State", &request.base,
					 &containerd__task__v2__state_response__descriptor,
					 &response, NULL),
			 0);
	state = (Containerd__Task__V2__StateResponse *)response;
	assert_int_equal(state->status, status);
	assert_int_equal(state->exit_status, exit_code);
	assert_string_equal(state->stdin, ctr->streams.in);
	assert_string_equal(state->stdout, ctr->streams.out);
	assert_string_equal(state->stderr, ctr->streams.err);
	assert_int_equal(state->terminal, ctr->terminal);
	protobuf_c_message_free_unpacked(response, NULL);
}

void crio_remove(struct containerd *c, struct crio_container *ctr)
{
	_cleanup_(freep) char *dir = path_dir(ctr->streams.out);

	as(c, ctr);
	assert_int_equal(fs_remove_all(dir), 0);
	assert_true(task_delete(c, ctr->id, "", NULL) >= 0);
	assert_int_equal(task_shutdown(c, ctr->id), 0);
}
