/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ttRPC, the protocol between containerd and its shims and between the runtime and the agent
 * (github.com/containerd/ttrpc, PROTOCOL.md: a 10-byte header, then a protobuf message of
 * proto/ttrpc.proto). Messages are protobuf-c's, generated from proto/.
 *
 * Every call has an arena: the request is unpacked there, the handler may allocate there, and all
 * of it is freed at once after the reply. What a peer can make us hold is bounded: TTRPC_FRAME_MAX
 * a frame, TTRPC_ARENA_MAX a call, TTRPC_CALLS_MAX calls and TTRPC_BACKLOG_MAX unsent bytes a
 * connection.
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"

#define TTRPC_FRAME_MAX   (4U << 20)
#define TTRPC_ARENA_MAX   (16U << 20)
#define TTRPC_CALLS_MAX   4096U
#define TTRPC_BACKLOG_MAX (16U << 20)

/* gRPC's status codes, which ttRPC uses (google.golang.org/grpc/codes). */
enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELLED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_ABORTED = 10,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
	TTRPC_DATA_LOSS = 15,
	TTRPC_UNAUTHENTICATED = 16,
};

/* ttrpc_code_of: the status code of a negative errno (ENOENT: NOT_FOUND …; anything else: UNKNOWN).
 */
enum ttrpc_code ttrpc_code_of(int r);
/* ttrpc_errno_of: the reverse, a negative errno, with ttrpc_errno_of(ttrpc_code_of(r)) == r for
 * those in the table; TTRPC_UNKNOWN gives -EREMOTEIO. */
int ttrpc_errno_of(enum ttrpc_code code);

/* --- server --- */

struct ttrpc_server;
struct ttrpc_call;

/*
 * A method. It runs in a coroutine of its own (loop/co.h), so it may wait. `request` is the
 * unpacked message; `response` is an initialised message of the method's output type, to be filled
 * with memory of the call's arena or of static storage. Returns 0: the response is sent;
 * TTRPC_PARKED: somebody has kept `call` and will answer it with ttrpc_call_reply() or
 * ttrpc_call_fail(), later or already; a negative errno: err's text is sent with the code of
 * ttrpc_code_of(r), or with err's own code where set through err_set.
 */
#define TTRPC_PARKED 1
typedef int (*ttrpc_method_fn)(struct ttrpc_call *call, const void *request, void *response,
			       struct err *err);

struct ttrpc_method {
	const char *name; /* "Create" */
	const ProtobufCMessageDescriptor *input, *output;
	ttrpc_method_fn fn;
};

struct ttrpc_service {
	const char *name; /* "containerd.task.v2.Task" */
	const struct ttrpc_method *methods;
	size_t n_methods;
};

/* ttrpc_server_new: `user` is what ttrpc_call_user() gives to methods (not owned). */
int ttrpc_server_new(struct loop *loop, void *user, struct ttrpc_server **ret);
/* ttrpc_server_free: closes listeners and connections; calls still running answer into the void. */
void ttrpc_server_free(struct ttrpc_server *server);
DEFINE_CLEANUP(struct ttrpc_server *, ttrpc_server_free)
/* ttrpc_server_add: serve `service` (static storage). A method that is not in the table, or a
 * service that was not added, answers UNIMPLEMENTED with its full name. */
void ttrpc_server_add(struct ttrpc_server *server, const struct ttrpc_service *service);
/* ttrpc_server_listen: accept connections on a listening socket, which becomes the server's. */
int ttrpc_server_listen(struct ttrpc_server *server, int fd);
/* ttrpc_server_admit: close accepted connections for which fn says no; NULL: take all. */
typedef bool (*ttrpc_admit_fn)(int fd);
void ttrpc_server_admit(struct ttrpc_server *server, ttrpc_admit_fn fn);
/* ttrpc_server_attach: serve one connected stream (socket, serial port), which becomes the
 * server's. */
int ttrpc_server_attach(struct ttrpc_server *server, int fd);
/* ttrpc_server_serve: the same in a coroutine, and wait until that stream has ended. */
int ttrpc_server_serve(struct ttrpc_server *server, int fd);
/* ttrpc_server_observe: called after every call with its duration, for metrics; NULL turns off. */
typedef void (*ttrpc_observe_fn)(void *user, const char *service, const char *method, int code,
				 uint64_t usec);
void ttrpc_server_observe(struct ttrpc_server *server, ttrpc_observe_fn fn);

void *ttrpc_call_user(const struct ttrpc_call *call);
const char *ttrpc_call_method(const struct ttrpc_call *call);
/* ttrpc_call_deadline: monotonic instant from the request's timeout_nano; USEC_NEVER without one.
 */
uint64_t ttrpc_call_deadline(const struct ttrpc_call *call);
/* ttrpc_call_metadata: the first value of a metadata key, or NULL. */
const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key);
/* Arena memory: zeroed, aligned for anything, never NULL (a call over TTRPC_ARENA_MAX while
 * unpacking is answered RESOURCE_EXHAUSTED before its method runs; what methods allocate is their
 * own business and aborts when there is none). */
void *ttrpc_call_alloc(struct ttrpc_call *call, size_t size);
char *ttrpc_call_strdup(struct ttrpc_call *call, const char *s);
char *ttrpc_call_printf(struct ttrpc_call *call, const char *fmt, ...) _printf_(2, 3);
/*
 * ttrpc_call_on_gone: for a parked call, or one whose method still runs: call fn once if the
 * connection ends or the deadline passes before the answer; NULL takes it back. The call must still
 * be ended, by ttrpc_call_fail() (which then sends nothing where nobody listens) or by the method's
 * return.
 */
typedef void (*ttrpc_gone_fn)(struct ttrpc_call *call, void *arg);
void ttrpc_call_on_gone(struct ttrpc_call *call, ttrpc_gone_fn fn, void *arg);
/* ttrpc_call_reply, ttrpc_call_fail: end a parked call, exactly once; the call is gone afterwards.
 */
void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response);
void ttrpc_call_fail(struct ttrpc_call *call, int r, const char *fmt, ...) _printf_(3, 4);
/*
 * ttrpc_call_sendable: wait (in a coroutine) until less than `low` unsent bytes are queued on the
 * call's connection, for bulk data with back-pressure. 0, or -EPIPE when the peer is gone.
 */
int ttrpc_call_sendable(struct ttrpc_call *call, size_t low);

/* --- client --- */

struct ttrpc_client;

/*
 * ttrpc_client_new: speak over a connected stream, which becomes the client's. `closed` (may be
 * NULL) is called once, from the loop, when the peer has gone or broken the protocol; calls under
 * way then fail with -EPIPE ("connection closed: <reason>").
 */
typedef void (*ttrpc_closed_fn)(void *arg, const char *reason);
int ttrpc_client_new(struct loop *loop, int fd, ttrpc_closed_fn closed, void *arg,
		     struct ttrpc_client **ret);
void ttrpc_client_free(struct ttrpc_client *client);
DEFINE_CLEANUP(struct ttrpc_client *, ttrpc_client_free)

/* ttrpc_client_add_metadata: send this pair with every call from now on; a key may have several
 * values. Both are UTF-8. */
void ttrpc_client_add_metadata(struct ttrpc_client *client, const char *key, const char *value);

/*
 * ttrpc_client_call: call from a coroutine and wait until the answer or the deadline (monotonic µs;
 * it travels as timeout_nano; -ETIMEDOUT when it passes, USEC_NEVER: none). *ret is the unpacked
 * response (NULL: not wanted), freed with protobuf_c_message_free_unpacked(…, NULL). A status that
 * is not OK comes back as -errno of ttrpc_errno_of() with the peer's text in err.
 */
int ttrpc_client_call(struct ttrpc_client *client, const char *service, const char *method,
		      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		      uint64_t deadline, ProtobufCMessage **ret, struct err *err);

/*
 * ttrpc_client_send: the same without a coroutine: `done` is called from the loop exactly once,
 * also when the client is freed (-ECANCELED, from within ttrpc_client_free). `response` belongs to
 * `done` (NULL unless r == 0). `message` says what went wrong, NULL when r == 0. Returns 0, or a
 * negative errno when nothing was sent, and then `done` is not called: -EPIPE (the connection is
 * closed), -EMSGSIZE (over TTRPC_FRAME_MAX), -ENOBUFS (the peer does not read, or too many calls).
 */
typedef void (*ttrpc_done_fn)(void *arg, int r, const char *message, ProtobufCMessage *response);
int ttrpc_client_send(struct ttrpc_client *client, const char *service, const char *method,
		      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		      uint64_t deadline, ttrpc_done_fn done, void *arg);
