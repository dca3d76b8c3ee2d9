/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/ttrpc/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"
#include "wire/ttrpc/ttrpc.h"

/*
 * How it works: a ready descriptor is read once a round, into a buffer that grows with what really
 * arrives (a header alone makes nobody allocate 4 MiB), and every whole frame in it is handed over.
 * A frame is written into the output buffer in place and sent with one write(2) at once; only what
 * the kernel does not take waits for EPOLLOUT. write(2), not send(2): the descriptor may be a
 * serial port.
 *
 * A frame over the limit is skipped and reported, as Go's implementation does. A first byte other
 * than zero (reserved by the protocol) means that this is not ttRPC, or no longer: the connection
 * ends. The owner may free the connection in any callback: the memory stays until the reader has
 * left it (`busy`).
 */

#define IN_MIN   ((size_t)4096)
#define BUF_KEEP ((size_t)64 * 1024) /* larger buffers are given back when empty */

struct ttrpc_conn {
	struct loop *loop;
	struct loop_io io;
	struct loop_defer broken; /* a write has failed: tell the owner from the loop */
	const struct ttrpc_conn_ops *ops;
	void *arg;
	char *in;
	size_t in_len, in_cap;
	uint64_t skip; /* bytes of an oversize frame still to come */
	struct buf out;
	size_t out_sent; /* of out, written already */
	size_t begun;    /* where the frame under construction starts in out */
	int busy;
	bool freed, failed, reading_paused;
	char reason[128];
};

void ttrpc_header_encode(const struct ttrpc_header *header, uint8_t out[TTRPC_HEADER_SIZE])
{
	uint32_t length = htonl(header->length), stream = htonl(header->stream);

	memcpy(out, &length, 4);
	memcpy(out + 4, &stream, 4);
	out[8] = header->type;
	out[9] = header->flags;
}

void ttrpc_header_decode(const uint8_t in[TTRPC_HEADER_SIZE], struct ttrpc_header *ret)
{
	uint32_t length, stream;

	memcpy(&length, in, 4);
	memcpy(&stream, in + 4, 4);
	ret->length = ntohl(length);
	ret->stream = ntohl(stream);
	ret->type = in[8];
	ret->flags = in[9];
}

size_t pb_varint_size(uint64_t value)
{
	size_t n = 1;

	while (value >>= 7)
		n++;
	return n;
}

uint8_t *pb_varint(uint8_t *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*out++ = (uint8_t)(value | 0x80);
	*out++ = (uint8_t)value;
	return out;
}

size_t pb_bytes_size(size_t length)
{
	return 1 + pb_varint_size(length) + length;
}

uint8_t *pb_bytes(uint8_t *out, unsigned int field, size_t length)
{
	*out++ = (uint8_t)(field << 3 | 2);
	return pb_varint(out, length);
}

/* --- life --- */

static void release(struct ttrpc_conn *conn)
{
	if (!conn->freed || conn->busy)
		return;
	buf_fini(&conn->out);
	free(conn->in);
	free(conn);
}

static void stop(struct ttrpc_conn *conn)
{
	if (!conn->io.loop)
		return;
	loop_io_remove(&conn->io);
	close(conn->io.fd);
}

void ttrpc_conn_free(struct ttrpc_conn *conn)
{
	if (!conn || conn->freed)
		return;
	stop(conn);
	loop_defer_cancel(&conn->broken);
	conn->freed = true;
	release(conn);
}

/* The connection has ended by itself; the owner hears it once. */
static void fail(struct ttrpc_conn *conn, const char *reason)
{
	if (conn->freed || conn->failed)
		return;
	conn->failed = true;
	stop(conn);
	loop_defer_cancel(&conn->broken);
	conn->ops->closed(conn->arg, reason);
}

static void on_broken(struct loop_defer *defer)
{
	struct ttrpc_conn *conn = container_of(defer, struct ttrpc_conn, broken);

	conn->busy++;
	fail(conn, conn->reason);
	conn->busy--;
	release(conn);
}

/* --- output --- */

size_t ttrpc_conn_backlog(const struct ttrpc_conn *conn)
{
	return conn->out.len - conn->out_sent;
}

static void watch(struct ttrpc_conn *conn)
{
	size_t backlog = ttrpc_conn_backlog(conn);

	if (!conn->io.loop)
		return;
	if (backlog > TTRPC_BACKLOG_MAX && conn->ops->read_waits)
		conn->reading_paused = true;
	else if (backlog <= TTRPC_BACKLOG_MAX / 2)
		conn->reading_paused = false;
	loop_io_set(&conn->io,
		    (conn->reading_paused ? 0 : EPOLLIN) | (backlog ? (uint32_t)EPOLLOUT : 0));
}

static void flush(struct ttrpc_conn *conn)
{
	struct buf *out = &conn->out;

	while (conn->out_sent < out->len && conn->io.loop) {
		ssize_t n = write(conn->io.fd, out->data + conn->out_sent,
				  out->len - conn->out_sent);

		if (n > 0) {
			conn->out_sent += (size_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno != EAGAIN) {
			snprintf(conn->reason, sizeof(conn->reason), "write: %s", strerror(errno));
			loop_defer(conn->loop, &conn->broken, on_broken);
			conn->out_sent = out->len;
		} else {
			break;
		}
	}
	if (conn->out_sent == out->len) {
		conn->out_sent = out->len = 0;
		if (out->cap > BUF_KEEP)
			buf_fini(out);
	} else if (conn->out_sent >= out->len / 2) {
		buf_consume(out, conn->out_sent);
		conn->out_sent = 0;
	}
	watch(conn);
}

uint8_t *ttrpc_conn_begin(struct ttrpc_conn *conn, size_t length)
{
	buf_reserve(&conn->out, TTRPC_HEADER_SIZE + length);
	conn->begun = conn->out.len;
	return (uint8_t *)conn->out.data + conn->begun + TTRPC_HEADER_SIZE;
}

void ttrpc_conn_commit(struct ttrpc_conn *conn, const struct ttrpc_header *header)
{
	bool idle = ttrpc_conn_backlog(conn) == 0;

	if (conn->failed || conn->freed || conn->broken.loop)
		return;
	ttrpc_header_encode(header, (uint8_t *)conn->out.data + conn->begun);
	conn->out.len = conn->begun + TTRPC_HEADER_SIZE + header->length;
	if (idle)
		flush(conn);
	else
		watch(conn);
}

/* --- input --- */

/*
 * Hands over the whole frames in the buffer. Returns how many bytes they were, or -EPROTO. Stops
 * when a callback has ended the connection.
 */
static ssize_t dispatch(struct ttrpc_conn *conn)
{
	size_t at = 0;

	while (!conn->freed && !conn->failed) {
		size_t left = conn->in_len - at;
		const uint8_t *p = (const uint8_t *)conn->in + at;
		struct ttrpc_header header;

		if (conn->skip) {
			size_t n = MIN((uint64_t)left, conn->skip);

			conn->skip -= n;
			at += n;
			if (conn->skip)
				break;
			continue;
		}
		if (left > 0 && p[0] != 0)
			return -EPROTO;
		if (left < TTRPC_HEADER_SIZE)
			break;
		ttrpc_header_decode(p, &header);
		if (header.length > TTRPC_FRAME_MAX) {
			conn->skip = header.length;
			at += TTRPC_HEADER_SIZE;
			conn->ops->oversize(conn->arg, &header);
			continue;
		}
		if (left - TTRPC_HEADER_SIZE < header.length)
			break;
		at += TTRPC_HEADER_SIZE + header.length;
		conn->ops->frame(conn->arg, &header, p + TTRPC_HEADER_SIZE);
	}
	return (ssize_t)at;
}

/* Room for more input: doubles, since what is announced may never come. */
static void make_room(struct ttrpc_conn *conn)
{
	if (conn->in_len < (conn->in_cap + 1) / 2)
		return;
	conn->in_cap = MAX(IN_MIN, conn->in_cap * 2);
	conn->in = xrealloc(conn->in, conn->in_cap);
}

static void consume(struct ttrpc_conn *conn, size_t n)
{
	conn->in_len -= n;
	if (conn->in_len)
		memmove(conn->in, conn->in + n, conn->in_len);
	else if (conn->in_cap > BUF_KEEP) {
		free(TAKE_PTR(conn->in));
		conn->in_cap = 0;
	}
}

static void receive(struct ttrpc_conn *conn)
{
	ssize_t n;

	make_room(conn);
	n = read(conn->io.fd, conn->in + conn->in_len, conn->in_cap - conn->in_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		snprintf(conn->reason, sizeof(conn->reason), "read: %s", strerror(errno));
		fail(conn, conn->reason);
		return;
	}
	if (n == 0) {
		fail(conn, "end of stream");
		return;
	}
	conn->in_len += (size_t)n;
	n = dispatch(conn);
	if (n < 0)
		fail(conn, "not a ttRPC frame");
	else if (!conn->freed && !conn->failed)
		consume(conn, (size_t)n);
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct ttrpc_conn *conn = container_of(io, struct ttrpc_conn, io);

	conn->busy++;
	if (events & EPOLLOUT) {
		size_t before = ttrpc_conn_backlog(conn);

		flush(conn);
		if (conn->ops->drained && ttrpc_conn_backlog(conn) < before)
			conn->ops->drained(conn->arg);
	}
	if (conn->io.loop && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		/* Nobody will read what is unsent, so what is unread does not matter either. */
		if (conn->reading_paused && (events & (EPOLLHUP | EPOLLERR)))
			fail(conn, "end of stream");
		else if (!conn->reading_paused)
			receive(conn);
	}
	conn->busy--;
	release(conn);
}

int ttrpc_conn_new(struct loop *loop, int fd, const struct ttrpc_conn_ops *ops, void *arg,
		   struct ttrpc_conn **ret)
{
	struct ttrpc_conn *conn = xnew(struct ttrpc_conn);
	int r;

	conn->loop = loop;
	conn->ops = ops;
	conn->arg = arg;
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(loop, &conn->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		close(fd);
		free(conn);
		return r;
	}
	*ret = conn;
	return 0;
}
