/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/tail.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"

/*
 * How it works: QEMU writes the guest's console into a pipe of ours (the chardev's logfile) next to
 * serving console.sock, so that nothing is lost while no person is connected, and its own messages
 * into another (standard error). The loop reads a bounded amount a round; a guest that prints
 * without end costs its own QEMU the wait.
 */

#define READ_MAX 16384

void tail_init(struct tail *c)
{
	*c = (struct tail){.fd = -1};
}

static void keep(struct tail *c, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		c->ring[c->total++ % TAIL_KEPT] = p[i];
}

/* Returns bytes read, 0 when there is nothing more. */
static size_t read_some(struct tail *c)
{
	char chunk[READ_MAX];
	ssize_t r;

	if (c->fd < 0)
		return 0;
	r = read(c->fd, chunk, sizeof(chunk));
	if (r > 0) {
		keep(c, chunk, (size_t)r);
		return (size_t)r;
	}
	if (r == 0 || (errno != EAGAIN && errno != EINTR)) {
		loop_io_remove(&c->io);
		c->fd = fd_close(c->fd);
	}
	return 0;
}

static void on_io(struct loop_io *io, _unused_ uint32_t events)
{
	read_some(container_of(io, struct tail, io));
}

int tail_open(struct tail *c, struct loop *loop, int fd)
{
	int r;

	c->fd = fd;
	r = fd_set_nonblock(fd, true);
	return r < 0 ? r : loop_io_add(loop, &c->io, fd, EPOLLIN, on_io);
}

void tail_drain(struct tail *c)
{
	/* A pipe holds 64 KiB; whoever still writes does not keep us here. */
	for (int i = 0; i < 8 && read_some(c); i++)
		;
}

/* The start of the n last lines that are not empty. */
static size_t lines_start(const char *s, size_t len, unsigned n)
{
	size_t i = len;
	unsigned lines = 0;

	while (i > 0) {
		if (s[i - 1] == '\n' && i < len && s[i] != '\n' && ++lines == n)
			break;
		i--;
	}
	return i;
}

const char *tail_text(struct tail *c, unsigned n)
{
	size_t kept = (size_t)MIN(c->total, (uint64_t)TAIL_KEPT);
	_cleanup_(buf_fini) struct buf raw = {0};
	bool gap = false;

	for (uint64_t i = c->total - kept; i < c->total; i++) {
		char ch = c->ring[i % TAIL_KEPT];

		if (ch != '\r' && !(ch == '\n' && (!raw.len || raw.data[raw.len - 1] == '\n')))
			buf_addc(&raw, ch);
	}
	while (raw.len && raw.data[raw.len - 1] == '\n')
		raw.len--;
	buf_fini(&c->text);
	for (size_t i = lines_start(raw.data, raw.len, n); i < raw.len; i++) {
		unsigned char ch = (unsigned char)raw.data[i];

		if (ch == '\n')
			buf_adds(&c->text, " | ");
		else if (ch >= ' ' && ch < 0x7f)
			buf_addc(&c->text, (char)ch);
		else if (!gap)
			buf_addc(&c->text, '?');
		gap = ch != '\n' && (ch < ' ' || ch >= 0x7f);
	}
	buf_reserve(&c->text, 0);
	c->text.data[c->text.len] = '\0';
	return c->text.data;
}

void tail_fini(struct tail *c)
{
	loop_io_remove(&c->io);
	c->fd = fd_close(c->fd);
	buf_fini(&c->text);
}
