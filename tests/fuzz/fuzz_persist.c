/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a sandbox's state file: what it names is killed and removed later. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/path.h"
#include "runtime/persist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_err_ struct err err = {0};
	struct persist p, again;

	if (persist_parse((const char *)data, size, &p, &err) < 0) {
		if (!err.msg)
			abort();
		return 0;
	}
	if (!path_is_id(p.id) || p.n_processes > PERSIST_PIDS_MAX)
		abort();
	for (size_t i = 0; i < p.n_processes; i++)
		if (p.processes[i].pid <= 1)
			abort();
	/* What was read can be written, and read again. */
	text = persist_format(&p);
	if (persist_parse(text, strlen(text), &again, NULL) < 0 || !streq(p.id, again.id) ||
	    p.n_processes != again.n_processes || p.cgroups.n != again.cgroups.n)
		abort();
	persist_fini(&again);
	persist_fini(&p);
	return 0;
}
