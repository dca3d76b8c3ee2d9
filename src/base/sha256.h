/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-256 (FIPS 180-4), for names and keys that must be the same everywhere. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE     32
#define SHA256_HEX_SIZE (2 * SHA256_SIZE + 1)

struct sha256 {
	uint32_t state[8];
	uint64_t length; /* bytes so far */
	uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
/* sha256_end: the digest of everything added; s must be initialised again before further use. */
void sha256_end(struct sha256 *s, uint8_t ret[SHA256_SIZE]);
/* sha256_format: a digest as 64 lower-case digits and a NUL. */
void sha256_format(const uint8_t digest[SHA256_SIZE], char ret[SHA256_HEX_SIZE]);
/* sha256_of: the digest of n bytes; sha256_hex: as 64 lower-case digits and a NUL. */
void sha256_of(const void *p, size_t n, uint8_t ret[SHA256_SIZE]);
void sha256_hex(const void *p, size_t n, char ret[SHA256_HEX_SIZE]);
/* sha256_is_hex: does the text look like one of those? */
bool sha256_is_hex(const char *text);
