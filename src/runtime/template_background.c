/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/template_build.h"

#define NICENESS 19

/* What others do or want is no failure. */
static bool is_failure(int r)
{
	return r < 0 && r != -EBUSY && r != -ESTALE;
}

int template_build_in_background(struct config *config, const char *key, struct err *err)
{
	const struct template_wish wish = {.key = key, .at_once = true};
	_cleanup_(template_fini) struct template t;
	uint64_t began = clock_now();
	int r;

	template_init(&t);
	(void)setpriority(PRIO_PROCESS, 0, NICENESS);
	r = template_build_alone(config, &wish, &t, err);
	if (r > 0)
		log_info("template %.12s is ready: %" PRIu64
			 " MiB, made in the background in %.1f s",
			 t.key, t.memory_used >> 20,
			 (double)(clock_now() - began) / (double)USEC_PER_SEC);
	if (is_failure(r)) {
		log_warn("no template could be made, sandboxes of this configuration boot: %s",
			 err_text(err));
		return r;
	}
	err_clear(err);
	return 0;
}
