/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests of the sandbox: a fake VM and a fake agent, but the real mounts, in namespaces of the
 * test's own with a tmpfs as /run.
 */

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/config.h"
#include "fakes/fake_vm.h"
#include "loop/test.h"
#include "runtime/model.h"
#include "runtime/persist.h"
#include "runtime/sandbox.h"
#include "runtime/share.h"

/* Made anew for each test. */
extern struct loop *loop;
extern struct config *config;
extern struct sandbox *sandbox; /* "s1", by make() */
extern struct buf heard;        /* what the listener was told: "exit:c1/=0 died:reason " */
extern Grpc__Spec spec;         /* of a container that runs /bin/true */
extern Grpc__Process process;   /* its own */
extern const struct sandbox_listener listener;

int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* in_coroutine: run fn in a coroutine to its end. */
void in_coroutine(void (*fn)(void));
/* make: the sandbox. start: make it and boot it. stop: end it, twice, and look for leftovers. */
void make(void);
void start(void);
void stop(void);
void no_leftovers(void);
/* create: a container of `spec`. run: create and start it. */
int create(const char *id, struct err *err);
void run(const char *id);
/* count: how often word is in text. */
unsigned int count(const char *text, const char *word);

/* sandbox_fixture_main: run the tests (TEST) of a program. */
int sandbox_fixture_main(const struct CMUnitTest *tests, size_t n);
#define SANDBOX_TESTS(...)                                             \
	int main(void)                                                 \
	{                                                              \
		const struct CMUnitTest tests[] = {__VA_ARGS__};       \
		return sandbox_fixture_main(tests, ARRAY_SIZE(tests)); \
	}
