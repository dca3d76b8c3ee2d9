/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Loading a seccomp filter that was compiled elsewhere (seccomp(2)). The bytes are an array of
 * struct sock_filter in the order of this CPU.
 */

#include <stddef.h>
#include <stdint.h>

#define SECCOMP_PROGRAM_MAX 4096U /* BPF_MAXINSNS of the kernel */

/* seccomp_check: is a blob of n bytes one program's length? Returns the number of instructions or
 * -EINVAL. */
int seccomp_check(size_t n);
/*
 * seccomp_parse_flag: add the flag of a name of the runtime specification
 * ("SECCOMP_FILTER_FLAG_LOG") to *flags. -EINVAL: unknown; -EOPNOTSUPP: it exists but asks for a
 * listener, which only makes sense with somebody behind it.
 */
int seccomp_parse_flag(const char *name, unsigned int *flags);
/*
 * seccomp_load: apply the filter to the calling process, for good. It must have no_new_privs set or
 * CAP_SYS_ADMIN in its user namespace (-EACCES otherwise).
 */
int seccomp_load(const void *bpf, size_t n, unsigned int flags);
