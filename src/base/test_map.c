/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

static void test_put_get_remove(_unused_ void **state)
{
	struct map m = {0};
	int a, b;
	char key[] = "key";

	assert_null(map_get(&m, "key"));
	assert_null(map_remove(&m, "key"));
	assert_null(map_put(&m, key, &a));
	memset(key, 'x', 3); /* the map has a copy */
	assert_ptr_equal(map_get(&m, "key"), &a);
	assert_ptr_equal(map_put(&m, "key", &b), &a);
	assert_int_equal(m.n, 1);
	assert_ptr_equal(map_remove(&m, "key"), &b);
	assert_null(map_get(&m, "key"));
	assert_int_equal(m.n, 0);
	map_fini(&m);
}

/* Against an array, with many collisions and removals. */
static void test_like_an_array(_unused_ void **state)
{
	enum { KEYS = 300 };
	static int values[KEYS];
	bool present[KEYS] = {0};
	struct map m = {0};
	size_t n = 0, seen = 0;

	srand(1);
	for (int i = 0; i < 20000; i++) {
		int k = rand() % KEYS;
		char key[16];

		snprintf(key, sizeof(key), "%d", k);
		if (rand() % 2) {
			assert_ptr_equal(map_put(&m, key, &values[k]),
					 present[k] ? &values[k] : NULL);
			n += !present[k];
			present[k] = true;
		} else {
			assert_ptr_equal(map_remove(&m, key), present[k] ? &values[k] : NULL);
			n -= present[k];
			present[k] = false;
		}
		assert_int_equal(m.n, n);
	}
	for (int k = 0; k < KEYS; k++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", k);
		assert_ptr_equal(map_get(&m, key), present[k] ? &values[k] : NULL);
	}
	map_for_each (e, &m) {
		assert_ptr_equal(e->value, &values[atoi(e->key)]);
		seen++;
	}
	assert_int_equal(seen, n);
	map_fini(&m);
	map_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_get_remove),
		cmocka_unit_test(test_like_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
