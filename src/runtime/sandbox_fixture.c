/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/sandbox_fixture.h"

#include "base/log.h"
#include "fakes/own_run.h"

struct loop *loop;
struct config *config;
struct sandbox *sandbox;
struct buf heard; /* what the listener was told */
Grpc__Spec spec = GRPC__SPEC__INIT;
Grpc__Process process = GRPC__PROCESS__INIT;
static Grpc__Root root = GRPC__ROOT__INIT;
static char *args[] = {(char *)"/bin/true"};

static void on_exit_of_process(void *arg, const char *container_id, const char *exec_id, pid_t pid,
			       uint32_t status, uint64_t when)
{
	(void)arg;
	(void)pid;
	assert_true(when > 0);
	assert_null(co_self());
	buf_addf(&heard, "exit:%s/%s=%u ", container_id, exec_id, status);
}

static void on_died(void *arg, const char *reason)
{
	(void)arg;
	assert_null(co_self());
	buf_addf(&heard, "died:%s ", reason);
}

const struct sandbox_listener listener = {.process_exited = on_exit_of_process, .died = on_died};

unsigned int count(const char *text, const char *word)
{
	unsigned int n = 0;

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
		n++;
	return n;
}

void in_coroutine(void (*fn)(void))
{
	test_in_coroutine(loop, fn);
}

int set_up(void **state)
{
	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	config = config_default();
	config->agent.dial_timeout = 1;
	config->factory.enable_template = false;
	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("none");
	fake_vm_plan = (struct fake_vm_plan){0};
	fake_vm_log_clear();
	buf_fini(&heard);
	heard = (struct buf){0};
	buf_adds(&heard, "");
	assert_int_equal(fs_mkdir_all("/run/bundle/rootfs", 0755), 0);
	spec.process = &process;
	spec.root = &root;
	root.path = (char *)"rootfs";
	process.args = args;
	process.n_args = 1;
	process.cwd = (char *)"/";
	return 0;
}

void no_leftovers(void)
{
	assert_false(fs_exists(PERSIST_ROOT "/s1"));
	assert_false(fs_exists(PERSIST_VM_ROOT "/s1"));
	assert_false(fs_exists(SHARE_ROOT "/s1"));
}

int tear_down(void **state)
{
	(void)state;
	sandbox_free(TAKE_PTR(sandbox));
	/* Coroutines let go of it one after the other. */
	for (int i = 0; i < 300 && !fake_vm_gone(); i++)
		loop_round(loop, 10 * USEC_PER_MSEC);
	for (int i = 0; i < 10; i++)
		loop_round(loop, 1000);
	assert_true(fake_vm_gone());
	loop_free(TAKE_PTR(loop));
	config_free(TAKE_PTR(config));
	fake_vm_log_clear();
	buf_fini(&heard);
	heard = (struct buf){0};
	no_leftovers();
	return 0;
}

void make(void)
{
	_cleanup_err_ struct err err = {0};

	if (sandbox_new(loop, config, "s1", "/run/bundle", NULL, &listener, &sandbox, &err) < 0)
		fail_msg("%s", err_text(&err));
}

void start(void)
{
	_cleanup_err_ struct err err = {0};

	make();
	if (sandbox_start(sandbox, &spec, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(sandbox_running(sandbox));
}

int create(const char *id, struct err *err)
{
	const struct container_request request = {
		.id = id,
		.bundle = "/run/bundle",
		.spec = &spec,
		.rootfs = "/run/bundle/rootfs",
	};

	return container_create(sandbox, &request, err);
}

void run(const char *id)
{
	_cleanup_err_ struct err err = {0};
	pid_t pid;

	if (create(id, &err) < 0 || container_start(sandbox, id, "", &pid, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(pid > 0 && pid != getpid());
}

void stop(void)
{
	_cleanup_err_ struct err err = {0};

	assert_int_equal(sandbox_stop(sandbox, &err), 0);
	/* Twice is as once. */
	assert_int_equal(sandbox_stop(sandbox, &err), 0);
	no_leftovers();
}

int sandbox_fixture_main(const struct CMUnitTest *tests, size_t n)
{
	log_open("test", STDERR_FILENO, LOG_FORMAT_LOGFMT,
		 getenv("KATA_TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	if (getenv("KATA_TEST_ONLY"))
		cmocka_set_test_filter(getenv("KATA_TEST_ONLY"));
	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return _cmocka_run_group_tests("sandbox", tests, n, NULL, NULL);
}
