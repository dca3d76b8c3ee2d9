/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which accelerator a VM gets (design decision 5): KVM when a VM can really be created and run,
 * emulation only where it is allowed, since QEMU promises no isolation without KVM.
 */

#include <stdbool.h>

#include "hypervisor/hypervisor.h"

/* What the decision looks at; tests put fakes here. */
struct accel_env {
	const char *kvm_path; /* "/dev/kvm" */
	/* Runs in a child: try it. `reply` has ACCEL_REASON_MAX bytes for why not. */
	int (*probe)(void *kvm_path, void *reply);
	uint64_t timeout;   /* µs the probe may take … */
	uint64_t hang_kept; /* … and for how many µs it is believed that it took longer */
};

#define ACCEL_REASON_MAX 128

extern const struct accel_env accel_host;

/*
 * accel_choose: wanted is "auto", "kvm" or "tcg" (NULL: "auto"). Runs in a coroutine. Errors:
 * -EOPNOTSUPP with the cause and the remedy when KVM does not work and emulation is not allowed or
 * not wanted; -EINVAL for another word.
 */
int accel_choose(const struct accel_env *env, const char *wanted, bool allow_emulation,
		 enum vm_accel *ret, struct err *err);

/* kvm_probe: the probe of accel_host (kvm_probe.c). */
int kvm_probe(void *kvm_path, void *reply);
