/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * OCI seccomp profiles, compiled to BPF here, by libseccomp, since the guest has neither the
 * library nor the time (design decision 8). Compiled ones are kept, by their hash.
 */

#include "agent_client/client.h"
#include "base/err.h"
#include "config/config.h"

#define SECCOMP_CACHE_DIR "/run/vc/seccomp"
#define SECCOMP_FEATURE   "kata-c.seccomp-bpf"
#define SECCOMP_BPF_MAX   32768 /* BPF_MAXINSNS instructions of 8 bytes */

/* seccomp_prepare: replace the profile of a copied spec by its BPF, or drop it when the
 * configuration says so (disable_guest_seccomp). */
int seccomp_prepare(Grpc__Spec *spec, const struct config *config, uint64_t deadline,
		    struct err *err);
/* seccomp_check: -ENOSYS when the container has a profile that this agent could not enforce. */
int seccomp_check(const Grpc__Spec *spec, const struct agent_client *agent, struct err *err);
/* seccomp_compile: the work itself; *ret is the caller's. Takes some ms. */
int seccomp_compile(const Grpc__LinuxSeccomp *profile, uint8_t **ret, size_t *ret_n,
		    struct err *err);
