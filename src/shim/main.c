/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd-shim-kata-v2: containerd and CRI-O call it to start the shim of a pod and to clean up
 * behind one. The daemon itself is serve.c. What it does for later pods, in processes of their own,
 * is cmd_template.c and cmd_spare.c.
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "shim/cmd.h"
#include "shim/options.h"
#include "shim/title.h"

static int run(const struct options *options, struct err *err)
{
	if (options->help) {
		fputs(options_help, stdout);
		return 0;
	}
	if (options->version) {
		printf("%s: kata-c %s\n", SHIM_NAME, KATA_VERSION);
		return 0;
	}
	if (options->info)
		return cmd_info(err);
	if (options->action == ACTION_TEMPLATE)
		return cmd_template(options, err);
	if (options->action == ACTION_SPARE)
		return cmd_spare(options, err);
	return options->action == ACTION_START ? cmd_start(options, err) : cmd_delete(options, err);
}

int main(int argc, char *argv[])
{
	_cleanup_err_ struct err err = {0};
	struct options options;
	int r = fd_null_stdio();

	title_init(argc, argv);
	if (r >= 0)
		r = options_parse(argc, argv, &options, &err);
	if (r >= 0)
		r = run(&options, &err);
	if (r >= 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "%s: %s\n", SHIM_NAME, err_text(&err));
	return EXIT_FAILURE;
}
