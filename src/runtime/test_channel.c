/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/stat.h>

#include "agent_client/dial.h"
#include "base/fd.h"
#include "base/fs.h"
#include "config/config.h"
#include "fakes/fake_vm.h"
#include "fakes/own_run.h"
#include "loop/test.h"
#include "runtime/sandbox.h"
#include "wire/serial.h"

/*
 * Which channel to the agent a boot chooses. The dial is a fake as well, since no vsock leads to
 * the test's own process.
 */

static struct loop *loop;
static struct config *config;
static struct agent_address dialled;
static struct fake_agent *vsock_agent;

int agent_dial(const struct agent_address *address, const struct agent_life *life, int *ret,
	       struct err *err)
{
	int pair[2];

	(void)life;
	(void)err;
	dialled = *address;
	if (address->transport == AGENT_SERIAL) {
		*ret = address->fd;
		return serial_open(address->fd, clock_after(5 * USEC_PER_SEC));
	}
	assert_int_equal(address->transport, AGENT_VSOCK);
	assert_int_equal(fd_socketpair(pair), 0);
	vsock_agent = fake_agent_new(loop, pair[0], false, FAKE_GOOD);
	*ret = pair[1];
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	config = config_default();
	config->factory.enable_template = false;
	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("none");
	fake_vm_plan = (struct fake_vm_plan){0};
	fake_vm_log_clear();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(TAKE_PTR(loop));
	config_free(TAKE_PTR(config));
	fake_vm_log_clear();
	return 0;
}

/* Boots and stops; the url is the sandbox's while it runs, the caller's to free. */
static char *boot(void)
{
	_cleanup_err_ struct err err = {0};
	struct sandbox_status status;
	struct sandbox *s;
	char *url;

	assert_int_equal(sandbox_new(loop, config, "s1", NULL, NULL, NULL, &s, &err), 0);
	sandbox_status(s, &status);
	assert_null(status.agent_url);
	if (sandbox_start(s, NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
	sandbox_status(s, &status);
	url = xstrdup(status.agent_url);
	assert_int_equal(sandbox_ping(s, USEC_PER_SEC, &err), 0);
	fake_agent_free(TAKE_PTR(vsock_agent));
	assert_int_equal(sandbox_stop(s, &err), 0);
	sandbox_free(s);
	co_sleep(250 * USEC_PER_MSEC);
	assert_true(fake_vm_gone());
	assert_false(fake_vm_vhost_open());
	return url;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void vsock_body(void)
{
	_cleanup_(freep) char *url = NULL, *wanted = NULL;

	fake_vm_plan = (struct fake_vm_plan){.no_agent = true,
					     .vhost_vsock = true,
					     .set_cid_error = -EADDRINUSE,
					     .n_set_cid = 3};
	url = boot();
	wanted = xasprintf("vsock://%u:1024", fake_vm_cid());
	assert_string_equal(url, wanted);
	assert_int_equal(dialled.transport, AGENT_VSOCK);
	assert_int_equal(dialled.cid, fake_vm_cid());
	assert_int_equal(dialled.port, 1024);
	assert_true(dialled.cid >= 3);
	/* Three context ids belonged to others. */
	assert_int_equal(count(fake_vm_log(), "set_cid"), 4);
	assert_non_null(strstr(fake_vm_log(), "vm_add_device:vsock0"));
	assert_null(strstr(fake_vm_log(), "vm_add_device:agent0"));
	/* The agent is told, and does not wait for a port. */
	assert_non_null(strstr(fake_vm_params(), " agent.channel=vsock"));
}

static void vsock(void **state)
{
	(void)state;
	test_in_coroutine(loop, vsock_body);
}

/* Whatever is wrong with vhost-vsock, there is the serial port. */
static void serial_body(void)
{
	static const struct fake_vm_plan plans[] = {
		{.vhost_vsock = false},
		{.vhost_vsock = true, .set_cid_error = -EPERM, .n_set_cid = 1},
		{.vhost_vsock = true, .set_cid_error = -EBUSY, .n_set_cid = 1},
		{.vhost_vsock = true, .set_cid_error = -EADDRINUSE, .n_set_cid = 1000000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		_cleanup_(freep) char *url = NULL;

		fake_vm_log_clear();
		fake_vm_plan = plans[i];
		url = boot();
		assert_string_equal(url, "port:org.kata-containers.agent.0");
		assert_int_equal(dialled.transport, AGENT_SERIAL);
		assert_non_null(strstr(fake_vm_log(), "vm_add_device:agent0"));
		assert_null(strstr(fake_vm_log(), "vsock0"));
		assert_null(strstr(fake_vm_params(), "agent.channel"));
	}
}

static void serial(void **state)
{
	(void)state;
	test_in_coroutine(loop, serial_body);
}

/* Asked for in the configuration. */
static void forced_body(void)
{
	_cleanup_(freep) char *url = NULL;

	fake_vm_plan.vhost_vsock = true;
	free(config->hypervisor.kernel_params);
	config->hypervisor.kernel_params = xstrdup("quiet agent.channel=serial");
	url = boot();
	assert_string_equal(url, "port:org.kata-containers.agent.0");
	assert_int_equal(count(fake_vm_log(), "set_cid"), 0);
}

static void forced(void **state)
{
	(void)state;
	test_in_coroutine(loop, forced_body);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(vsock), TEST(serial), TEST(forced)};

	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
