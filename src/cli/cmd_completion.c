/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "cli/commands.h"

static int run_completion(struct cli *cli, struct err *err)
{
	if (cli_print_completion(cli->args.v[0]) == 0)
		return CLI_OK;
	err_setx(err, -EINVAL, "completion is there for bash, zsh and fish");
	return CLI_USAGE;
}

const struct cli_command cmd_completion = {
	.name = "completion",
	.arguments = "bash|zsh|fish",
	.summary = "Print a completion script for a shell",
	.min_args = 1,
	.max_args = 1,
	.hidden = true,
	.run = run_completion,
};
