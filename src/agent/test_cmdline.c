/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cmdline.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/test.h"

static struct agent_config parse(const char *text)
{
	struct agent_config config;

	cmdline_defaults(&config);
	cmdline_parse(&config, text, strlen(text));
	return config;
}

static void known_parameters(void **state)
{
	struct agent_config c = parse(
		"quiet agent.log=debug panic=1 agent.log_vport=1025 agent.debug_console "
		"agent.debug_console_vport=1026 agent.channel=vsock agent.hotplug_timeout=7\n");

	(void)state;
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c.log_vport, 1025);
	assert_true(c.debug_console);
	assert_int_equal(c.debug_console_vport, 1026);
	assert_int_equal(c.channel, AGENT_CHANNEL_VSOCK);
	assert_int_equal(c.hotplug_timeout, 7 * USEC_PER_SEC);
	assert_int_equal(c.bad, 0);
}

static void the_root_is_a_disk(void **state)
{
	struct agent_config c = parse("root=/dev/pmem0p1 rootflags=dax,errors=remount-ro ro "
				      "rootfstype=ext4");

	(void)state;
	assert_string_equal(c.root, "/dev/pmem0p1");
	assert_string_equal(c.root_flags, "dax,errors=remount-ro");
	assert_string_equal(c.root_type, "ext4");
	c = parse("root=PARTUUID=1234-01 rootfstype=abcdefghijklmnopqrstuvwxyzabcdefgh");
	assert_string_equal(c.root, "");
	assert_string_equal(c.root_type, "");
	assert_int_equal(c.bad, 1);
	c = parse("root=/dev/../etc/passwd");
	assert_string_equal(c.root, "");
}

static void defaults_hold(void **state)
{
	struct agent_config c = parse("");

	(void)state;
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	assert_int_equal(c.channel, AGENT_CHANNEL_AUTO);
	assert_false(c.debug_console);
	assert_true(c.unified_cgroup);
	assert_string_equal(c.server_addr, "");
}

static void bad_values_are_counted_and_skipped(void **state)
{
	struct agent_config c = parse("agent.log=loud agent.log_vport=-1 agent.hotplug_timeout=0 "
				      "agent.channel=pigeon agent.container_pipe_size=99999999 "
				      "agent.server_addr=");

	(void)state;
	assert_int_equal(c.bad, 6);
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	assert_int_equal(c.log_vport, 0);
	assert_int_equal(c.container_pipe_size, 0);
}

static void quotes_protect_blanks(void **state)
{
	struct agent_config c = parse(
		"foo=\"agent.log=debug x\" agent.server_addr=\"unix:///a b\"");

	(void)state;
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	assert_string_equal(c.server_addr, "unix:///a b");
}

static void overlong_words_are_skipped(void **state)
{
	char text[2048];
	struct agent_config c;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "agent.server_addr=", 18);
	memcpy(text + sizeof(text) - 17, " agent.log=debug", 17);
	c = parse(text);
	assert_string_equal(c.server_addr, "");
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
}

static void stops_at_nul_and_bound(void **state)
{
	static const char nul[] = "a\0agent.log=debug";
	struct agent_config c;
	char *text = malloc(CMDLINE_MAX + 32);

	(void)state;
	cmdline_defaults(&c);
	cmdline_parse(&c, nul, sizeof(nul));
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	memset(text, ' ', CMDLINE_MAX + 32);
	memcpy(text + CMDLINE_MAX, " agent.log=debug", 16);
	cmdline_parse(&c, text, CMDLINE_MAX + 32);
	assert_int_equal(c.log_level, LOG_LEVEL_INFO);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_parameters),
		cmocka_unit_test(the_root_is_a_disk),
		cmocka_unit_test(defaults_hold),
		cmocka_unit_test(bad_values_are_counted_and_skipped),
		cmocka_unit_test(quotes_protect_blanks),
		cmocka_unit_test(overlong_words_are_skipped),
		cmocka_unit_test(stops_at_nul_and_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
