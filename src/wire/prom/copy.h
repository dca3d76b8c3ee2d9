/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The Prometheus text of a stranger. */

#include "base/str.h"

/*
 * prom_copy: append those lines of `text` that are samples without a time, or HELP and TYPE lines,
 * of families whose names begin with one of `prefixes` (ended by NULL). A line that is not exactly
 * of the format is left out, since one wrong line makes a scraper throw the whole page away.
 */
void prom_copy(struct buf *out, const char *text, const char *const *prefixes);
