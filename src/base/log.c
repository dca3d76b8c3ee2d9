/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/kv.h"
#include "base/str.h"
#include "base/utf8.h"

#define FIELDS_MAX 8

static struct {
	const char *program;
	int fd;
	enum log_format format;
	enum log_level max;
	const char *system_root; /* where journald's or syslog's socket is; NULL: not used */
	int system_fd;           /* datagram socket to one of them, -1: not connected */
	bool system_native;      /* journald's own protocol */
	struct {
		char *name, *value;
	} fields[FIELDS_MAX];
} sink = {.program = "kata", .fd = STDERR_FILENO, .max = LOG_LEVEL_INFO, .system_fd = -1};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int level_priorities[] = {3, 4, 6, 7};

void log_open(const char *program, int fd, enum log_format format, enum log_level max)
{
	sink.program = program;
	sink.fd = fd;
	sink.format = format;
	sink.max = max;
}

static void disconnect_system(void)
{
	if (sink.system_fd >= 0)
		close(sink.system_fd);
	sink.system_fd = -1;
}

void log_use_system(const char *root)
{
	disconnect_system();
	sink.system_root = root;
}

int log_format_parse(const char *name, enum log_format *ret)
{
	bool json = name && streq(name, "json");

	if (!json && !str_empty(name) && !streq(name, "text"))
		return -EINVAL;
	*ret = json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT;
	return 0;
}

static void connect_system(void)
{
	static const char *const paths[] = {"/run/systemd/journal/socket", "/dev/log"};

	for (size_t i = 0; i < ARRAY_SIZE(paths) && sink.system_fd < 0; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			return;
		snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", sink.system_root,
			 paths[i]);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
			close(fd);
			continue;
		}
		sink.system_fd = fd;
		sink.system_native = i == 0;
	}
}

void log_set_level(enum log_level max)
{
	sink.max = max;
}

enum log_level log_max_level(void)
{
	return sink.max;
}

void log_set_field(const char *name, const char *value)
{
	size_t at = FIELDS_MAX;

	for (size_t i = FIELDS_MAX; i-- > 0;)
		if (!sink.fields[i].name)
			at = i;
	for (size_t i = 0; i < FIELDS_MAX; i++)
		if (streq(sink.fields[i].name, name))
			at = i;
	if (at == FIELDS_MAX)
		return;
	free(sink.fields[at].name);
	free(sink.fields[at].value);
	sink.fields[at].name = value ? xstrdup(name) : NULL;
	sink.fields[at].value = xstrdup(value);
}

static void format_line(struct buf *b, enum log_level level, const char *message)
{
	void (*add)(struct buf *, const char *,
		    const char *) = sink.format == LOG_FORMAT_JSON ? kv_json : kv_logfmt;
	char now[32], pid[16];

	kv_time(now, clock_realtime());
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (sink.format == LOG_FORMAT_JSON)
		buf_addc(b, '{');
	add(b, "time", now);
	add(b, "level", level_names[level]);
	add(b, "msg", message);
	add(b, "name", sink.program);
	add(b, "pid", pid);
	for (size_t i = 0; i < FIELDS_MAX; i++)
		if (sink.fields[i].name)
			add(b, sink.fields[i].name, sink.fields[i].value);
	buf_adds(b, sink.format == LOG_FORMAT_JSON ? "}\n" : "\n");
}

/*
 * journald's native protocol is NAME=value lines; a value with a newline would need the binary
 * form, so newlines become spaces. syslog gets "<priority>program[pid]: text".
 */
static void format_system(struct buf *b, enum log_level level, const char *message)
{
	if (sink.system_native) {
		buf_addf(b, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", level_priorities[level],
			 sink.program);
		for (size_t i = 0; i < FIELDS_MAX; i++) {
			if (!sink.fields[i].name)
				continue;
			buf_adds(b, "KATA_");
			for (const char *s = sink.fields[i].name; *s; s++)
				buf_addc(b, *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s);
			buf_addf(b, "=%s\n", sink.fields[i].value);
		}
		buf_adds(b, "MESSAGE=");
	} else {
		buf_addf(b, "<%d>%s[%d]: ", 3 * 8 + level_priorities[level], sink.program,
			 getpid());
	}
	for (const char *s = message; *s; s++)
		buf_addc(b, *s == '\n' ? ' ' : *s);
	if (sink.system_native)
		buf_addc(b, '\n');
}

/* A full socket drops the line; one whose daemon was restarted is connected again. */
static void send_system(enum log_level level, const char *message)
{
	for (int i = 0; i < 2; i++) {
		_cleanup_(buf_fini) struct buf b = {0};

		if (sink.system_fd < 0)
			connect_system();
		if (sink.system_fd < 0)
			return;
		format_system(&b, level, message);
		if (send(sink.system_fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
		    (errno != ECONNREFUSED && errno != ENOTCONN && errno != ECONNRESET))
			return;
		disconnect_system();
	}
}

void log_line(enum log_level level, const char *fmt, ...)
{
	_cleanup_(freep) char *message = NULL;
	_cleanup_(buf_fini) struct buf b = {0};
	int saved = errno;
	va_list ap;

	if (level > sink.max)
		return;
	va_start(ap, fmt);
	message = xvasprintf(fmt, ap);
	va_end(ap);
	if (sink.fd >= 0) {
		format_line(&b, level, message);
		(void)!write(sink.fd, b.data, b.len);
	}
	if (sink.system_root) {
		/* journald and syslog's readers print to terminals. */
		utf8_clean(message);
		send_system(level, message);
	}
	errno = saved;
}
