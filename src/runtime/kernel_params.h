/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "config/config.h"

/* kernel_params: the guest's kernel command line: Kata's parameters, the agent's, the
 * configuration's last, so that they win. channel: "vsock", or NULL: the agent takes what it finds.
 * The caller frees. */
char *kernel_params(const struct config *config, const char *channel);
