/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The metrics of agent and guest under Kata's names (docs/metrics). */

#include "agent/agent.h"
#include "base/str.h"

/* metrics_agent: the families kata_agent_*, of this process. */
void metrics_agent(struct buf *b, const struct agent *agent);
/* metrics_guest: the families kata_guest_* that /proc gives without ever waiting. */
void metrics_guest(struct buf *b);
/* metrics_filesystems: kata_guest_filesystem_*; statfs(2) may wait for a file server: in a child.
 */
void metrics_filesystems(struct buf *b);
/*
 * metrics_item: "MemTotal" → "mem_total", "Active(anon)" → "active_anon": Kata's item for a key of
 * /proc/meminfo, into `size` bytes (cut when it is longer).
 */
void metrics_item(const char *key, char *out, size_t size);
