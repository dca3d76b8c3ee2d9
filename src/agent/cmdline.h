/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the host tells the agent on the kernel command line: Kata's `agent.` parameters, and the
 * kernel's own about the disk that is the root. Parameters that the agent does not know are none of
 * its business and skipped; a known one with a bad value is skipped too and counted, so that a
 * typing error never keeps a guest from booting.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define CMDLINE_MAX       4096U /* the kernel's COMMAND_LINE_SIZE is 2048 on x86 */
#define CMDLINE_VALUE_MAX 255U

enum agent_channel { AGENT_CHANNEL_AUTO, AGENT_CHANNEL_SERIAL, AGENT_CHANNEL_VSOCK };

struct agent_config {
	enum log_level log_level;     /* agent.log=error|warn|info|debug|trace */
	enum agent_channel channel;   /* agent.channel=serial|vsock */
	uint32_t log_vport;           /* agent.log_vport=; 0: none */
	uint32_t debug_console_vport; /* agent.debug_console_vport=; 0: none */
	bool debug_console;           /* agent.debug_console */
	bool unified_cgroup;          /* agent.unified_cgroup_hierarchy= (always v2) */
	uint32_t container_pipe_size; /* agent.container_pipe_size=, bytes; 0: default */
	uint64_t hotplug_timeout;     /* agent.hotplug_timeout=, seconds there, µs here */
	char server_addr[CMDLINE_VALUE_MAX + 1U]; /* agent.server_addr=; "": by channel */
	/* root=/dev/…, rootfstype=, rootflags=; other forms of root= are not for us: "". */
	char root[64], root_type[32], root_flags[CMDLINE_VALUE_MAX + 1U];
	unsigned int bad; /* known parameters whose value was refused */
};

/* cmdline_defaults: the values that hold where the command line says nothing. */
void cmdline_defaults(struct agent_config *config);
/*
 * cmdline_parse: apply the first `n` bytes of `text` (at most CMDLINE_MAX are looked at; words
 * are separated by white space, double quotes protect it as in the kernel) to config.
 */
void cmdline_parse(struct agent_config *config, const char *text, size_t n);
