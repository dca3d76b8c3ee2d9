/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writer of the Prometheus text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
 */

#include "base/str.h"

/* prom_family: the HELP and TYPE lines; type: "gauge", "counter", "histogram" … */
void prom_family(struct buf *b, const char *name, const char *type, const char *help);
/*
 * prom_sample: one sample of the family. labels: pairs of name and value, ended by NULL;
 * label values may be anything, they are escaped. Whole numbers are written as such.
 */
void prom_sample(struct buf *b, const char *name, double value, ...) __attribute__((sentinel));
/* prom_single: a family with one sample and no labels. */
void prom_single(struct buf *b, const char *name, const char *type, const char *help, double value);

/* A histogram with fixed upper bounds. */
#define PROM_BUCKETS_MAX 16U

struct prom_histogram {
	unsigned long count[PROM_BUCKETS_MAX]; /* not cumulative; above the last bound: in n only */
	unsigned long n;
	double sum;
};

/* prom_observe: add a value; bounds ascend, n_bounds <= PROM_BUCKETS_MAX. */
void prom_observe(struct prom_histogram *h, const double *bounds, size_t n_bounds, double value);
/* prom_histogram: its _bucket, _sum and _count samples with one label (NULL: none). */
void prom_histogram(struct buf *b, const char *name, const struct prom_histogram *h,
		    const double *bounds, size_t n_bounds, const char *label,
		    const char *label_value);
