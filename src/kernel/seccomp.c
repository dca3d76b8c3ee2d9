/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"

static const struct {
	const char *name;
	unsigned int flag;
	int r;
} flags_known[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC, 0},
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG, 0},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0},
	{"SECCOMP_FILTER_FLAG_NEW_LISTENER", 0, -EOPNOTSUPP},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0, -EOPNOTSUPP},
};

int seccomp_check(size_t n)
{
	size_t count = n / sizeof(struct sock_filter);

	if (!count || n % sizeof(struct sock_filter) || count > SECCOMP_PROGRAM_MAX)
		return -EINVAL;
	return (int)count;
}

int seccomp_parse_flag(const char *name, unsigned int *flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags_known); i++) {
		if (!streq(name, flags_known[i].name))
			continue;
		*flags |= flags_known[i].flag;
		return flags_known[i].r;
	}
	return -EINVAL;
}

int seccomp_load(const void *bpf, size_t n, unsigned int flags)
{
	int count = seccomp_check(n);
	_cleanup_(freep) struct sock_filter *aligned = NULL;
	struct sock_fprog program;

	if (count < 0)
		return count;
	aligned = xmemdup(bpf, n);
	program = (struct sock_fprog){.len = (unsigned short)count, .filter = aligned};
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0)
		return -errno;
	return 0;
}
