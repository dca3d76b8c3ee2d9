/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One struct for each file cmd_….c, and what several of them need. */

#include "cli/cli.h"
#include "config/config.h"

extern const struct cli_command cmd_check, cmd_completion, cmd_env, cmd_exec, cmd_factory, cmd_list,
	cmd_metrics, cmd_run, cmd_version;
/* cmd_unsupported.c: Kata's commands that are not served; ends with a row without name. */
extern const struct cli_command cmd_direct_volume, cmd_iptables, cmd_policy;

/* load_config: the file of --config, or as config_load(NULL). */
int load_config(const struct cli *cli, struct config **ret, struct err *err);
/* print_version: the three lines of --version. */
void print_version(void);
