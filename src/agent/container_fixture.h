/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests of containers: the agent as an ordinary process in namespaces of its own, driven over a
 * UNIX socket, with a root file system made of busybox. Needs root.
 */

#include <errno.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test.h"
#include "loop/co.h"
#include "wire/ttrpc/ttrpc.h"

#define SERVICE "grpc.AgentService"
#define S(text) ((char *)(uintptr_t)(text))

extern struct fixture_state {
	char *dir, *rootfs, *address;
	pid_t pid; /* the helper above the agent's PID namespace */
	struct loop *loop;
	struct ttrpc_client *client;
	struct strv kept; /* text that lives as long as the tests */
	bool has_groups;  /* there is a hierarchy of version 2 to make groups in */
	bool is_guest;    /* it is one (KATA_TEST_GUEST): what is done to the machine is lost */
	bool own_run;     /* set before fixture_main(): the agent has a /run of its own */
} t;

/* fixture_main: run the tests (FIXTURE_TEST) of a program; they run in a coroutine. */
int fixture_main(const struct CMUnitTest *tests, size_t n);
void fixture_run(void **state);
/* These skip a test where there are no groups of version 2, none with all controllers, or where the
 * machine is not a guest whose clock may be set. */
void fixture_run_groups(void **state);
void fixture_run_controllers(void **state);
void fixture_run_guest(void **state);

#define FIXTURE_ROW(name, run)                                                 \
	{                                                                      \
		"test_" #name, run, NULL, NULL, (void *)(uintptr_t)body_##name \
	}
#define FIXTURE_TEST(name)             FIXTURE_ROW(name, fixture_run)
#define FIXTURE_TEST_GROUPS(name)      FIXTURE_ROW(name, fixture_run_groups)
#define FIXTURE_TEST_CONTROLLERS(name) FIXTURE_ROW(name, fixture_run_controllers)
#define FIXTURE_TEST_GUEST(name)       FIXTURE_ROW(name, fixture_run_guest)
#define FIXTURE_MAIN(...)                                        \
	int main(void)                                           \
	{                                                        \
		const struct CMUnitTest tests[] = {__VA_ARGS__}; \
		return fixture_main(tests, ARRAY_SIZE(tests));   \
	}

/* call_method: the response (may be NULL) is the caller's. */
int call_method(const char *method, const void *request, const ProtobufCMessageDescriptor *output,
		void *ret, struct err *err);
#define CALL(method, request, type, ret, err) \
	call_method(method, &(request)->base, &type##__descriptor, ret, err)
#define CALL_EMPTY(method, request, err) \
	call_method(method, &(request)->base, &google__protobuf__empty__descriptor, NULL, err)

/* A specification with what most images expect; the test changes it. */
struct fixture {
	Grpc__CreateContainerRequest request;
	Grpc__Spec spec;
	Grpc__Process process;
	Grpc__User user;
	Grpc__Root root;
	Grpc__Linux linux_;
	Grpc__LinuxCapabilities caps;
	Grpc__Mount mounts[16], *mount_list[16];
	char *options[16][8];
	char *args[16], *env[8], *cap_names[4][8];
	Grpc__LinuxNamespace namespaces[8], *namespace_list[8];
	Grpc__LinuxDevice device, *device_list[1];
	Grpc__POSIXRlimit rlimit, *rlimit_list[1];
	char *masked[4], *readonly[4];
	uint32_t gids[4];
};

#define ARGS(...)                 \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}

/* Filling the specification; text must live on. options: separated by commas. */
void add_mount(struct fixture *f, const char *destination, const char *type, const char *source,
	       const char *options);
void add_namespace(struct fixture *f, const char *type, const char *path);
void set_args(struct fixture *f, const char *const *args);
void fixture_init(struct fixture *f, const char *id, const char *const *args);

/* The calls: 0 or -errno, or what they give. */
int create(struct fixture *f, struct err *err);
int start(const char *id, struct err *err);
int remove_container(const char *id, struct err *err);
int exec(struct fixture *f, const char *id, const char *exec_id, struct err *err);
int wait_process(const char *id, const char *exec_id);
/* The same, and the output stays open as long as a descendant holds it. */
int wait_process_held(const char *id, const char *exec_id);
int signal_process(const char *id, const char *exec_id, int signo);
ssize_t read_once(const char *id, const char *exec_id, bool is_stdout, uint32_t len,
		  struct buf *out);
/* expect_line: the next that the container prints is this. */
void expect_line(const char *id, const char *line);
char *read_all(const char *id, const char *exec_id, bool is_stdout);
int write_stdin(const char *id, const char *exec_id, const void *p, size_t n);
int close_stdin(const char *id, const char *exec_id);

/* run: create, start, all of its output, and remove. */
char *run(struct fixture *f, int *ret_status);
char *run_script(const char *script, void (*change)(struct fixture *f));

/* A shell script in a container that `change` (may be NULL) has altered: its output is `wanted`. */
void check_script(const char *script, void (*change)(struct fixture *f), const char *wanted);

/* Creating it fails with the code and the text, and leaves nothing. */
void check_refused(void (*change)(struct fixture *f), int code, const char *text);
