/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/alloc.h"
#include "base/test.h"
#include "kernel/cgroup_devices.h"

/* The handful of instructions that the filter uses, run here: 1 allows, 0 denies, -1 is a bug. */
static int run(const struct bpf_insn *program, int n, const struct bpf_cgroup_dev_ctx *ctx)
{
	uint64_t reg[11] = {0};

	for (int pc = 0, steps = 0; pc >= 0 && pc < n && steps < 10000; pc++, steps++) {
		const struct bpf_insn *i = &program[pc];
		uint64_t *dst = &reg[i->dst_reg], src = reg[i->src_reg];

		switch (i->code) {
		case BPF_LDX | BPF_W | BPF_MEM:
			*dst = *(const uint32_t *)((const char *)ctx + i->off);
			break;
		case BPF_ALU64 | BPF_MOV | BPF_X:
			*dst = src;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			*dst = (uint64_t)(int64_t)i->imm;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			*dst = (uint32_t)*dst & (uint32_t)i->imm;
			break;
		case BPF_ALU | BPF_RSH | BPF_K:
			*dst = (uint32_t)*dst >> i->imm;
			break;
		case BPF_JMP | BPF_JNE | BPF_K:
			pc += *dst != (uint64_t)(int64_t)i->imm ? i->off : 0;
			break;
		case BPF_JMP32 | BPF_JNE | BPF_K:
			pc += (uint32_t)*dst != (uint32_t)i->imm ? i->off : 0;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += *dst == (uint64_t)(int64_t)i->imm ? i->off : 0;
			break;
		case BPF_JMP | BPF_JNE | BPF_X:
			pc += *dst != src ? i->off : 0;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)reg[0];
		default:
			return -1;
		}
	}
	return -1;
}

static int ask(const struct cgroup_device_rule *rules, size_t n, char type, uint32_t major,
	       uint32_t minor, unsigned int access)
{
	_cleanup_(freep) struct bpf_insn *program = xcalloc(CGROUP_PROGRAM_MAX, sizeof(*program));
	struct bpf_cgroup_dev_ctx ctx = {
		.access_type = access << 16 |
			       (type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
		.major = major,
		.minor = minor,
	};
	int r = cgroup_build_filter(rules, n, program);

	assert_in_range(r, 2, CGROUP_PROGRAM_MAX);
	return run(program, r, &ctx);
}

static void test_rules(_unused_ void **state)
{
	const struct cgroup_device_rule rules[] = {
		{false, 'a', -1, -1, 7},
		{true, 'c', 1, 3, 7},
		{true, 'c', 136, -1, CGROUP_ACCESS_READ | CGROUP_ACCESS_WRITE},
		{true, 'b', -1, -1, CGROUP_ACCESS_MKNOD},
		{true, 'c', 0xffffffff, 5, 7},
		{false, 'c', 136, 9, CGROUP_ACCESS_WRITE},
	};
	const size_t n = ARRAY_SIZE(rules);

	assert_int_equal(ask(rules, n, 'c', 1, 3, CGROUP_ACCESS_READ), 1);
	assert_int_equal(ask(rules, n, 'b', 1, 3, CGROUP_ACCESS_READ), 0);
	assert_int_equal(ask(rules, n, 'c', 1, 4, CGROUP_ACCESS_READ), 0);
	assert_int_equal(ask(rules, n, 'c', 136, 77, 6), 1);
	assert_int_equal(ask(rules, n, 'c', 136, 77, CGROUP_ACCESS_MKNOD), 0);
	assert_int_equal(ask(rules, n, 'c', 136, 77, 7), 0);
	assert_int_equal(ask(rules, n, 'b', 8, 0, CGROUP_ACCESS_MKNOD), 1);
	assert_int_equal(ask(rules, n, 'b', 8, 0, CGROUP_ACCESS_MKNOD | CGROUP_ACCESS_READ), 0);
	assert_int_equal(ask(rules, n, 'c', 0xffffffff, 5, 2), 1);
	/* A later denial of one access also stops what asks for more. */
	assert_int_equal(ask(rules, n, 'c', 136, 9, 6), 0);
	assert_int_equal(ask(rules, n, 'c', 136, 9, CGROUP_ACCESS_READ), 1);
}

static void test_defaults(_unused_ void **state)
{
	const struct cgroup_device_rule all[] = {{false, 'c', 1, 3, 7}, {true, 'a', -1, -1, 0}};

	assert_int_equal(ask(NULL, 0, 'c', 1, 3, CGROUP_ACCESS_READ), 0);
	assert_int_equal(ask(all, 2, 'c', 1, 3, 7), 1);
	assert_int_equal(ask(all, 2, 'b', 8, 0, 7), 1);
}

static void test_refused(_unused_ void **state)
{
	_cleanup_(freep) struct bpf_insn *program = xcalloc(CGROUP_PROGRAM_MAX, sizeof(*program));
	_cleanup_(freep) struct cgroup_device_rule *many = xcalloc(CGROUP_RULES_MAX + 1,
								   sizeof(*many));
	struct cgroup_device_rule bad[] = {
		{true, 'x', 1, 1, 7}, {true, 0, 1, 1, 7},           {true, 'c', -2, 1, 7},
		{true, 'c', 1, 1, 8}, {true, 'c', 1LL << 32, 1, 7},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cgroup_build_filter(&bad[i], 1, program), -EINVAL);
	for (size_t i = 0; i <= CGROUP_RULES_MAX; i++)
		many[i] = (struct cgroup_device_rule){true, 'b', 1, 2, 3};
	assert_int_equal(cgroup_build_filter(many, CGROUP_RULES_MAX + 1, program), -E2BIG);
	assert_in_range(cgroup_build_filter(many, CGROUP_RULES_MAX, program), 1,
			CGROUP_PROGRAM_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
