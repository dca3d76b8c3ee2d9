/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Numbers from text, whole string or nothing. */

#include <stdbool.h>
#include <stdint.h>

/*
 * parse_u64, parse_i64, parse_u32: base 10, or 16 with 0x, or 8 with 0o; the whole string must be
 * one number without white space. Return 0, -EINVAL (not a number) or -ERANGE.
 */
int parse_u64(const char *s, uint64_t *ret);
int parse_i64(const char *s, int64_t *ret);
int parse_u32(const char *s, uint32_t *ret);
/* parse_octal: a file mode such as "0755" or "755". */
int parse_octal(const char *s, uint32_t *ret);
/* parse_size: bytes with an optional suffix K, M, G, T (powers of 1024, optional "i" and "B"). */
int parse_size(const char *s, uint64_t *ret);
/* parse_bool: 1/0, true/false, yes/no, on/off. */
int parse_bool(const char *s, bool *ret);
