/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the head of an HTTP request, as they arrive piece by piece. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/http/unix_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;

	for (size_t n = 0; n <= size; n++) {
		struct http_request request = {0};
		int r = http_request_parse(p, n, &request);

		if (r == 0 && n < HTTP_HEAD_MAX)
			continue;
		if (r < 0 && r != -EBADMSG && r != -ENOTSUP && r != -EMSGSIZE)
			abort();
		if (r == 0 || (size_t)abs(r) > n + EMSGSIZE + ENOTSUP)
			abort();
		if (r > 0 && ((size_t)r > n || request.path < p || request.n_path == 0 ||
			      request.path + request.n_path > p + r || request.path[0] != '/'))
			abort();
		return 0;
	}
	return 0;
}
