/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/str.h"
#include "builder/bzimage.h"
#include "builder/decompress.h"
#include "builder/elf64.h"

/* What kata-guest-image does with a kernel file of unknown origin: header, payload, ELF. */

#define OUTPUT_MAX (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_elf(const void *data, size_t n)
{
	char release[64];
	uint32_t entry;
	char *copy;

	if (n == 0)
		return;
	copy = xmemdup(data, n);
	elf64_linux_release(copy, n, release, sizeof(release));
	elf64_needs_interpreter(copy, n);
	if (elf64_pvh_entry(copy, n, &entry) == 0 && elf64_trim(copy, &n) == 0 &&
	    elf64_pvh_entry(copy, n, &entry) < 0)
		abort(); /* what is left of a kernel must still be one */
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bzimage image;

	use_elf(data, size);
	if (bzimage_parse(data, size, &image) == 0) {
		struct buf out = {0};

		decompress(image.payload, image.payload_len, OUTPUT_MAX, &out, NULL);
		use_elf(out.data, out.len);
		buf_fini(&out);
	}
	return 0;
}
