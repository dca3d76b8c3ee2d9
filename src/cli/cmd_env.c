/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/env.h"
#include "cli/sandboxes.h"

static int make_tree(struct cli *cli, json_t **ret, struct err *err)
{
	int r;

	if (cli->args.n) {
		struct sandbox_view view;

		r = sandbox_view_load(cli, cli->args.v[0], &view, err);
		if (r < 0)
			return r;
		*ret = env_sandbox(cli, &view);
		sandbox_view_fini(&view);
	} else {
		_cleanup_(config_freep) struct config *config = NULL;

		r = load_config(cli, &config, err);
		if (r < 0)
			return r;
		*ret = env_host(config);
	}
	return 0;
}

static int run_env(struct cli *cli, struct err *err)
{
	_cleanup_(buf_fini) struct buf out = {0};
	json_t *tree;

	if (make_tree(cli, &tree, err) < 0)
		return CLI_FAILED;
	if (cli_has(cli, "json")) {
		json_dumpf(tree, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		env_toml(tree, &out);
		fputs(out.data, stdout);
	}
	json_decref(tree);
	return CLI_OK;
}

static const struct cli_option options[] = {
	{.name = "json", .help = "print JSON instead of TOML"},
	{.name = NULL},
};

const struct cli_command cmd_env = {
	.name = "env",
	.alias = "kata-env",
	.arguments = "[SANDBOX]",
	.summary = "Print the settings that are in force, or what a sandbox runs with",
	.details = "Works without an installation: what is missing is empty.",
	.options = options,
	.max_args = 1,
	.run = run_env,
};
