/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "runtime/template_build.h"
#include "shim/background.h"
#include "shim/cmd.h"

/*
 * How it works: a shim starts this program once more to make a template (background.h), so that it
 * neither holds what is the pod's nor ends with the pod.
 */

/* What others do or want is no failure. */
static bool is_failure(int r)
{
	return r < 0 && r != -EBUSY && r != -ESTALE;
}

int cmd_template(const struct options *options, struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	const struct template_wish wish = {.key = options->id, .at_once = true};
	_cleanup_(template_fini) struct template t;
	uint64_t began;
	int r;

	template_init(&t);
	background_begin(options);
	began = clock_now();
	r = config_load(*options->config ? options->config : NULL, &config, err);
	if (r < 0)
		return r;
	r = template_build_alone(config, &wish, &t, err);
	if (r > 0)
		log_info("template %.12s is ready: %" PRIu64
			 " MiB, made in the background in %.1f s",
			 t.key, t.memory_used >> 20,
			 (double)(clock_now() - began) / (double)USEC_PER_SEC);
	else if (is_failure(r))
		log_warn("no template could be made, sandboxes of this configuration boot: %s",
			 err_text(err));
	return is_failure(r) ? r : 0;
}
