/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the program that called us, in which a list of Go modules is looked for. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shim/buildinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(closep) int fd = memfd_create("program", MFD_CLOEXEC);
	char path[64];
	int r;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = buildinfo_has_module(path, "github.com/containerd/containerd/v2");
	if (r > 1)
		abort();
	return 0;
}
