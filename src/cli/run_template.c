/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/run_template.h"

#include "base/log.h"
#include "base/spawn.h"
#include "cli/cli.h"

static void make_command(const struct run_template_order *order, const char *key,
			 const char *config, struct strv *ret)
{
	strv_add(ret, CLI_PROGRAM);
	if (*config)
		strv_addf(ret, "--config=%s", config);
	for (size_t i = 0; i < order->log_options->n; i++)
		strv_add(ret, order->log_options->v[i]);
	strv_add(ret, "factory");
	strv_add(ret, "init");
	strv_addf(ret, "--background=%s", key);
	if (order->allow_emulation)
		strv_add(ret, "--allow-emulation");
}

void run_template_order(const struct run_template_order *order)
{
	const char *config, *key = sandbox_wanted_template(order->sandbox, &config);
	_cleanup_(strv_fini) struct strv argv = {0};
	/* This very program, also when another version has been installed since. */
	struct spawn spawn = {
		.path = "/proc/self/exe",
		.in = -1,
		.out = -1,
		.err = -1,
		.mntns_fd = order->mounts,
		.new_session = true,
	};
	pid_t pid;

	if (!key)
		return;
	make_command(order, key, config, &argv);
	spawn.argv = argv.v;
	pid = spawn_start(&spawn);
	if (pid < 0)
		log_warn("have template %.12s made: %s", key, strerror(-pid));
	else
		log_info("template %.12s is being made in the background", key);
}
