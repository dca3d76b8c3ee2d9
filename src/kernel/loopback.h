/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One listener for every TCP port of a network namespace's loopback, by an eBPF program of type
 * BPF_PROG_TYPE_SK_LOOKUP (Documentation/bpf/prog_sk_lookup.rst; Linux 5.9).
 */

/*
 * loopback_listen: take what is dialled on 127.0.0.0/8 and ::1 of the caller's namespace, also
 * where somebody else listens. Returns the listening socket (non-blocking, close-on-exec; IPv6,
 * with IPv4 addresses mapped), whose connections have the address that was dialled as their own
 * (getsockname). *ret_link keeps the program attached: it goes with the last descriptor. Or -errno:
 * -EINVAL from a kernel that has not got it, -EPERM without CAP_BPF and CAP_NET_ADMIN.
 */
int loopback_listen(int *ret_link);
