/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/log_forward.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

struct log_forward {
	struct loop_io io;
	int fd;
	struct buf line;
	bool overlong; /* the rest of this line is dropped */
	uint64_t second;
	unsigned int n_lines, n_dropped;
};

/* Up to the quote that is not escaped. */
static size_t quoted_length(const char *p)
{
	size_t n = 0;

	while (p[n] && p[n] != '"')
		n += p[n] == '\\' && p[n + 1] ? 2 : 1;
	return n;
}

/* The value of `key` in a line of JSON ("key":"value") or logfmt (key=value), without its quotes;
 * NULL: none. */
static const char *value_of(const char *line, const char *key, size_t *ret_n)
{
	size_t n = strlen(key);
	bool json = *line == '{';

	for (const char *p = line; (p = strstr(p, key)); p += n) {
		if (p == line ? json : p[-1] != (json ? '"' : ' '))
			continue;
		if (json ? !str_has_prefix(p + n, "\":\"") : p[n] != '=')
			continue;
		p += n + (json ? 3 : 1);
		if (json || *p == '"') {
			p += !json;
			*ret_n = quoted_length(p);
		} else {
			*ret_n = strcspn(p, " ");
		}
		return p;
	}
	return NULL;
}

static enum log_level level_of(const char *line)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{"err", LOG_LEVEL_ERROR}, {"crit", LOG_LEVEL_ERROR}, {"fatal", LOG_LEVEL_ERROR},
		{"warn", LOG_LEVEL_WARN}, {"info", LOG_LEVEL_INFO},
	};
	const char *value;
	size_t n;

	value = value_of(line, "level", &n);
	for (size_t i = 0; value && i < ARRAY_SIZE(levels); i++)
		if (str_has_prefix(value, levels[i].name))
			return levels[i].level;
	return LOG_LEVEL_DEBUG;
}

/* Is this line within the rate? */
static bool admitted(struct log_forward *f)
{
	uint64_t second = clock_now() / USEC_PER_SEC;

	if (second != f->second) {
		if (f->n_dropped)
			log_info("guest: %u more lines in that second", f->n_dropped);
		f->second = second;
		f->n_lines = f->n_dropped = 0;
	}
	if (f->n_lines == AGENT_LOG_LINES_RATE) {
		f->n_dropped++;
		return false;
	}
	f->n_lines++;
	return true;
}

/* What a guest calls an error is news of the guest, not one of ours: it may not fill the terminal
 * of `run`, nor wake whoever watches the host's errors. */
static void forward(enum log_level level, const char *message, int n)
{
	if (level >= LOG_LEVEL_INFO)
		log_line(level, "guest: %.*s", n, message);
	else
		log_line(LOG_LEVEL_INFO, "guest: %s: %.*s",
			 level == LOG_LEVEL_ERROR ? "error" : "warning", n, message);
}

static void end_line(struct log_forward *f)
{
	const char *message;
	size_t n;

	if (f->line.len && admitted(f)) {
		message = value_of(f->line.data, "msg", &n);
		if (!message) {
			message = f->line.data;
			n = f->line.len;
		}
		forward(level_of(f->line.data), message, (int)n);
	}
	buf_consume(&f->line, f->line.len);
	f->overlong = false;
}

void log_forward_feed(struct log_forward *f, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n') {
			end_line(f);
		} else if (f->line.len < AGENT_LOG_LINE_MAX) {
			/* A NUL would hide the rest of the line. */
			buf_addc(&f->line, p[i] ? p[i] : ' ');
		} else if (!f->overlong) {
			f->overlong = true;
			buf_adds(&f->line, "...");
		}
	}
}

static void on_readable(struct loop_io *io, uint32_t events)
{
	struct log_forward *f = container_of(io, struct log_forward, io);
	char chunk[8192];
	ssize_t n;

	(void)events;
	n = read(f->fd, chunk, sizeof(chunk));
	if (n > 0) {
		log_forward_feed(f, chunk, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	end_line(f);
	loop_io_remove(&f->io);
}

int log_forward_start(struct loop *loop, int fd, struct log_forward **ret)
{
	_cleanup_(log_forward_stopp) struct log_forward *f = xnew(struct log_forward);
	int r;

	f->fd = fd;
	r = fd_set_nonblock(fd, true);
	if (r >= 0)
		r = loop_io_add(loop, &f->io, fd, EPOLLIN, on_readable);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

void log_forward_stop(struct log_forward *f)
{
	if (!f)
		return;
	loop_io_remove(&f->io);
	fd_close(f->fd);
	buf_fini(&f->line);
	free(f);
}
