/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The VM grows with what its containers may use: the sum of their limits on top of the default, as
 * far as the configuration and the host allow. A limit above that is no error: containers are held
 * to their limits by the guest's control groups, whatever the size of the VM.
 */

#include "runtime/model.h"

/* resize_for: note the container's limits (NULL: none), and hot-plug what is missing. */
int resize_for(struct container *c, const Grpc__LinuxResources *resources, struct err *err);
