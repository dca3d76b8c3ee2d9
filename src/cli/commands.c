/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, in the order of --help, and the global options. */
#include "cli/commands.h"

#include <stdio.h>

#include "base/log.h"
#include "base/version.h"

/* clang-format off */
const struct cli_command *const cli_commands[] = {
	&cmd_check,
	&cmd_env,
	&cmd_list,
	&cmd_run,
	&cmd_exec,
	&cmd_metrics,
	&cmd_factory,
	&cmd_version,
	&cmd_direct_volume,
	&cmd_iptables,
	&cmd_policy,
	&cmd_completion,
	NULL,
};
/* clang-format on */

const struct cli_option cli_global_options[] = {
	{.name = "config",
	 .alias = "kata-config",
	 .value = "FILE",
	 .help = "the configuration file, instead of the default ones"},
	{.name = "log",
	 .value = "FILE",
	 .help = "where log lines go; default: warnings to standard error"},
	{.name = "log-format",
	 .value = "FORMAT",
	 .choices = "text|json",
	 .help = "of log lines: text (default) or json"},
	{.name = "root",
	 .value = "DIR",
	 .help = "where sandboxes keep their state; default: /run/vc"},
	{.name = "show-default-config-paths",
	 .alias = "kata-show-default-config-paths",
	 .help = "print where configuration files are looked for"},
	{.name = "rootless",
	 .value = "MODE",
	 .choices = "true|false|auto",
	 .hidden = true,
	 .help = "accepted for Kata's sake"},
	{.name = "systemd-cgroup", .hidden = true, .help = "accepted for Kata's sake"},
	{.name = "help", .letter = 'h', .help = "print help, of the program or of the command"},
	{.name = "version", .letter = 'v', .help = "print version, commit and OCI version"},
	{.name = NULL},
};

int load_config(const struct cli *cli, struct config **ret, struct err *err)
{
	int r = config_load(cli_value(cli, "config", NULL), ret, err);

	if (r >= 0 && (*ret)->runtime.enable_debug)
		log_set_level(LOG_LEVEL_DEBUG);
	return r;
}

void print_version(void)
{
	printf("%s  : %s\n", CLI_PROGRAM, version_text());
	printf("commit   : %s\n", version_commit());
	printf("OCI specs: %s\n", VERSION_OCI_SPEC);
}
