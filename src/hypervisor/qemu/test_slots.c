/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "hypervisor/qemu/slots.h"

static void test_root_bus(_unused_ void **state)
{
	struct slots s;
	struct slot slot;
	int n = 0;

	slots_init(&s);
	assert_int_equal(slots_take(&s, true, &slot), -ENOSPC); /* no bridge yet */
	assert_int_equal(slots_take(&s, false, &slot), 0);
	assert_string_equal(slot.bus, "pcie.0");
	assert_string_equal(slot.path, "01"); /* 0 is the host bridge */
	for (n = 1; slots_take(&s, false, &slot) == 0; n++)
		assert_int_not_equal(slot.number, 31); /* ICH9 */
	assert_int_equal(n, 30);
}

static void test_bridges(_unused_ void **state)
{
	struct slots s;
	struct slot slot, first;

	slots_init(&s);
	assert_int_equal(slots_add_bridge(&s, "pci-bridge-0", 2, 1, 32), 2);
	assert_int_equal(slots_add_bridge(&s, "other", 2, 1, 32), -ENOSPC); /* taken */
	assert_int_equal(slots_add_bridge(&s, "rp0", 0, 0, 1), 1);
	assert_int_equal(slots_take(&s, true, &first), 0);
	assert_string_equal(first.bus, "pci-bridge-0");
	assert_string_equal(first.path, "02/01");
	for (int i = 2; i < 32; i++) {
		assert_int_equal(slots_take(&s, true, &slot), 0);
		assert_int_equal(slot.number, i);
	}
	assert_string_equal(slot.path, "02/1f");
	assert_int_equal(slots_take(&s, true, &slot), 0);
	assert_string_equal(slot.bus, "rp0");
	assert_string_equal(slot.path, "01/00");
	assert_int_equal(slots_take(&s, true, &slot), -ENOSPC);
	slots_release(&s, &first);
	assert_int_equal(slots_take(&s, true, &slot), 0);
	assert_string_equal(slot.path, "02/01");
}

static void test_too_many(_unused_ void **state)
{
	struct slots s;
	int n = 0;

	slots_init(&s);
	while (slots_add_bridge(&s, "rp", 0, 0, 1) >= 0)
		n++;
	assert_int_equal(n, 30);
	assert_int_equal(slots_add_bridge(&s, "rp", 40, 0, 1), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_bus),
		cmocka_unit_test(test_bridges),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
