/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * json_scan: look over n bytes of JSON before the parser does. Refuses what is longer than max,
 * holds a NUL, or is nested deeper than depth_max (the parser recurses, and we may be in a
 * coroutine with a small stack). *ret is a copy, NUL-terminated, the caller's, in which integers
 * from 2^63 on are strings: jansson has no unsigned 64-bit numbers, and RLIM_INFINITY is one.
 * Returns 0, -EFBIG or -EINVAL. It does not check that it is JSON.
 */
int json_scan(const char *json, size_t n, size_t max, unsigned int depth_max, char **ret,
	      struct err *err);
/* json_scan_u64: the number in a string that json_scan has made of one; -EINVAL for other strings.
 */
int json_scan_u64(const char *s, uint64_t *ret);
