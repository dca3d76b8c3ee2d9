/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The log: one line an event, as logfmt or JSON, to standard error or a descriptor, and to journald
 * or syslog where they exist. A missing sink is never an error. Only programs (main, the RPC edges)
 * log at info and above; libraries return errors.
 */

#include <stdbool.h>

#include "base/cleanup.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* log_open: name the program (static string); fd is the sink (-1: none besides the system log). */
void log_open(const char *program, int fd, enum log_format format, enum log_level max);
/*
 * log_use_system: also send to journald's native socket, or /dev/log, whenever one of them is
 * there: it may come later, or be started again. root: a folder to look for them in ("": the host's
 * own; static string).
 */
void log_use_system(const char *root);
/* log_format_parse: "text" (logfmt) or "json", Kata's words; NULL and "" are text. 0 or -EINVAL. */
int log_format_parse(const char *name, enum log_format *ret);
void log_set_level(enum log_level max);
enum log_level log_max_level(void);
/* log_set_field: add name=value to every line (copied; NULL value removes); at most 8 fields. */
void log_set_field(const char *name, const char *value);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                          \
	do {                                                    \
		if (log_max_level() >= LOG_LEVEL_DEBUG)         \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

/* log_line: use the macros. The message is escaped, so that no peer can forge a line. */
void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);
