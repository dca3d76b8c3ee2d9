/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/metrics.h"

#include <string.h>

#include "base/test.h"

static void items_are_katas(void **state)
{
	static const char *const pairs[][2] = {
		{"MemTotal", "mem_total"},
		{"Active(anon)", "active_anon"},
		{"HugePages_Total", "hugepages_total"},
		{"Hugepagesize", "hugepagesize"},
		{"AnonHugePages", "anon_hugepages"},
		{"KReclaimable", "k_reclaimable"},
		{"DirectMap4k", "direct_map_4k"},
		{"DirectMap1G", "direct_map_1G"},
		{"Committed_AS", "committed_as"},
		{"NFS_Unstable", "nfs_unstable"},
		{"Buffers", "buffers"},
		{"SUnreclaim", "s_unreclaim"},
		{"", ""},
	};
	char item[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		metrics_item(pairs[i][0], item, sizeof(item));
		assert_string_equal(item, pairs[i][1]);
	}
}

static void long_items_are_cut(void **state)
{
	char item[8];

	(void)state;
	metrics_item("AaAaAaAaAaAa", item, sizeof(item));
	assert_true(strlen(item) < sizeof(item));
	metrics_item("((((((((((((", item, sizeof(item));
	assert_true(strlen(item) < sizeof(item));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_are_katas),
		cmocka_unit_test(long_items_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
