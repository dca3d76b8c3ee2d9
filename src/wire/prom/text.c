/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/prom/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static void add_escaped(struct buf *b, const char *s, bool quotes)
{
	for (; *s; s++) {
		if (*s == '\\')
			buf_adds(b, "\\\\");
		else if (*s == '\n')
			buf_adds(b, "\\n");
		else if (*s == '"' && quotes)
			buf_adds(b, "\\\"");
		else
			buf_addc(b, *s);
	}
}

void prom_family(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_addf(b, "# HELP %s ", name);
	add_escaped(b, help, false);
	buf_addf(b, "\n# TYPE %s %s\n", name, type);
}

static void add_label(struct buf *b, bool *first, const char *name, const char *value)
{
	buf_addf(b, "%c%s=\"", *first ? '{' : ',', name);
	add_escaped(b, value, true);
	buf_addc(b, '"');
	*first = false;
}

static void add_value(struct buf *b, double value)
{
	if (isnan(value))
		buf_adds(b, " NaN\n");
	else if (isinf(value))
		buf_adds(b, value > 0 ? " +Inf\n" : " -Inf\n");
	else if (value == (double)(long long)value && fabs(value) < 1e15)
		buf_addf(b, " %lld\n", (long long)value);
	else
		buf_addf(b, " %.17g\n", value);
}

void prom_sample(struct buf *b, const char *name, double value, ...)
{
	const char *label;
	bool first = true;
	va_list ap;

	buf_adds(b, name);
	va_start(ap, value);
	while ((label = va_arg(ap, const char *)) != NULL)
		add_label(b, &first, label, va_arg(ap, const char *));
	va_end(ap);
	if (!first)
		buf_addc(b, '}');
	add_value(b, value);
}

void prom_single(struct buf *b, const char *name, const char *type, const char *help, double value)
{
	prom_family(b, name, type, help);
	prom_sample(b, name, value, NULL);
}

void prom_observe(struct prom_histogram *h, const double *bounds, size_t n_bounds, double value)
{
	for (size_t i = 0; i < n_bounds; i++) {
		if (value <= bounds[i]) {
			h->count[i]++;
			break;
		}
	}
	h->n++;
	h->sum += value;
}

static void add_bucket(struct buf *b, const char *name, const char *label, const char *label_value,
		       const char *bound, unsigned long count)
{
	bool first = true;

	buf_addf(b, "%s_bucket", name);
	if (label)
		add_label(b, &first, label, label_value);
	add_label(b, &first, "le", bound);
	buf_addf(b, "} %lu\n", count);
}

void prom_histogram(struct buf *b, const char *name, const struct prom_histogram *h,
		    const double *bounds, size_t n_bounds, const char *label,
		    const char *label_value)
{
	_cleanup_(freep) char *sum = xasprintf("%s_sum", name), *n = xasprintf("%s_count", name);
	unsigned long total = 0;

	for (size_t i = 0; i < n_bounds; i++) {
		char bound[32];

		snprintf(bound, sizeof(bound), "%g", bounds[i]);
		total += h->count[i];
		add_bucket(b, name, label, label_value, bound, total);
	}
	add_bucket(b, name, label, label_value, "+Inf", h->n);
	prom_sample(b, sum, h->sum, label, label_value, NULL);
	prom_sample(b, n, (double)h->n, label, label_value, NULL);
}
