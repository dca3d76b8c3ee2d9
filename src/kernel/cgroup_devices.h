/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The device filter of a group as an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE. */

#include <linux/bpf.h>

#include "kernel/cgroup.h"

/* The longest program: 6 instructions of start, 8 for a rule, 2 of end. */
#define CGROUP_PROGRAM_MAX (6 + 8 * CGROUP_RULES_MAX + 2)

/*
 * cgroup_build_filter: write the program for the rules to `out` (room for CGROUP_PROGRAM_MAX).
 * Returns the number of instructions, or -E2BIG / -EINVAL.
 */
int cgroup_build_filter(const struct cgroup_device_rule *rules, size_t n, struct bpf_insn *out);
