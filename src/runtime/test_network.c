/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "config/config.h"
#include "fakes/fake_vm.h"
#include "fakes/own_run.h"
#include "kernel/tap.h"
#include "loop/test.h"
#include "runtime/persist.h"
#include "runtime/sandbox.h"
#include "wire/netlink/tc.h"

/*
 * The pod's namespace is that of a child, with a veth pair whose two ends are both taken for
 * endpoints, which is as good as two interfaces.
 */

static struct loop *loop;
static char netns[64];
static pid_t pod;
static void in_coroutine(void (*fn)(void))
{
	test_in_coroutine(loop, fn);
}

/* Calls fn with a socket into the new namespace, and stays there. */
static void make_pod(int (*fn)(struct nl *nl))
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pod = fork();
	if (pod == 0) {
		struct nl nl = NL_CLOSED;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) < 0 || nl_open(&nl, NETLINK_ROUTE) < 0 || fn(&nl) < 0)
			_exit(1);
		(void)!write(ready[1], "r", 1);
		pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", pod);
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	fake_vm_plan = (struct fake_vm_plan){0};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (pod > 0) {
		kill(pod, SIGKILL);
		waitpid(pod, NULL, 0);
	}
	pod = 0;
	loop_free(TAKE_PTR(loop));
	fake_vm_log_clear();
	return 0;
}

/* A dummy is no endpoint; not every kernel has it. */
static int only_lo(struct nl *nl)
{
	link_add(nl, "dummy0", "dummy");
	return 0;
}

static void open_network(struct network *network)
{
	_cleanup_err_ struct err err = {0};

	if (network_plan(network, netns, USEC_NEVER, &err) < 0 ||
	    network_join(network, netns, USEC_NEVER, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void empty_body(void)
{
	struct network *network = xnew(struct network);
	struct strv none = {0};

	open_network(network);
	assert_int_equal(network->n_endpoints, 0);
	network_close(network, netns, &none);
	free(network);
}

static void empty(void **state)
{
	(void)state;
	make_pod(only_lo);
	in_coroutine(empty_body);
}

static int a_pod(struct nl *nl)
{
	struct route route = {.family = AF_INET};
	struct neigh neigh = {.has_mac = true, .state = NUD_PERMANENT};
	struct link link = {0};
	struct ip ip;
	int r;

	r = link_add_veth(nl, "eth0", "net1");
	if (r >= 0)
		r = link_get(nl, "eth0", &link);
	if (r >= 0)
		r = link_set_mtu(nl, link.index, 1450);
	ip_parse("10.88.0.7/24", &ip);
	if (r >= 0)
		r = addr_add(nl, link.index, &ip);
	if (r >= 0)
		r = link_set_up(nl, link.index, true);
	route.index = neigh.index = link.index;
	ip_parse("10.88.0.1", &route.gateway);
	route.gateway.prefix = 32;
	if (r >= 0)
		r = route_add(nl, &route);
	neigh.ip = route.gateway;
	mac_parse("02:00:00:00:00:01", neigh.mac);
	return r < 0 ? r : neigh_add(nl, &neigh);
}

static bool ingress_is_there(const char *name)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(closep) int fd = open(netns, O_RDONLY | O_CLOEXEC);
	struct link link;

	assert_int_equal(nl_open_at(&nl, NETLINK_ROUTE, fd), 0);
	assert_int_equal(link_get(&nl, name, &link), 0);
	if (tc_ingress_add(&nl, link.index) == -EEXIST)
		return true;
	assert_int_equal(tc_ingress_remove(&nl, link.index), 0);
	return false;
}

static bool link_is_there(const char *name)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(closep) int fd = open(netns, O_RDONLY | O_CLOEXEC);
	struct link link;

	assert_int_equal(nl_open_at(&nl, NETLINK_ROUTE, fd), 0);
	return link_get(&nl, name, &link) == 0;
}

static void check_snapshot(const struct network *network)
{
	const struct network_endpoint *eth0 = NULL;

	assert_int_equal(network->n_endpoints, 2);
	for (size_t i = 0; i < 2; i++)
		if (strcmp(network->endpoints[i].name, "eth0") == 0)
			eth0 = &network->endpoints[i];
	assert_non_null(eth0);
	assert_int_equal(eth0->mtu, 1450);
	assert_int_equal(strlen(eth0->mac), 17);
	assert_true(network->endpoints[0].tap_fd >= 0);
	assert_true(network->endpoints[1].tap_fd >= 0);
	assert_int_equal(network->n_addrs, 1);
	assert_int_equal(network->addrs[0].ip.prefix, 24);
	/* The kernel's own route to 10.88.0.0/24 is not among them. */
	assert_int_equal(network->n_routes, 1);
	assert_int_equal(network->n_neighs, 1);
}

static void check_guest(struct network *network)
{
	struct agent_client *agent;
	struct fake_agent *fake;
	struct err err = {0};
	int pair[2];

	assert_int_equal(fd_socketpair(pair), 0);
	fake = fake_agent_new(loop, pair[0], false, FAKE_GOOD);
	assert_int_equal(agent_open(loop, pair[1], NULL, NULL, &agent, &err), 0);
	strcpy(network->endpoints[0].address.pci_path, "02/01");
	if (network_tell_guest(network, agent, clock_after(5 * USEC_PER_SEC), &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_non_null(strstr(fake_agent_log(fake), " if:eth0,"));
	assert_non_null(strstr(fake_agent_log(fake), ",1450,10.88.0.7/24"));
	assert_non_null(strstr(fake_agent_log(fake), ",02/01,"));
	assert_non_null(strstr(fake_agent_log(fake), " route:,10.88.0.1,eth0"));
	assert_non_null(strstr(fake_agent_log(fake), " neigh:10.88.0.1,02:00:00:00:00:01,eth0"));
	agent_free(agent);
	fake_agent_free(fake);
	co_sleep(150 * USEC_PER_MSEC);
}

static void joined_body(void)
{
	struct network *network = xnew(struct network);
	struct strv names = {0};

	open_network(network);
	check_snapshot(network);
	assert_true(link_is_there("tap0_kata"));
	assert_true(ingress_is_there("eth0"));
	check_guest(network);
	strv_add(&names, "eth0");
	strv_add(&names, "net1");
	strv_add(&names, "gone0");
	network_close(network, netns, &names);
	assert_false(link_is_there("tap0_kata"));
	assert_false(ingress_is_there("net1"));
	strv_fini(&names);
	free(network);
}

static void joined(void **state)
{
	(void)state;
	make_pod(a_pod);
	in_coroutine(joined_body);
}

/* What a crash has left is joined anew. */
static void twice_body(void)
{
	struct network *network = xnew(struct network);
	struct strv none = {0};

	open_network(network);
	network_close(network, netns, &none);
	open_network(network);
	assert_int_equal(network->n_endpoints, 2);
	network_close(network, netns, &none);
	free(network);
}

static void twice(void **state)
{
	(void)state;
	make_pod(a_pod);
	in_coroutine(twice_body);
}

/* Somebody has the name of the second tap: the first interface is as it was when the boot has
 * failed, in memory and from what a crash would leave on disk. */
static int a_pod_with_a_tap(struct nl *nl)
{
	int r = a_pod(nl);

	return r < 0 ? r : tap_open("tap1_kata");
}

static void half_joined_body(void)
{
	_cleanup_(config_freep) struct config *config = config_default();
	_cleanup_err_ struct err err = {0};
	struct sandbox *sandbox;

	assert_int_equal(sandbox_new(loop, config, "s1", NULL, netns, NULL, &sandbox, &err), 0);
	assert_int_equal(sandbox_start(sandbox, NULL, &err), -EBUSY);
	assert_non_null(strstr(err_text(&err), "make a tap for"));
	assert_true(link_is_there("tap1_kata"));
	assert_false(link_is_there("tap0_kata"));
	assert_false(ingress_is_there("eth0"));
	assert_false(ingress_is_there("net1"));
	sandbox_free(sandbox);
	co_sleep(20 * USEC_PER_MSEC);
}

static void half_joined(void **state)
{
	(void)state;
	make_pod(a_pod_with_a_tap);
	in_coroutine(half_joined_body);
}

/* A spare has no network until it is a pod's, whose cards are plugged in then. */
static void adopt_spare(struct config *config, int wanted)
{
	_cleanup_err_ struct err err = {0};
	struct sandbox *sandbox;

	fake_vm_log_clear();
	assert_int_equal(sandbox_new(loop, config, "spare-1", NULL, NULL, NULL, &sandbox, &err), 0);
	assert_int_equal(sandbox_prepare(sandbox, &err), 0);
	assert_null(strstr(fake_vm_log(), "vm_add_device:net"));
	assert_false(ingress_is_there("eth0"));
	assert_int_equal(sandbox_adopt(sandbox, config, NULL, "s1", NULL, netns,
				       &(struct sandbox_listener){0}, &err),
			 0);
	assert_int_equal(sandbox_start(sandbox, NULL, &err), wanted);
	if (wanted < 0)
		assert_true(str_has_prefix(err_text(&err), "plug the pod's network in: "));
	else
		assert_non_null(strstr(fake_agent_log(fake_vm_agent()), ",1450,10.88.0.7/24"));
	assert_int_equal(ingress_is_there("eth0"), wanted == 0);
	assert_true(strstr(fake_vm_log(), "vm_add_device:net") > strstr(fake_vm_log(), "vm_move"));
	assert_int_equal(sandbox_stop(sandbox, &err), 0);
	assert_false(ingress_is_there("eth0"));
	assert_false(link_is_there("tap0_kata"));
	sandbox_free(sandbox);
	co_sleep(150 * USEC_PER_MSEC);
}

static void adopted_body(void)
{
	_cleanup_(config_freep) struct config *config = config_default();

	config->factory.enable_template = false;
	adopt_spare(config, 0);
	fake_vm_plan.fail = "vm_add_device:net0";
	adopt_spare(config, -EIO);
	fake_vm_plan.fail = NULL;
	adopt_spare(config, 0);
}

static void adopted(void **state)
{
	(void)state;
	make_pod(a_pod);
	in_coroutine(adopted_body);
}

static void crash_body(void)
{
	struct network *network = xnew(struct network);
	_cleanup_err_ struct err err = {0};
	struct persist disk;

	persist_init(&disk, "s1");
	persist_set(&disk.netns, netns);
	assert_int_equal(network_plan(network, netns, USEC_NEVER, &err), 0);
	/* A plan changes nothing, and names all that a join will change. */
	assert_false(ingress_is_there("net1"));
	for (size_t i = 0; i < network->n_endpoints; i++)
		strv_add(&disk.endpoints, network->endpoints[i].name);
	assert_int_equal(fs_mkdir_all(PERSIST_ROOT "/s1", 0700), 0);
	assert_int_equal(persist_save(&disk, &err), 0);
	persist_fini(&disk);
	assert_int_equal(network_join(network, netns, USEC_NEVER, &err), 0);
	assert_true(ingress_is_there("net1"));
	network_close(network, NULL, NULL);
	free(network);
}

static void crash(void **state)
{
	_cleanup_(config_freep) struct config *config = config_default();
	_cleanup_err_ struct err err = {0};

	(void)state;
	make_pod(a_pod);
	in_coroutine(crash_body);
	assert_int_equal(sandbox_cleanup("s1", NULL, 0, &err), 0);
	assert_false(ingress_is_there("eth0"));
	assert_false(ingress_is_there("net1"));
}

static void refused_body(void)
{
	struct network *network = xnew(struct network);
	_cleanup_err_ struct err err = {0};

	assert_int_equal(network_plan(network, "/proc/self/ns/net", USEC_NEVER, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "hostNetwork"));
	assert_int_equal(network_plan(network, "/does/not/exist", USEC_NEVER, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "/does/not/exist"));
	assert_int_equal(network_plan(network, "", USEC_NEVER, &err), 0);
	free(network);
}

static void refused(void **state)
{
	(void)state;
	in_coroutine(refused_body);
}

static int isolate(void)
{
	if (own_run_enter() < 0 || unshare(CLONE_NEWNET) < 0)
		return -1;
	return access("/dev/net/tun", R_OK | W_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(empty),       TEST(joined),  TEST(twice),
					   TEST(half_joined), TEST(adopted), TEST(crash),
					   TEST(refused)};

	if (isolate() < 0)
		skip_program("needs a network namespace and /dev/net/tun");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
