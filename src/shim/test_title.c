/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/title.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/test.h"

/* Arguments as the kernel puts them, one behind the other, and what comes behind these. */
static char memory[64];
static char *argv[3];

static const char *const nothing[] = {NULL};

static void set(const char *const *args)
{
	memset(memory, '#', sizeof(memory));
	memcpy(memory, "shim\0one\0twotwo", 16);
	argv[0] = memory;
	argv[1] = memory + 5;
	argv[2] = memory + 9;
	title_init(3, argv);
	title_set(args);
	/* Neither the name before it nor the environment behind it. */
	assert_string_equal(argv[0], "shim");
	for (size_t i = 16; i < sizeof(memory); i++)
		assert_int_equal(memory[i], '#');
}

static void fits(_unused_ void **state)
{
	static const char *const two[] = {"-id", "x", NULL}, *const full[] = {"-id", "123456",
									      NULL};

	set(two);
	assert_memory_equal(memory + 5, "-id\0x\0\0\0\0\0\0", 11);
	set(full);
	assert_memory_equal(memory + 5, "-id\000123456", 11);
}

static void is_too_long(_unused_ void **state)
{
	static const char *const second[] = {"-id", "1234567", "x", NULL};
	static const char *const first[] = {"12345678901", NULL}, *const empty[] = {"", "", NULL};

	/* Whole arguments or none, in their order. */
	set(second);
	assert_memory_equal(memory + 5, "-id\0\0\0\0\0\0\0\0", 11);
	set(first);
	assert_memory_equal(memory + 5, "\0\0\0\0\0\0\0\0\0\0\0", 11);
	set(nothing);
	assert_memory_equal(memory + 5, "\0\0\0\0\0\0\0\0\0\0\0", 11);
	set(empty);
}

static void without_arguments(_unused_ void **state)
{
	static const char *const args[] = {"x", NULL};

	/* main() may have been given none at all. */
	set(nothing);
	title_init(1, argv);
	title_set(args);
	title_init(0, argv);
	title_set(args);
}

/* Names of containers and namespaces, and containerd's address, at their longest. */
static void room(_unused_ void **state)
{
	size_t needed = strlen("-namespace -id -address start") + 1 + 2 * (76 + 1) + 107 + 1;

	assert_true(strlen(title_room) > needed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_arguments),
		cmocka_unit_test(fits),
		cmocka_unit_test(is_too_long),
		cmocka_unit_test(room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
