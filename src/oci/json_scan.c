/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/json_scan.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/str.h"

/* A document that itself has such a string where a number belongs only says that number. */
#define MARK "u64\x7f"

/* The end of the string that starts behind p - 1. */
static size_t skip_string(const char *p, size_t n, size_t i)
{
	for (; i < n && p[i] != '"'; i++)
		if (p[i] == '\\')
			i++;
	return MIN(i + 1, n);
}

/* The end of the run of characters that a number may have. */
static size_t skip_number(const char *p, size_t n, size_t i)
{
	while (i < n && (isalnum((unsigned char)p[i]) || strchr("+-.", p[i])))
		i++;
	return i;
}

static bool needs_quotes(const char *token, size_t n)
{
	char digits[24];
	uint64_t value;

	/* 2^63 has 19 digits, 2^64 - 1 has 20. */
	if (n < 19 || n > 20 || *token == '0')
		return false;
	memcpy(digits, token, n);
	digits[n] = '\0';
	return parse_u64(digits, &value) == 0 && value > INT64_MAX;
}

int json_scan(const char *json, size_t n, size_t max, unsigned int depth_max, char **ret,
	      struct err *err)
{
	_cleanup_(buf_fini) struct buf out = {0};
	unsigned int depth = 0;
	size_t i = 0;

	if (n > max)
		return err_setx(err, -EFBIG, "%zu bytes exceed %zu", n, max);
	if (memchr(json, 0, n))
		return err_setx(err, -EINVAL, "a NUL byte in JSON text");
	buf_reserve(&out, n);
	while (i < n) {
		size_t end = i + 1;
		bool quote = false;

		if (json[i] == '"') {
			end = skip_string(json, n, end);
		} else if (isdigit((unsigned char)json[i])) {
			end = skip_number(json, n, end);
			quote = needs_quotes(json + i, end - i);
		} else if (json[i] == '-') {
			end = skip_number(json, n, end);
		} else if ((json[i] == '{' || json[i] == '[') && ++depth > depth_max) {
			return err_setx(err, -EINVAL, "nested deeper than %u", depth_max);
		} else if ((json[i] == '}' || json[i] == ']') && depth > 0) {
			depth--;
		}
		if (quote)
			buf_adds(&out, "\"" MARK);
		buf_add(&out, json + i, end - i);
		if (quote)
			buf_addc(&out, '"');
		i = end;
	}
	*ret = buf_take(&out);
	return 0;
}

int json_scan_u64(const char *s, uint64_t *ret)
{
	const char *digits = str_skip_prefix(s, MARK);

	return digits ? parse_u64(digits, ret) : -EINVAL;
}
