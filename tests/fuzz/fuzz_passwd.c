/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the /etc/passwd of an image, which the agent reads with its own rights. */
#include <stdint.h>
#include <stdlib.h>

#include "agent/init/init.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = xstrndup((const char *)data, size);
	static const uid_t users[] = {0, 1000, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		_cleanup_(freep) char *home = passwd_home(text, users[i]);

		/* A field of that text, or the root. */
		if (str_empty(home) || strpbrk(home, ":\n") ||
		    (!streq(home, "/") && !strstr(text, home)))
			abort();
	}
	return 0;
}
