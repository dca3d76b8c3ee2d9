/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Pieces of containerd's messages, in the memory of a call. */

#include "agent.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "wire/ttrpc/ttrpc.h"

/* message_time: NULL for 0, which is "never". */
Google__Protobuf__Timestamp *message_time(struct ttrpc_call *call, uint64_t realtime_usec);
/* message_any: packed, under its full name: containerd's typeurl has no prefix. */
Google__Protobuf__Any *message_any(struct ttrpc_call *call, const ProtobufCMessage *message);
/* message_metrics: what the guest counts, as io.containerd.cgroups.v2.Metrics, whatever the host
 * has: the guest has control groups of version 2. */
Google__Protobuf__Any *message_metrics(struct ttrpc_call *call,
				       const Grpc__StatsContainerResponse *stats);
/* message_host_metrics: the same of a process of the host and all that it has started, from /proc;
 * 0 or -errno. */
int message_host_metrics(struct ttrpc_call *call, pid_t root, Google__Protobuf__Any **ret);
