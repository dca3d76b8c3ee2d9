/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/cgroup_devices.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * How it works: the kernel calls the program for every open and mknod of a device, with a struct
 * bpf_cgroup_dev_ctx in r1, and allows what returns 1. The program loads type, access, major and
 * minor into registers and tries the rules from the last to the first, since the last that matches
 * decides; without a match it denies.
 *
 * An allowing rule matches when what is asked for is within its access; a denying one when the two
 * overlap: "deny w" then also stops "rw".
 */

enum { R_RESULT, R_CONTEXT, R_TYPE, R_ACCESS, R_MAJOR, R_MINOR, R_SCRATCH };

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})

#define ACCESS_ALL (CGROUP_ACCESS_MKNOD | CGROUP_ACCESS_READ | CGROUP_ACCESS_WRITE)

static size_t load_context(struct bpf_insn *out)
{
	size_t n = 0;

	out[n++] = INSN(BPF_LDX | BPF_W | BPF_MEM, R_TYPE, R_CONTEXT,
			offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	out[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, R_ACCESS, R_TYPE, 0, 0);
	out[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
	out[n++] = INSN(BPF_ALU | BPF_RSH | BPF_K, R_ACCESS, 0, 0, 16);
	out[n++] = INSN(BPF_LDX | BPF_W | BPF_MEM, R_MAJOR, R_CONTEXT,
			offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	out[n++] = INSN(BPF_LDX | BPF_W | BPF_MEM, R_MINOR, R_CONTEXT,
			offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	return n;
}

/* One rule: comparisons that jump behind it, then its verdict. */
static int put_rule(const struct cgroup_device_rule *rule, struct bpf_insn *out)
{
	unsigned int access = rule->access ? rule->access : ACCESS_ALL;
	size_t n = 0, jumps[4], n_jumps = 0;

	if (!strchr("abc", rule->type) || !rule->type || access & ~ACCESS_ALL || rule->major < -1 ||
	    rule->major > UINT32_MAX || rule->minor < -1 || rule->minor > UINT32_MAX)
		return -EINVAL;
	if (rule->type != 'a') {
		jumps[n_jumps++] = n;
		out[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, R_TYPE, 0, 0,
				rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (access != ACCESS_ALL) {
		out[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, R_SCRATCH, R_ACCESS, 0, 0);
		out[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, R_SCRATCH, 0, 0, (int)access);
		jumps[n_jumps++] = n;
		if (rule->allow)
			out[n++] = INSN(BPF_JMP | BPF_JNE | BPF_X, R_SCRATCH, R_ACCESS, 0, 0);
		else
			out[n++] = INSN(BPF_JMP | BPF_JEQ | BPF_K, R_SCRATCH, 0, 0, 0);
	}
	if (rule->major >= 0) {
		jumps[n_jumps++] = n;
		out[n++] = INSN(BPF_JMP32 | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int)rule->major);
	}
	if (rule->minor >= 0) {
		jumps[n_jumps++] = n;
		out[n++] = INSN(BPF_JMP32 | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int)rule->minor);
	}
	out[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, rule->allow);
	out[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (size_t i = 0; i < n_jumps; i++)
		out[jumps[i]].off = (short)(n - jumps[i] - 1);
	return (int)n;
}

static bool matches_all(const struct cgroup_device_rule *rule)
{
	return rule->type == 'a' && rule->major < 0 && rule->minor < 0 &&
	       (!rule->access || rule->access == ACCESS_ALL);
}

int cgroup_build_filter(const struct cgroup_device_rule *rules, size_t n, struct bpf_insn *out)
{
	size_t at;

	if (n > CGROUP_RULES_MAX)
		return -E2BIG;
	at = load_context(out);
	for (size_t i = n; i > 0; i--) {
		int r = put_rule(&rules[i - 1], out + at);

		if (r < 0)
			return r;
		at += (size_t)r;
		/* What comes before a rule for everything is never reached, and the verifier
		 * refuses what cannot be. */
		if (matches_all(&rules[i - 1]))
			return (int)at;
	}
	out[at++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, 0);
	out[at++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return (int)at;
}

static int load_filter(const struct bpf_insn *program, size_t n)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)n,
		.insns = (uintptr_t)program,
		.license = (uintptr_t) "Apache-2.0",
	};
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

int cgroup_set_devices(struct cgroup *cg, const struct cgroup_device_rule *rules, size_t n)
{
	_cleanup_(freep) struct bpf_insn *program = xcalloc(CGROUP_PROGRAM_MAX, sizeof(*program));
	_cleanup_(closep) int fd = -1;
	union bpf_attr attr = {
		.target_fd = (uint32_t)cg->dir,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	int r = cgroup_build_filter(rules, n, program);

	if (r < 0)
		return r;
	fd = load_filter(program, (size_t)r);
	if (fd < 0)
		return fd;
	attr.attach_bpf_fd = (uint32_t)fd;
	if (cg->program >= 0) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)cg->program;
	}
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return -errno;
	fd_close(cg->program);
	cg->program = TAKE_FD(fd);
	return 0;
}
