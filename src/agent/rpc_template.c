/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "agent/modules.h"
#include "agent/rpc.h"
#include "base/fs.h"
#include "loop/co.h"

/*
 * A guest that is about to be saved, to become a sandbox only in its clones: what each of them
 * would need first is loaded, and what none of them needs is given back, since every page that was
 * written is copied for every clone.
 */

#define MODULES_WANTED_MAX 64U
#define PREPARE_TIME       (60 * USEC_PER_SEC)

static int prepare_in_child(void *arg, _unused_ void *reply)
{
	const Grpc__PrepareTemplateRequest *request = arg;

	for (size_t i = 0; i < request->n_modules; i++) {
		int r = modules_load(request->modules[i]);

		if (r < 0)
			return r;
	}
	sync();
	/* Page cache, dentries and inodes of the initramfs. */
	return fs_write("/proc/sys/vm/drop_caches", "3");
}

RPC(prepare_template)
{
	const Grpc__PrepareTemplateRequest *request = request_;
	int r;

	(void)response_;
	if (!rpc_agent(call)->is_init)
		return err_setx(err, -ENOSYS,
				"a template is a whole guest, which this agent does not have");
	if (request->n_modules > MODULES_WANTED_MAX)
		return err_setx(err, -E2BIG, "%zu modules, at most %u", request->n_modules,
				MODULES_WANTED_MAX);
	r = co_run_child(prepare_in_child, (void *)request_, NULL, 0,
			 MIN(ttrpc_call_deadline(call), clock_after(PREPARE_TIME)));
	return r < 0 ? err_set(err, r, "prepare the guest to be a template") : 0;
}
