/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

size_t utf8_length(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t length = p[0] < 0x80   ? 1
			: p[0] < 0xc2 ? 0
			: p[0] < 0xe0 ? 2
			: p[0] < 0xf0 ? 3
			: p[0] < 0xf5 ? 4
				      : 0;

	if (length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return length;
}

void utf8_fix(char *s, size_t n)
{
	for (size_t i = 0, length; i < n; i += length) {
		length = utf8_length(s + i, n - i);
		if (length == 0) {
			s[i] = '?';
			length = 1;
		}
	}
}

static bool is_control(const unsigned char *s)
{
	if (*s == '\n' || *s == '\t')
		return false;
	return *s < 0x20 || *s == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

void utf8_clean(char *s)
{
	size_t n = strlen(s);

	utf8_fix(s, n);
	for (size_t i = 0, length; i < n; i += length) {
		length = utf8_length(s + i, n - i);
		if (is_control((const unsigned char *)s + i))
			memset(s + i, '?', length);
	}
}
