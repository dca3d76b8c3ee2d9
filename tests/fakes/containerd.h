/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * containerd's side of a shim, for tests: makes bundles and FIFOs, calls the shim's program as
 * containerd does, speaks ttRPC with the daemon, and takes its events. Everything lives in a folder
 * of its own. What must not fail in a test ends it (cmocka's assertions).
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"
#include "wire/ttrpc/ttrpc.h"

struct containerd {
	struct loop *loop;
	char *dir;
	char *address; /* gRPC socket: a name only */
	char *ttrpc_address;
	char *publish_binary;
	struct ttrpc_server *events_server;
	struct strv events; /* "/tasks/exit c1 e1 3" in the order of arrival */
	struct ttrpc_client *client;
	const char *service; /* of the task calls */
	pid_t daemon;
	struct strv sockets; /* that any `start` has answered with */
};

void containerd_open(struct containerd *c);
/* containerd_close: ends the daemon that a test left running and removes its socket. Those of
 * others must have gone with them. */
void containerd_close(struct containerd *c);
/* containerd_listen, containerd_deaf: serve events, and no longer. */
void containerd_listen(struct containerd *c);
void containerd_deaf(struct containerd *c);

/* A bundle with a config.json that runs `sh -c script`; `more` goes into the document's
 * annotations: "\"key\":\"value\",…". The caller frees. */
char *containerd_bundle(struct containerd *c, const char *id, const char *script,
			const char *annotations);
/* A bundle whose process is args, a JSON list. */
char *containerd_bundle_args(struct containerd *c, const char *id, const char *args,
			     const char *annotations);

struct run {
	int status;          /* exit code */
	struct buf out, err; /* up to the end of both pipes */
};

void run_fini(struct run *run);
/* containerd_run: the shim's program with these arguments in folder `cwd`, `input` on its standard
 * input. */
void containerd_run(struct containerd *c, const char *cwd, const void *input, size_t n_input,
		    struct run *ret, ...) __attribute__((sentinel));
/* containerd_start: `shim start` for a container; its answer must be an address, to which the
 * client is connected. Returns the whole line; the caller frees. */
char *containerd_start(struct containerd *c, const char *id, const char *bundle);
/* containerd_delete: `shim delete`; returns the exit status in its answer. */
int containerd_delete(struct containerd *c, const char *id, const char *bundle);
void containerd_connect(struct containerd *c, const char *path);

/* containerd_rounds: let everything go on for so many ms. */
void containerd_rounds(struct containerd *c, unsigned int msec);
/* containerd_await_event: until an event that starts with `start` has come (5 s). */
void containerd_await_event(struct containerd *c, const char *start);
/* containerd_call: one call; returns 0 or -errno, the text in err. */
int containerd_call(struct containerd *c, const char *service, const char *method,
		    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		    ProtobufCMessage **ret, struct err *err);

/* A call that is under way. */
struct call {
	bool done;
	int r;
	struct err err;
	ProtobufCMessage *response;
};

void containerd_send(struct containerd *c, const char *method, const ProtobufCMessage *request,
		     const ProtobufCMessageDescriptor *output, struct call *ret);
/* call_finish: wait for its end; call_fini frees what it got. */
int call_finish(struct containerd *c, struct call *call);
void call_fini(struct call *call);

/* --- the task service by name --- */

struct streams {
	char *in, *out, *err; /* FIFOs, or "" */
	int in_fd, out_fd, err_fd;
};

/* streams_open: FIFOs "<id>-in" … as a client makes them; which: any of "ioe". */
void streams_open(struct containerd *c, const char *id, const char *which, struct streams *ret);
void streams_close(struct streams *s);
/* streams_read: everything up to the end of the stream; the caller frees. */
char *streams_read(struct containerd *c, int fd, size_t *ret_len);

int task_create(struct containerd *c, const char *id, const char *bundle, const struct streams *s,
		bool terminal, struct err *err);
int task_exec(struct containerd *c, const char *id, const char *exec_id, const char *script,
	      const struct streams *s, bool terminal, struct err *err);
int task_start(struct containerd *c, const char *id, const char *exec_id, struct err *err);
int task_kill(struct containerd *c, const char *id, const char *exec_id, int signal,
	      struct err *err);
int task_close_io(struct containerd *c, const char *id, const char *exec_id, struct err *err);
/* task_state: the status' number, or -errno. */
int task_state(struct containerd *c, const char *id, const char *exec_id);
/* task_wait: the exit status, or -errno. */
int task_wait(struct containerd *c, const char *id, const char *exec_id);
/* task_delete: the exit status, or -errno. */
int task_delete(struct containerd *c, const char *id, const char *exec_id, struct err *err);
int task_shutdown(struct containerd *c, const char *id);
/* task_end_daemon: until the daemon's process has ended (5 s). */
void task_end_daemon(struct containerd *c);
