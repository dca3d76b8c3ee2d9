/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/serial.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/co.h"

/*
 * How it works: bytes go through a window of one marker's length. As long as nothing of the session
 * can be among them they are read in large pieces; the guest reads those before the "go" so that
 * never a byte behind it is taken: at most as many as the marker lacks that the window's end could
 * be the start of.
 */

#define MAGIC_LEN 15
#define PIECE     16384 /* bytes read at once */

#define RETRY_FIRST (10 * USEC_PER_MSEC)
#define RETRY_MAX   (320 * USEC_PER_MSEC)
/* How often the guest looks for a host: an abandoned guest should cost its machine little. */
#define HOST_WAIT_FIRST (10 * USEC_PER_MSEC)
#define HOST_WAIT_MAX   (160 * USEC_PER_MSEC)
/* More than the 4 MiB and header of the longest frame (TTRPC_FRAME_MAX). */
#define FLUSH_BYTES (((size_t)4 << 20) + 65536)

static const uint8_t magic[MAGIC_LEN] = "\xf5KATA-C SERIAL\r";

enum kind { KIND_SYN = 'S', KIND_ACK = 'A', KIND_GO = 'G' };

struct window {
	uint8_t bytes[SERIAL_MARKER];
	size_t n;
};

static void marker_encode(uint8_t out[SERIAL_MARKER], enum kind kind, uint64_t generation)
{
	memcpy(out, magic, sizeof(magic));
	out[MAGIC_LEN] = (uint8_t)kind;
	memcpy(out + MAGIC_LEN + 1, &generation, sizeof(generation));
}

/* Could these n bytes be the start of a marker? */
static bool may_be_marker(const uint8_t *p, size_t n)
{
	return memcmp(p, magic, n < MAGIC_LEN ? n : MAGIC_LEN) == 0;
}

/* Drops from the front until what is left could be the start of a marker. */
static void window_trim(struct window *w, size_t drop)
{
	while (drop < w->n && !may_be_marker(w->bytes + drop, w->n - drop))
		drop++;
	w->n -= drop;
	memmove(w->bytes, w->bytes + drop, w->n);
}

/*
 * Adds one byte. True when the window held a marker. Its end is looked at again: a marker that was
 * cut off takes the first bytes of the next one for its own.
 */
static bool window_add(struct window *w, uint8_t byte, uint8_t *ret_kind, uint64_t *ret_generation)
{
	w->bytes[w->n++] = byte;
	window_trim(w, 0);
	if (w->n < SERIAL_MARKER)
		return false;
	*ret_kind = w->bytes[MAGIC_LEN];
	memcpy(ret_generation, w->bytes + MAGIC_LEN + 1, sizeof(*ret_generation));
	window_trim(w, 1);
	return true;
}

/* Where the next byte is that matters: with an empty window the next one that can start a marker.
 */
static size_t window_skip(const struct window *w, const uint8_t *bytes, size_t i, size_t n)
{
	const uint8_t *start;

	if (w->n || i >= n)
		return i;
	start = memchr(bytes + i, magic[0], n - i);
	return start ? (size_t)(start - bytes) : n;
}

/* Writes all of it; 0 or -errno. */
static int write_bytes(int fd, const void *p, size_t n, uint64_t deadline)
{
	while (n) {
		ssize_t r = write(fd, p, n);

		if (r > 0) {
			p = (const char *)p + r;
			n -= (size_t)r;
		} else if (r < 0 && errno == EAGAIN) {
			r = co_wait_io(fd, EPOLLOUT, deadline);
			if (r < 0)
				return (int)r;
			if ((r & (EPOLLHUP | EPOLLERR)) && !(r & EPOLLOUT))
				return -EPIPE;
		} else if (r == 0 || errno != EINTR) {
			return r == 0 ? -EPIPE : -errno;
		}
	}
	return 0;
}

static int write_marker(int fd, enum kind kind, uint64_t generation, uint64_t deadline)
{
	uint8_t marker[SERIAL_MARKER];

	marker_encode(marker, kind, generation);
	return write_bytes(fd, marker, sizeof(marker), deadline);
}

/* Reads what there is, at most n: the count, 0 at the end of the stream, -ETIMEDOUT or -errno. */
static ssize_t read_bytes(int fd, void *p, size_t n, uint64_t deadline)
{
	for (;;) {
		ssize_t r = read(fd, p, n);

		if (r >= 0)
			return r;
		if (errno == EAGAIN) {
			r = co_wait_io(fd, EPOLLIN, deadline);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

/* --- host --- */

/* Reads until the acknowledgement of generation. 1: not yet, at `until`. */
static int await_ack(int fd, struct window *w, uint64_t generation, uint64_t until)
{
	uint8_t bytes[PIECE];

	for (;;) {
		ssize_t n = read_bytes(fd, bytes, sizeof(bytes), until);
		size_t i = 0, end = (size_t)n;

		if (n <= 0)
			return n == -ETIMEDOUT ? 1 : n == 0 ? -EPIPE : (int)n;
		for (; (i = window_skip(w, bytes, i, end)) < end; i++) {
			uint64_t theirs;
			uint8_t kind;

			if (!window_add(w, bytes[i], &kind, &theirs) || kind != KIND_ACK ||
			    theirs != generation)
				continue;
			/* A guest that has acknowledged waits for us. */
			return i + 1 == end ? 0 : -EPROTO;
		}
		if (clock_now() >= until)
			return 1;
	}
}

/* Ends the frame that a guest may wait for. Stops when the guest answers: 0; 1: not yet. */
static int flush_frame(int fd, struct window *w, uint64_t generation, uint64_t deadline)
{
	uint8_t filler[4096];

	memset(filler, 0xff, sizeof(filler));
	for (size_t sent = 0; sent < FLUSH_BYTES; sent += sizeof(filler)) {
		int r = await_ack(fd, w, generation, clock_now());

		if (r != 1)
			return r;
		r = write_bytes(fd, filler, sizeof(filler), deadline);
		if (r < 0)
			return r;
	}
	return 1;
}

/* 0: acknowledged; 1: not yet, at `until`. */
static int attempt(int fd, struct window *w, uint64_t generation, bool flush, uint64_t until,
		   uint64_t deadline)
{
	int r;

	if (flush) {
		r = flush_frame(fd, w, generation, deadline);
		if (r != 1)
			return r;
	}
	r = write_marker(fd, KIND_SYN, generation, deadline);
	return r < 0 ? r : await_ack(fd, w, generation, MIN(until, deadline));
}

int serial_open(int fd, uint64_t deadline)
{
	uint64_t generation, retry = RETRY_FIRST, flush_at = clock_after(SERIAL_FLUSH_AFTER);
	struct window w = {0};
	int r;

	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return r;
	if (getrandom(&generation, sizeof(generation), 0) != sizeof(generation))
		return -EIO;
	do {
		bool flush = clock_now() >= flush_at;

		if (flush)
			flush_at = USEC_NEVER;
		r = attempt(fd, &w, generation, flush, clock_after(retry), deadline);
		retry = MIN(retry * 2, RETRY_MAX);
	} while (r == 1 && clock_now() < deadline);
	if (r == 1)
		return -ETIMEDOUT;
	return r < 0 ? r : write_marker(fd, KIND_GO, generation, deadline);
}

/* --- guest --- */

struct guest {
	int fd;
	uint64_t deadline;
	struct window window;
	uint64_t generation;
	bool acknowledged;
};

/*
 * Takes n bytes. Returns 1 at the "go". Only the newest "synchronise" of a piece is answered: the
 * others are the host's own repetitions, or of a host that has gone.
 */
static int take(struct guest *g, const uint8_t *bytes, size_t n)
{
	bool answer = false;

	for (size_t i = 0; (i = window_skip(&g->window, bytes, i, n)) < n; i++) {
		uint64_t theirs;
		uint8_t kind;

		if (!window_add(&g->window, bytes[i], &kind, &theirs))
			continue;
		if (kind == KIND_GO && g->acknowledged && !answer && theirs == g->generation)
			return 1;
		if (kind != KIND_SYN || (g->acknowledged && theirs == g->generation))
			continue;
		g->generation = theirs;
		g->acknowledged = answer = true;
	}
	return answer ? write_marker(g->fd, KIND_ACK, g->generation, g->deadline) : 0;
}

int serial_accept(int fd, uint64_t deadline)
{
	struct guest g = {.fd = fd, .deadline = deadline};
	uint64_t wait = HOST_WAIT_FIRST;
	int r;

	r = fd_set_nonblock(fd, true);
	while (r == 0) {
		uint8_t bytes[PIECE];
		/* No "go" comes before an acknowledgement, so until then any piece is safe. */
		size_t most = g.acknowledged ? SERIAL_MARKER - g.window.n : sizeof(bytes);
		ssize_t n = read_bytes(fd, bytes, most, deadline);

		if (n < 0)
			return (int)n;
		if (n == 0) {
			if (clock_now() >= deadline)
				return -ETIMEDOUT;
			g = (struct guest){.fd = fd, .deadline = deadline};
			co_sleep(wait);
			wait = MIN(2 * wait, HOST_WAIT_MAX);
			continue;
		}
		wait = HOST_WAIT_FIRST;
		r = take(&g, bytes, (size_t)n);
		if (r == -EPIPE)
			r = 0; /* the host went away meanwhile; the next read waits for another */
	}
	return r == 1 ? 0 : r;
}
