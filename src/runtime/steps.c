/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/steps.h"

#include "base/clock.h"
#include "base/log.h"

void steps_undo(const struct step *steps, size_t n, void *context)
{
	while (n--) {
		uint64_t began = clock_now();

		if (!steps[n].undo)
			continue;
		steps[n].undo(context);
		log_debug("undo \"%s\": %llu us", steps[n].name,
			  (unsigned long long)(clock_now() - began));
	}
}

int steps_run(const struct step *steps, size_t n, void *context, uint64_t *deadline,
	      void (*explain)(void *context, struct err *err), struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t began = clock_now();
		int r;

		*deadline = steps[i].timeout ? clock_after(steps[i].timeout) : USEC_NEVER;
		r = steps[i].enter(context, err);
		log_debug("%s: %llu us", steps[i].name, (unsigned long long)(clock_now() - began));
		if (r >= 0)
			continue;
		err_wrap(err, r, "%s", steps[i].name);
		if (explain)
			explain(context, err);
		steps_undo(steps, i + 1, context);
		return r;
	}
	return 0;
}
