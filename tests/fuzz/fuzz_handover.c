/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the order that makes a spare the shim of a sandbox. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/path.h"
#include "shim/handover.h"

#define PROGRAM "kata" /* what a seed begins with */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(handover_fini) struct handover h = {.serve = {.listener = -1, .mounts = -1}};
	int r = handover_parse((const char *)data, size, PROGRAM, &h);
	const struct serve *s = &h.serve;

	if (r != 0 && r != -EBADMSG && r != -ESTALE)
		abort();
	if (r != 0)
		return 0;
	if (!path_is_id(s->id) || !path_is_clean(s->bundle) || *s->bundle != '/' || !s->socket)
		abort();
	if (!s->options->namespace || !s->options->publish_binary || !s->options->address)
		abort();
	if (!s->caller->address || !s->caller->ttrpc_address || !s->caller->config_path)
		abort();
	return 0;
}
