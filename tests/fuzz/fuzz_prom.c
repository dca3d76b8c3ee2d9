/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the metrics of a guest: what is passed on is lines of its families, and nothing
 * else. */
#include <stdint.h>
#include <stdlib.h>

#include "base/str.h"
#include "wire/prom/copy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const prefixes[] = {"a_", "b_", NULL};
	_cleanup_(freep) char *text = xstrndup((const char *)data, size);
	_cleanup_(buf_fini) struct buf once = {0}, twice = {0};
	_cleanup_(strv_fini) struct strv lines = {0};

	prom_copy(&once, text, prefixes);
	if (!once.data)
		return 0;
	strv_split(&lines, once.data, "\n");
	for (size_t i = 0; i < lines.n; i++) {
		const char *line = lines.v[i];

		if (*line == '#')
			line += 7;
		if (!str_has_prefix(line, "a_") && !str_has_prefix(line, "b_"))
			abort();
		for (const unsigned char *p = (const unsigned char *)line; *p; p++)
			if (*p < ' ')
				abort();
	}
	/* It is well formed by its own standard, and not longer than it was. */
	prom_copy(&twice, once.data, prefixes);
	if (once.len > size + 1 || !streq(twice.data, once.data))
		abort();
	return 0;
}
