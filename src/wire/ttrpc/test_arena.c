/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

#include "agent.pb-c.h"
#include "base/cleanup.h"
#include "wire/ttrpc/arena.h"

static void test_own_memory_first(_unused_ void **state)
{
	_Alignas(16) char memory[256];
	struct arena arena;
	char *a, *b, *c;

	arena_init(&arena, memory, sizeof(memory), 100000);
	a = arena_try(&arena, 1);
	b = arena_try(&arena, 100);
	assert_ptr_equal(a, memory);
	assert_int_equal((uintptr_t)b % _Alignof(max_align_t), 0);
	assert_true(b > a && b < memory + sizeof(memory));
	assert_int_equal(arena.used, 0);
	c = arena_try(&arena, 200);
	assert_true(c < memory || c >= memory + sizeof(memory));
	assert_true(arena.used >= 200);
	arena_fini(&arena);
}

static void test_zeroed(_unused_ void **state)
{
	struct arena arena;

	arena_init(&arena, NULL, 0, 0); /* the limit does not bind arena_alloc */
	for (int i = 1; i < 300; i++) {
		char *p = arena_alloc(&arena, (size_t)i * 37);

		for (int k = 0; k < i * 37; k++)
			assert_int_equal(p[k], 0);
		memset(p, 0xaa, (size_t)i * 37);
	}
	arena_fini(&arena);
}

static void test_most(_unused_ void **state)
{
	struct arena arena;
	size_t total = 0;

	arena_init(&arena, NULL, 0, 100000);
	assert_null(arena_try(&arena, 100001));
	assert_true(arena.full);
	assert_null(arena_try(&arena, SIZE_MAX));
	assert_null(arena_try(&arena, SIZE_MAX - 3));
	while (arena_try(&arena, 1000))
		total += 1000;
	assert_in_range(total, 80000, 100000);
	assert_true(arena.used <= 100000);
	arena_fini(&arena);
	assert_int_equal(arena.used, 0);
}

/* Whatever the limit, unpacking either works or fails; nothing leaks, nothing crashes. */
static void test_unpack_under_every_limit(_unused_ void **state)
{
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__Storage storage = GRPC__STORAGE__INIT, *storages[] = {&storage, &storage};
	char *options[] = {"a", "b", "c"};
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Process process = GRPC__PROCESS__INIT;
	uint8_t packed[512];
	size_t n;
	int failed = 0, worked = 0;

	storage.n_options = 3;
	storage.options = options;
	storage.source = "somewhere";
	request.n_storages = 2;
	request.storages = storages;
	request.oci = &spec;
	spec.process = &process;
	process.args = options;
	process.n_args = 3;
	n = grpc__create_container_request__pack(&request, packed);
	for (size_t limit = 0; limit < 8192; limit += 8) {
		struct arena arena;
		struct budget budget;
		void *message;

		arena_init(&arena, NULL, 0, limit);
		message = grpc__create_container_request__unpack(&arena.allocator, n, packed);
		message ? worked++ : failed++;
		assert_true(message || arena.full);
		arena_fini(&arena);
		budget_init(&budget, limit);
		message = grpc__create_container_request__unpack(&budget.allocator, n, packed);
		if (message)
			protobuf_c_message_free_unpacked(message, NULL);
	}
	assert_true(worked > 0 && failed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_memory_first),
		cmocka_unit_test(test_zeroed),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_unpack_under_every_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
