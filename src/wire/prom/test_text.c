/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/prom/text.h"

#include <math.h>

#include "base/test.h"

static void samples(void **state)
{
	_cleanup_(buf_fini) struct buf b = {0};

	(void)state;
	prom_family(&b, "x_total", "counter", "What it\nis \\ was");
	prom_sample(&b, "x_total", 3, "a", "q\"uo\\te\n", "b", "", NULL);
	prom_sample(&b, "x_total", 0.5, NULL);
	prom_sample(&b, "x_total", NAN, NULL);
	prom_sample(&b, "x_total", -INFINITY, NULL);
	prom_sample(&b, "x_total", 123456789012.0, NULL);
	assert_string_equal(b.data, "# HELP x_total What it\\nis \\\\ was\n"
				    "# TYPE x_total counter\n"
				    "x_total{a=\"q\\\"uo\\\\te\\n\",b=\"\"} 3\n"
				    "x_total 0.5\n"
				    "x_total NaN\n"
				    "x_total -Inf\n"
				    "x_total 123456789012\n");
}

static void histograms_are_cumulative(void **state)
{
	static const double bounds[] = {1, 2.5};
	_cleanup_(buf_fini) struct buf b = {0};
	struct prom_histogram h = {0};

	(void)state;
	prom_observe(&h, bounds, 2, 1);
	prom_observe(&h, bounds, 2, 2);
	prom_observe(&h, bounds, 2, 9);
	prom_histogram(&b, "h", &h, bounds, 2, "action", "x");
	assert_string_equal(b.data, "h_bucket{action=\"x\",le=\"1\"} 1\n"
				    "h_bucket{action=\"x\",le=\"2.5\"} 2\n"
				    "h_bucket{action=\"x\",le=\"+Inf\"} 3\n"
				    "h_sum{action=\"x\"} 12\n"
				    "h_count{action=\"x\"} 3\n");
	b.len = 0;
	prom_histogram(&b, "h", &h, bounds, 0, NULL, NULL);
	assert_string_equal(b.data, "h_bucket{le=\"+Inf\"} 3\nh_sum 12\nh_count 3\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples),
		cmocka_unit_test(histograms_are_cumulative),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
