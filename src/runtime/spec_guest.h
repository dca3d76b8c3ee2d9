/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config.json as the guest gets it: a copy, from which what only means something on the host is
 * gone, and in which paths are the guest's. Fields of the copy are changed with the functions here,
 * so that it can be freed as any other message.
 */

#include <stdbool.h>

#include "base/err.h"
#include "oci.pb-c.h"

/* spec_copy: deep; free with grpc__spec__free_unpacked(…, NULL). process_copy: the same. */
Grpc__Spec *spec_copy(const Grpc__Spec *spec);
Grpc__Process *process_copy(const Grpc__Process *process);
Grpc__Hooks *hooks_copy(const Grpc__Hooks *hooks);
/* spec_set: replace a string of a copy. */
void spec_set(char **field, const char *value);
/* spec_remove: drop element i of a repeated field of messages of a copy. */
void spec_remove(void ***items, size_t *n, size_t i);
#define SPEC_REMOVE(owner, field, i) \
	spec_remove((void ***)&(owner)->field, &(owner)->n_##field, (i))

/*
 * spec_to_guest: all that is not about mounts, devices and the root: namespaces (network dropped,
 * paths dropped; *ret_shared_pidns: the container joins the pod's pid namespace), resources that
 * name things of the host, hooks of the host, labels. -ENOSYS for what cannot be
 * done in a VM.
 */
int spec_to_guest(Grpc__Spec *copy, bool *ret_shared_pidns, struct err *err);
/* spec_process_to_guest: the part of it that an exec needs. */
void spec_process_to_guest(Grpc__Process *copy);
/* spec_resources_to_guest: a copy of the resources of an update, the same way; the caller frees. */
Grpc__LinuxResources *spec_resources_to_guest(const Grpc__LinuxResources *resources);
/* spec_privileged: may the container use every device? */
bool spec_privileged(const Grpc__Spec *spec);
