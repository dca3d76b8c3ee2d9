/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

static int run_version(_unused_ struct cli *cli, _unused_ struct err *err)
{
	print_version();
	return CLI_OK;
}

const struct cli_command cmd_version = {
	.name = "version",
	.arguments = "",
	.summary = "Print version, commit and OCI version",
	.run = run_version,
};
