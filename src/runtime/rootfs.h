/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's root: what containerd's snapshotter hands over is mounted at <bundle>/rootfs, as
 * OCI hooks expect, and shared; or, where it is a block device (devmapper) or the image of one
 * (blockfile), hot-plugged and mounted by the guest.
 */

#include "agent.pb-c.h"
#include "runtime/model.h"

/*
 * rootfs_prepare: plan the mounts of `request` in c->mounts, or plug the device (appended to
 * c->disks, its storage to *storages), and set spec->root->path to where the guest finds it.
 */
int rootfs_prepare(struct container *c, const struct container_request *request, Grpc__Spec *spec,
		   Grpc__Storage ***storages, size_t *n_storages, struct err *err);
