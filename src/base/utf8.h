/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* UTF-8 as RFC 3629 defines it, which protobuf's strings and JSON have to be. */

#include <stddef.h>

/* utf8_length: bytes of the character at s, of which not more than n bytes are looked at (SIZE_MAX:
 * up to its NUL); 0 when it is none: a stray byte, an overlong form, a surrogate, cut off. */
size_t utf8_length(const char *s, size_t n);
/* utf8_fix: put a '?' in place of every byte of s that belongs to no character. */
void utf8_fix(char *s, size_t n);
/* utf8_clean: make text harmless to print and to pass on, in place: utf8_fix() to its NUL, and a
 * '?' for each byte of a control character but "\n" and "\t" (ESC, DEL and the C1 set included). */
void utf8_clean(char *s);
