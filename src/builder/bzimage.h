/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Linux's x86 boot image: the setup header in front of a compressed ELF kernel
 * (Documentation/x86/boot.rst, protocol 2.08 and later, which has the payload fields).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No kernel comes near these; a file that says more is not one. */
#define BZIMAGE_MAX (128U << 20) /* bytes of a boot image */
#define VMLINUX_MAX (256U << 20) /* bytes of an uncompressed kernel */

struct bzimage {
	const uint8_t *payload; /* into the image: the compressed ELF and its trailing size */
	size_t payload_len;
	char release[128]; /* "6.1.0-56-cloud-amd64": the first word of the version text, or "" */
	char build[256];   /* the whole version text */
};

/* bzimage_detect: whether the bytes have the header's magic. */
bool bzimage_detect(const void *image, size_t n);
/*
 * bzimage_parse: check every offset of the header against n. Returns 0, -ENOEXEC (no boot image),
 * -ENOSYS (protocol older than 2.08) or -EBADMSG (an offset points outside).
 */
int bzimage_parse(const void *image, size_t n, struct bzimage *ret);
