/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cmdline.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: one word at a time is copied, without its quotes, to a buffer on the stack (a word
 * that does not fit cannot be one of ours and is skipped), split at the first '=', and looked up in
 * the table below. No allocation, no recursion.
 */

#define HOTPLUG_TIMEOUT_DEFAULT (3 * USEC_PER_SEC)
#define HOTPLUG_TIMEOUT_MAX_S   3600U
#define PIPE_SIZE_MAX           (1U << 20) /* fs.pipe-max-size without privileges */

void cmdline_defaults(struct agent_config *config)
{
	*config = (struct agent_config){
		.log_level = LOG_LEVEL_INFO,
		.unified_cgroup = true,
		.hotplug_timeout = HOTPLUG_TIMEOUT_DEFAULT,
	};
}

static int set_log(struct agent_config *config, const char *value)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{"critical", LOG_LEVEL_ERROR}, {"error", LOG_LEVEL_ERROR},
		{"warn", LOG_LEVEL_WARN},      {"warning", LOG_LEVEL_WARN},
		{"info", LOG_LEVEL_INFO},      {"debug", LOG_LEVEL_DEBUG},
		{"trace", LOG_LEVEL_DEBUG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (streq(levels[i].name, value)) {
			config->log_level = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_channel(struct agent_config *config, const char *value)
{
	if (streq(value, "serial"))
		config->channel = AGENT_CHANNEL_SERIAL;
	else if (streq(value, "vsock"))
		config->channel = AGENT_CHANNEL_VSOCK;
	else
		return -EINVAL;
	return 0;
}

/* A switch: the bare word means yes. */
static int parse_switch(const char *value, bool *ret)
{
	if (str_empty(value)) {
		*ret = true;
		return 0;
	}
	return parse_bool(value, ret);
}

static int set_debug_console(struct agent_config *config, const char *value)
{
	return parse_switch(value, &config->debug_console);
}

static int set_unified(struct agent_config *config, const char *value)
{
	return parse_switch(value, &config->unified_cgroup);
}

static int set_log_vport(struct agent_config *config, const char *value)
{
	return parse_u32(value, &config->log_vport);
}

static int set_console_vport(struct agent_config *config, const char *value)
{
	return parse_u32(value, &config->debug_console_vport);
}

static int set_pipe_size(struct agent_config *config, const char *value)
{
	uint32_t size;
	int r = parse_u32(value, &size);

	if (r < 0)
		return r;
	if (size > PIPE_SIZE_MAX)
		return -ERANGE;
	config->container_pipe_size = size;
	return 0;
}

static int set_hotplug_timeout(struct agent_config *config, const char *value)
{
	uint32_t seconds;
	int r = parse_u32(value, &seconds);

	if (r < 0)
		return r;
	if (seconds == 0 || seconds > HOTPLUG_TIMEOUT_MAX_S)
		return -ERANGE;
	config->hotplug_timeout = seconds * USEC_PER_SEC;
	return 0;
}

static int copy_text(char *to, size_t size, const char *value)
{
	size_t n = strlen(value);

	if (n >= size)
		return -ENAMETOOLONG;
	memcpy(to, value, n + 1);
	return 0;
}

static int set_server_addr(struct agent_config *config, const char *value)
{
	return *value ? copy_text(config->server_addr, sizeof(config->server_addr), value)
		      : -EINVAL;
}

static int set_root(struct agent_config *config, const char *value)
{
	return str_has_prefix(value, "/dev/") && path_is_clean(value)
		       ? copy_text(config->root, sizeof(config->root), value)
		       : 0;
}

static int set_root_type(struct agent_config *config, const char *value)
{
	return copy_text(config->root_type, sizeof(config->root_type), value);
}

static int set_root_flags(struct agent_config *config, const char *value)
{
	return copy_text(config->root_flags, sizeof(config->root_flags), value);
}

static const struct {
	const char *name;
	int (*set)(struct agent_config *config, const char *value); /* "" without '=' */
} parameters[] = {
	{"agent.channel", set_channel},
	{"agent.container_pipe_size", set_pipe_size},
	{"agent.debug_console", set_debug_console},
	{"agent.debug_console_vport", set_console_vport},
	{"agent.hotplug_timeout", set_hotplug_timeout},
	{"agent.log", set_log},
	{"agent.log_vport", set_log_vport},
	{"agent.server_addr", set_server_addr},
	{"agent.unified_cgroup_hierarchy", set_unified},
	{"root", set_root},
	{"rootflags", set_root_flags},
	{"rootfstype", set_root_type},
};

static void apply(struct agent_config *config, char *word)
{
	char *equals = strchr(word, '=');
	const char *value = "";

	if (equals) {
		*equals = '\0';
		value = equals + 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (!streq(parameters[i].name, word))
			continue;
		if (parameters[i].set(config, value) < 0)
			config->bad++;
		return;
	}
}

void cmdline_parse(struct agent_config *config, const char *text, size_t n)
{
	char word[CMDLINE_VALUE_MAX + 64U];
	size_t length = 0;
	bool quoted = false, overlong = false;

	n = MIN(n, (size_t)CMDLINE_MAX);
	for (size_t i = 0; i <= n; i++) {
		char c = i < n ? text[i] : '\0';

		if (c == '"') {
			quoted = !quoted;
		} else if (c != '\0' && (quoted || !isspace((unsigned char)c))) {
			if (length < sizeof(word) - 1)
				word[length++] = c;
			else
				overlong = true;
		} else {
			word[length] = '\0';
			if (length && !overlong)
				apply(config, word);
			length = 0;
			overlong = false;
			if (c == '\0')
				return;
		}
	}
}
