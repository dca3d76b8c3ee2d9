/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The resources of a message as those of a control group. */

#include "base/err.h"
#include "kernel/cgroup.h"
#include "oci.pb-c.h"

struct resources {
	struct cgroup_resources limits;
	struct cgroup_device_rule *rules;
	size_t n_rules;
	void *arrays[8]; /* what limits points to */
	size_t n_arrays;
};

/*
 * resources_parse: fill *ret (end with resources_fini; strings are the message's). What would be
 * lost is refused with -EOPNOTSUPP and its name.
 */
int resources_parse(struct resources *ret, const Grpc__LinuxResources *message, struct err *err);
/*
 * resources_add_devices: the rules for a container: "deny all", those of the message or, without
 * any, one for each of the specification's `devices`, then what every container may use.
 */
int resources_add_devices(struct resources *r, const Grpc__LinuxResources *message,
			  Grpc__LinuxDevice *const *devices, size_t n, struct err *err);
void resources_fini(struct resources *r);
