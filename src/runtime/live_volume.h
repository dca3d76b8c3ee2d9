/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Live volumes: what Kubernetes changes under running containers (ConfigMap, Secret, projected and
 * downwardAPI volumes). The guest has a copy of each in its memory, which we bring up to date when
 * kubelet has changed it here, so that inotify works in the containers, as it does not on a shared
 * file system. All containers of a sandbox that mount a volume (with the same mapping of ids) have
 * one copy; it goes with the last.
 *
 * Without a shared file system single files are brought to the guest the same way (/etc/hosts,
 * termination-log), whatever paths lead to them. They are looked at when a container is made, and
 * what containers have written to one comes back when a container ends.
 */

#include "runtime/model.h"
#include "runtime/volume.h"

#define LIVE_VOLUME_FEATURE   "kata-c.live-volumes"
#define COPIED_FILES_FEATURE  "kata-c.copied-files"
#define LIVE_VOLUME_GUEST_DIR "/run/kata-containers/sandbox/live"

/*
 * live_volumes_prepare: give the container `c` those mounts of its `spec`, which volumes_prepare()
 * has left as they are (`sources` is from there): copy what the guest does not have yet, and watch.
 * A foreign agent is shown the host's files instead, planned in c->mounts. Waits; the sandbox is
 * running.
 */
int live_volumes_prepare(struct container *c, Grpc__Spec *spec, const struct volume_source *sources,
			 uint64_t deadline, struct err *err);
/* live_volumes_bring_back: what was written to the files that were copied for `c`, which has ended.
 * Waits, but not for long; what fails is logged. */
void live_volumes_bring_back(struct container *c);
/* live_volumes_release: those of `c`. What nobody uses any more goes in the guest, too, later. */
void live_volumes_release(struct container *c);
