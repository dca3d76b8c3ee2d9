/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of the table, for keys.c alone. */

#include "config/keys.h"

extern const struct key keys_hypervisor[], keys_agent[], keys_runtime[], keys_factory[],
	keys_refused[];
extern const size_t n_keys_hypervisor, n_keys_agent, n_keys_runtime, n_keys_factory, n_keys_refused;
