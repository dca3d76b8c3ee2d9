/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Live volumes: what Kubernetes changes under running containers (ConfigMap, Secret, projected and
 * downwardAPI volumes). The guest has a copy of each in its memory, which we bring up to date when
 * kubelet has changed it here, so that inotify works in the containers, as it does not on a shared
 * file system. All containers of a sandbox that mount a volume (with the same mapping of ids) have
 * one copy; it goes with the last.
 */

#include "runtime/model.h"

#define LIVE_VOLUME_FEATURE   "kata-c.live-volumes"
#define LIVE_VOLUME_GUEST_DIR "/run/kata-containers/sandbox/live"

/*
 * live_volumes_prepare: give the container `c` those mounts of its `spec`, which volumes_prepare()
 * has left as they are: copy what the guest does not have yet, and watch. A foreign agent is shown
 * the host's files instead, planned in c->mounts. Waits; the sandbox is running.
 */
int live_volumes_prepare(struct container *c, Grpc__Spec *spec, uint64_t deadline, struct err *err);
/* live_volumes_release: those of `c`. What nobody uses any more goes in the guest, too, later. */
void live_volumes_release(struct container *c);
