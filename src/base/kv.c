/* SPDX-License-Identifier: Apache-2.0 */
#include "base/kv.h"

#include <stdint.h>
#include <stdio.h>

#include "base/utf8.h"

void kv_json_string(struct buf *b, const char *s)
{
	buf_addc(b, '"');
	for (const char *p = s; *p;) {
		size_t n = utf8_length(p, SIZE_MAX);

		if (n == 0) {
			buf_adds(b, "\xef\xbf\xbd");
			p++;
			continue;
		}
		if (*p == '"' || *p == '\\')
			buf_addf(b, "\\%c", *p);
		else if (*p == '\n')
			buf_adds(b, "\\n");
		else if (*p == '\t')
			buf_adds(b, "\\t");
		else if ((unsigned char)*p < 0x20 || *p == 0x7f)
			buf_addf(b, "\\u%04x", *p);
		else
			buf_add(b, p, n);
		p += n;
	}
	buf_addc(b, '"');
}

void kv_json(struct buf *b, const char *key, const char *value)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_addc(b, ',');
	kv_json_string(b, key);
	buf_addc(b, ':');
	kv_json_string(b, value);
}

void kv_logfmt(struct buf *b, const char *key, const char *value)
{
	if (b->len)
		buf_addc(b, ' ');
	buf_adds(b, key);
	buf_addc(b, '=');
	for (const unsigned char *p = (const unsigned char *)value;; p++) {
		if (!*p && p != (const unsigned char *)value) {
			buf_adds(b, value);
			return;
		}
		if (!*p || *p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p >= 0x7f)
			break;
	}
	kv_json_string(b, value);
}

/*
 * The Gregorian date of a day counted from 1970-01-01. In years that begin in March the leap day is
 * the last one, and a 400-year era always has 146097 days. gmtime_r(3) would do, but reads the time
 * zone first, for which a static program gets 90 KB of libc.
 */
static void date_of(uint64_t days, unsigned int *year, unsigned int *month, unsigned int *day)
{
	uint64_t shifted = days + 719468; /* days from 0000-03-01 */
	uint64_t era = shifted / 146097;
	unsigned int of_era = (unsigned int)(shifted % 146097);
	unsigned int year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) /
				   365;
	unsigned int of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned int march_month = (5 * of_year + 2) / 153;

	*day = of_year - (153 * march_month + 2) / 5 + 1;
	*month = march_month < 10 ? march_month + 3 : march_month - 9;
	*year = (unsigned int)(era * 400) + year_of_era + (*month <= 2);
}

void kv_time(char out[32], uint64_t realtime_usec)
{
	uint64_t seconds = realtime_usec / 1000000;
	unsigned int of_day = (unsigned int)(seconds % 86400), year, month, day;

	date_of(seconds / 86400, &year, &month, &day);
	/* The remainders tell the compiler how long each number can be. */
	snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", year % 10000, month % 100,
		 day % 100, of_day / 3600, of_day / 60 % 60, of_day % 60,
		 (unsigned int)(realtime_usec % 1000000));
}
