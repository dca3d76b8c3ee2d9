/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line, and lines of kata.ondemand. */
#include <stdlib.h>
#include <string.h>

#include "agent/cmdline.h"
#include "agent/modules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *blank = memchr(data, '\n', size);
	struct agent_config config;

	cmdline_defaults(&config);
	cmdline_parse(&config, (const char *)data, size);
	if (blank && size < 4096) {
		size_t n = (size_t)(blank - data);
		char *wanted = strndup((const char *)blank + 1, size - n - 1);

		if (wanted)
			modules_line_matches((const char *)data, n, wanted);
		free(wanted);
	}
	return 0;
}
