/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"
#include "runtime/template_build.h"
#include "shim/background.h"
#include "shim/cmd.h"

/*
 * How it works: a shim starts this program once more to make a template (background.h), so that it
 * neither holds what is the pod's nor ends with the pod.
 */

int cmd_template(const struct options *options, struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	background_begin(options);
	r = config_load(*options->config ? options->config : NULL, &config, err);
	return r < 0 ? r : template_build_in_background(config, options->id, err);
}
