/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One record of key=value pairs, as a line of logfmt or JSON. */

#include <stdint.h>

#include "base/str.h"

/* kv_logfmt: append " key=value" (quoted and escaped where needed; no space at the start). */
void kv_logfmt(struct buf *b, const char *key, const char *value);
/* kv_json: append ",\"key\":\"value\"" (no comma at the start or after '{'). Invalid UTF-8 becomes
 * U+FFFD. */
void kv_json(struct buf *b, const char *key, const char *value);
/* kv_json_string: append the quoted and escaped JSON string alone. */
void kv_json_string(struct buf *b, const char *s);
/* kv_time: RFC 3339 in UTC with µs of a CLOCK_REALTIME instant, into 32 bytes. */
void kv_time(char out[32], uint64_t realtime_usec);
