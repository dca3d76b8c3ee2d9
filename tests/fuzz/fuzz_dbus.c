/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "wire/dbus/dbus.h"

/* What a bus sends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dbus_message m;
	size_t at = 0;
	int r = 1;

	while (r > 0 && at < size) {
		r = dbus_parse(data + at, size - at, &m);
		if (r > (int)(size - at) || (r > 0 && m.text && !memchr(m.text, 0, (size_t)r)))
			abort();
		at += r > 0 ? (size_t)r : 0;
	}
	return 0;
}
