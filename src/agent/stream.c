/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/alloc.h"
#include "base/fd.h"

/*
 * How it works: a call that cannot be answered at once is parked: a small object in its arena, in
 * the stream's list, first come first served. The descriptor is in the loop only while somebody
 * waits (a hung-up pipe would wake it for ever). When the connection of a waiting call goes away,
 * the call is taken out of the list, so no byte is read for nobody.
 */

struct parked {
	struct list link;
	struct ttrpc_call *call;
	struct loop_io *io; /* of the stream, and how many wait for it */
	size_t *count;
	size_t len;
	const char *data; /* writes: what is left */
	size_t written;
};

static void on_gone(struct ttrpc_call *call, void *arg)
{
	struct parked *p = arg;

	list_remove(&p->link);
	if (!--*p->count)
		loop_io_remove(p->io);
	ttrpc_call_fail(call, -ECANCELED, "the caller is gone");
}

static struct parked *park(struct list *calls, size_t *count, struct loop_io *io,
			   struct ttrpc_call *call)
{
	struct parked *p = ttrpc_call_alloc(call, sizeof(*p));

	*p = (struct parked){.call = call, .count = count, .io = io};
	list_add_tail(calls, &p->link);
	++*count;
	ttrpc_call_on_gone(call, on_gone, p);
	return p;
}

/* Takes the first one out; its fields stay valid until its call is answered. */
static struct parked *unpark(struct list *calls)
{
	struct parked *p = list_first(calls, struct parked, link);

	list_remove(&p->link);
	--*p->count;
	return p;
}

/* --- reading --- */

static void reply_read(struct ttrpc_call *call, void *data, size_t n)
{
	Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;

	response.data.data = data;
	response.data.len = n;
	ttrpc_call_reply(call, &response.base);
}

static void tell_end(struct stream_reader *r, struct ttrpc_call *call)
{
	if (r->error)
		ttrpc_call_fail(call, r->error, "read: %s", strerror(-r->error));
	else
		reply_read(call, NULL, 0);
	r->told = true;
	if (r->on_told)
		r->on_told(r);
}

void stream_reader_init(struct stream_reader *r, struct loop *loop, int fd)
{
	*r = (struct stream_reader){.loop = loop, .fd = fd};
	list_init(&r->calls);
}

/*
 * Takes at most len bytes out of the stream, for an answer that is sent right away. Returns their
 * number with *ret to be freed, 0 at the end of the stream, with r->error set where it broke, or
 * -EAGAIN. A pty whose other side is closed says EIO for the end.
 */
static ssize_t take(struct stream_reader *r, size_t len, char **ret)
{
	_cleanup_(freep) char *buffer = NULL;
	int available = 0;
	ssize_t n;

	if (ioctl(r->fd, FIONREAD, &available) < 0 || available <= 0)
		available = 1;
	len = MIN(MIN(len, (size_t)available), (size_t)STREAM_READ_MAX);
	buffer = xmalloc(len);
	do
		n = read(r->fd, buffer, len);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n < 0) {
		r->error = errno == EIO ? 0 : -errno;
		return 0;
	}
	if (n > 0 && r->exited)
		r->last = clock_now();
	*ret = TAKE_PTR(buffer);
	return n;
}

static void on_readable(struct loop_io *io, _unused_ uint32_t events)
{
	struct stream_reader *r = container_of(io, struct stream_reader, io);
	_cleanup_(freep) char *data = NULL;
	ssize_t n = take(r, list_first(&r->calls, struct parked, link)->len, &data);

	if (n == -EAGAIN)
		return;
	if (n == 0) {
		stream_reader_close(r);
		return;
	}
	reply_read(unpark(&r->calls)->call, data, (size_t)n);
	if (list_empty(&r->calls))
		loop_io_remove(io);
}

static void on_drained(struct loop_timer *timer)
{
	struct stream_reader *r = container_of(timer, struct stream_reader, drain);

	if (r->last + STREAM_DRAIN_USEC > clock_now()) {
		loop_timer_set(r->loop, timer, r->last + STREAM_DRAIN_USEC, on_drained);
		return;
	}
	/* Who waits now waits on an empty stream. */
	if (!list_empty(&r->calls))
		stream_reader_close(r);
}

int stream_read(struct stream_reader *r, struct ttrpc_call *call, size_t len, struct err *err)
{
	_cleanup_(freep) char *data = NULL;
	ssize_t n = -EAGAIN;

	if (r->n_calls >= STREAM_CALLS_MAX)
		return err_setx(err, -EBUSY, "%u calls read this stream already", STREAM_CALLS_MAX);
	if (!len)
		return err_setx(err, -EINVAL, "0 bytes cannot be read");
	if (r->fd < 0) {
		tell_end(r, call);
		return TTRPC_PARKED;
	}
	if (list_empty(&r->calls))
		n = take(r, len, &data);
	if (n > 0) {
		reply_read(call, data, (size_t)n);
		return TTRPC_PARKED;
	}
	if (n == 0 || (r->exited && r->last + STREAM_DRAIN_USEC <= clock_now())) {
		stream_reader_close(r);
		tell_end(r, call);
		return TTRPC_PARKED;
	}
	park(&r->calls, &r->n_calls, &r->io, call)->len = len;
	if (!r->io.loop && loop_io_add(r->loop, &r->io, r->fd, EPOLLIN, on_readable) < 0)
		stream_reader_close(r);
	return TTRPC_PARKED;
}

void stream_reader_exited(struct stream_reader *r)
{
	r->exited = true;
	r->last = clock_now();
	if (r->fd >= 0)
		loop_timer_set(r->loop, &r->drain, r->last + STREAM_DRAIN_USEC, on_drained);
}

void stream_reader_resume(struct stream_reader *r)
{
	r->exited = false;
	loop_timer_cancel(&r->drain);
}

void stream_reader_close(struct stream_reader *r)
{
	loop_timer_cancel(&r->drain);
	loop_io_remove(&r->io);
	r->fd = fd_close(r->fd);
	while (!list_empty(&r->calls))
		tell_end(r, unpark(&r->calls)->call);
}

/* --- writing --- */

static void reply_write(struct ttrpc_call *call, size_t n)
{
	Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;

	response.len = (uint32_t)n;
	ttrpc_call_reply(call, &response.base);
}

void stream_writer_init(struct stream_writer *w, struct loop *loop, int fd)
{
	*w = (struct stream_writer){.loop = loop, .fd = fd};
	list_init(&w->calls);
}

/* Writes what goes; returns the number of bytes, or -errno when the other side is closed. */
static ssize_t write_some(struct stream_writer *w, const char *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(w->fd, p + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno != EAGAIN)
			return -errno;
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static void on_writable(struct loop_io *io, _unused_ uint32_t events)
{
	struct stream_writer *w = container_of(io, struct stream_writer, io);

	while (!list_empty(&w->calls)) {
		struct parked *p = list_first(&w->calls, struct parked, link);
		ssize_t n = write_some(w, p->data, p->len);

		if (n < 0) {
			stream_writer_close(w);
			return;
		}
		p->data += n;
		p->len -= (size_t)n;
		p->written += (size_t)n;
		if (p->len)
			return;
		unpark(&w->calls);
		reply_write(p->call, p->written);
	}
	loop_io_remove(io);
	if (w->closing)
		stream_writer_close(w);
}

int stream_write(struct stream_writer *w, struct ttrpc_call *call, const void *data, size_t n,
		 struct err *err)
{
	ssize_t done = 0;
	struct parked *p;

	if (w->fd < 0 || w->closing)
		return err_setx(err, -EBUSY, "the stream is closed");
	if (w->n_calls >= STREAM_CALLS_MAX)
		return err_setx(err, -EBUSY, "%u calls write this stream already",
				STREAM_CALLS_MAX);
	if (list_empty(&w->calls))
		done = write_some(w, data, n);
	if (done < 0) {
		stream_writer_close(w);
		return err_set(err, (int)done, "write");
	}
	if ((size_t)done == n) {
		reply_write(call, n);
		return TTRPC_PARKED;
	}
	p = park(&w->calls, &w->n_calls, &w->io, call);
	p->data = (const char *)data + done;
	p->len = n - (size_t)done;
	p->written = (size_t)done;
	if (!w->io.loop && loop_io_add(w->loop, &w->io, w->fd, EPOLLOUT, on_writable) < 0)
		stream_writer_close(w);
	return TTRPC_PARKED;
}

void stream_writer_finish(struct stream_writer *w)
{
	if (list_empty(&w->calls))
		stream_writer_close(w);
	else
		w->closing = true;
}

void stream_writer_close(struct stream_writer *w)
{
	loop_io_remove(&w->io);
	/* The reader of a connection has another descriptor of the socket. */
	if (w->fd >= 0)
		(void)shutdown(w->fd, SHUT_WR);
	w->fd = fd_close(w->fd);
	while (!list_empty(&w->calls))
		ttrpc_call_fail(unpark(&w->calls)->call, -EBUSY, "the stream is closed");
}
