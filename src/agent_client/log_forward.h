/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "loop/loop.h"

/*
 * The agent's log lines, from its log port or connection, to our own log, each at its own level,
 * but none above info. The guest is hostile: lines are bounded, escaped (base/log.h), and limited
 * in number.
 */

#define AGENT_LOG_LINE_MAX   4096
#define AGENT_LOG_LINES_RATE 200 /* lines a second; what is above is counted and dropped */

struct log_forward;

/* log_forward_start: read `fd`, which becomes the forwarder's, until its end. */
int log_forward_start(struct loop *loop, int fd, struct log_forward **ret);
void log_forward_stop(struct log_forward *forward);
DEFINE_CLEANUP(struct log_forward *, log_forward_stop)

/* log_forward_feed: what arrives, for tests: n bytes of the stream. */
void log_forward_feed(struct log_forward *forward, const char *p, size_t n);
