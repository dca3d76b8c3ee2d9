/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/*
 * trial_network_new: a network namespace as a pod might have it, for a clone that is on trial: two
 * interfaces, each the other end of the other, the first with an address. Returns a descriptor,
 * which is the caller's and with which it ends, or -errno.
 */
int trial_network_new(struct err *err);
