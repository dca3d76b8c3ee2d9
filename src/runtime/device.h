/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Devices: those of config.json that the guest has too are kept, block devices of the host are
 * hot-plugged, others are refused, since the guest could only give the container something else
 * under the same name.
 */

#include "agent.pb-c.h"
#include "runtime/model.h"

enum device_fate { DEVICE_GUEST, DEVICE_PLUG, DEVICE_LEAVE_OUT, DEVICE_REFUSE };
/* device_judge: what becomes of a device of the document; with `all` nobody has named it: a
 * privileged container asks for all there is, and gets the VM's. Pure. */
enum device_fate device_judge(const Grpc__LinuxDevice *device, bool all);
/* devices_prepare: rewrite spec->linux->devices; *devices is what the agent is told of plugged
 * ones. */
int devices_prepare(struct container *c, Grpc__Spec *spec, Grpc__Device ***devices,
		    size_t *n_devices, struct err *err);
