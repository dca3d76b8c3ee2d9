/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a caller of `shim start` sends on standard input, and as a config.json that
 * says to which sandbox a container belongs. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/path.h"
#include "shim/bundle.h"
#include "shim/caller.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct options options = {"ns", "", "", "id", "", "", .action = ACTION_START};
	_cleanup_(bundle_group_fini) struct bundle_group group = {0};
	_cleanup_(caller_fini) struct caller caller = {0};
	_cleanup_err_ struct err err = {0};
	int r = caller_parse(&options, data, size, &caller, &err);

	if (r < 0 && (!err.msg || caller.address))
		abort();
	if (r >= 0 &&
	    (!caller.address || !caller.ttrpc_address || !caller.socket_dir || !caller.config_path))
		abort();
	err_clear(&err);
	r = bundle_group_parse((const char *)data, size, "id", &group, &err);
	if (r < 0 ? !err.msg || group.sandbox : !path_is_id(group.sandbox))
		abort();
	return 0;
}
