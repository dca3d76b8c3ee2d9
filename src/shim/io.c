/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/io.h"

#include <errno.h>
#include <fcntl.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/co.h"
#include "shim/sink.h"

/*
 * How it works: one coroutine a stream. Those of the output read from the sandbox (which waits in
 * the guest) and write to the FIFO; a stream that nobody wants is read too and dropped, since a
 * process may not block on it. The coroutine of the input waits for the FIFO and hands pieces to
 * the sandbox.
 *
 * The input is opened when the process starts, not before: until then a client's first write waits,
 * and so does the CloseIO that it sends behind its last one (ctr drops a CloseIO that it meets
 * before the answer to its Exec). A CloseIO that comes before the start therefore means that there
 * is nothing to wait for: what is in the FIFO at the start is all.
 *
 * Standard input ends when containerd says so (CloseIO), not when a client closes the FIFO: another
 * client may attach. So we hold a writing end ourselves until then. Behind it the FIFO's own end
 * of file is the end of the input, so that nothing that was written before is lost.
 *
 * The coroutines, and those who wait for the output, own the io together with the process: the last
 * one to go frees it.
 */

#define STDIN_PIECE (32U << 10)

enum { PUMP_IN, PUMP_OUT, PUMP_ERR, _PUMP_MAX };

struct pump {
	struct io *io;
	struct loop_io watch;
	struct co_cond wake;
	int fd; /* -1: nobody is there */
	int stream;
	bool fired;
};

struct io {
	struct loop *loop;
	struct sandbox *sandbox;
	char *id, *exec_id;
	struct pump pumps[_PUMP_MAX];
	char *in; /* path of the input; NULL: none */
	int hold; /* writing end of it from the start to CloseIO, else -1 */
	bool terminal, closed_early, stopped, freed;
	unsigned int n_running, n_output;
	uint64_t last; /* when output came */
	struct co_cond drained;
};

static void pump_fired(struct loop_io *watch, _unused_ uint32_t events)
{
	struct pump *p = container_of(watch, struct pump, watch);

	loop_io_remove(&p->watch);
	p->fired = true;
	co_cond_wake_all(&p->wake);
}

/* Until the descriptor is ready. A regular file always is; -ECANCELED: the io is being freed. */
static int pump_wait(struct pump *p, uint32_t events)
{
	int r;

	if (p->io->stopped)
		return -ECANCELED;
	p->fired = false;
	r = loop_io_add(p->io->loop, &p->watch, p->fd, events, pump_fired);
	if (r == -EPERM)
		return 0;
	if (r < 0)
		return r;
	while (!p->fired && !p->io->stopped)
		(void)co_cond_wait(&p->wake, USEC_NEVER);
	loop_io_remove(&p->watch);
	return p->io->stopped ? -ECANCELED : 0;
}

/* A logger that died or a full disk does not stop the process: the rest is dropped. */
static int pump_write(struct pump *p, const char *data, size_t n)
{
	while (n > 0 && p->fd >= 0) {
		ssize_t done = write(p->fd, data, n);
		int r;

		if (done >= 0) {
			data += done;
			n -= done;
		} else if (errno == EAGAIN) {
			r = pump_wait(p, EPOLLOUT);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			log_warn("container %s%s%s: output is dropped: %s", p->io->id,
				 *p->io->exec_id ? " exec " : "", p->io->exec_id,
				 strerrordesc_np(errno));
			p->fd = fd_close(p->fd);
		}
	}
	return p->io->stopped ? -ECANCELED : 0;
}

static void io_unref(struct io *io)
{
	if (!io->freed || io->n_running > 0)
		return;
	free(io->id);
	free(io->exec_id);
	free(io->in);
	free(io);
}

static void pump_end(struct pump *p)
{
	struct io *io = p->io;

	p->fd = fd_close(p->fd);
	io->n_running--;
	if (p->stream != PUMP_IN && --io->n_output == 0)
		co_cond_wake_all(&io->drained);
	io_unref(io);
}

static void output_run(void *arg)
{
	struct pump *p = arg;
	struct io *io = p->io;
	ssize_t n;

	do {
		_cleanup_err_ struct err err = {0};
		_cleanup_(freep) void *data = NULL;

		n = io->stopped ? -ECANCELED
				: container_read_output(io->sandbox, io->id, io->exec_id, p->stream,
							&data, &err);
		io->last = clock_now();
		if (n > 0 && pump_write(p, data, n) < 0)
			n = -ECANCELED;
		else if (n < 0 && !io->stopped)
			log_debug("container %s: read stream %d: %s", io->id, p->stream,
				  err_text(&err));
	} while (n > 0);
	pump_end(p);
}

/* Bytes read (> 0), 0 at the end of the input, or -errno. */
static ssize_t input_read(struct pump *p, char *piece)
{
	for (;;) {
		bool all_there = p->io->closed_early;
		int r = all_there ? 0 : pump_wait(p, EPOLLIN);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(p->fd, piece, STDIN_PIECE);
		if (n >= 0)
			return n;
		if (errno == EAGAIN && all_there)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

static void input_run(void *arg)
{
	struct pump *p = arg;
	struct io *io = p->io;
	ssize_t n;

	do {
		_cleanup_(freep) char *piece = xmalloc(STDIN_PIECE);

		n = input_read(p, piece);
		if (n > 0) {
			int r = container_write_stdin(io->sandbox, io->id, io->exec_id, piece, n,
						      NULL);

			n = r < 0 ? r : n;
		}
	} while (n > 0);
	if (!io->stopped)
		(void)container_close_stdin(io->sandbox, io->id, io->exec_id, NULL);
	io->hold = fd_close(io->hold);
	pump_end(p);
}

static int input_check(struct io *io, const char *path, struct err *err)
{
	if (str_empty(path))
		return 0;
	if (access(path, R_OK) < 0)
		return err_set(err, -errno, "open input %s", path);
	io->in = xstrdup(path);
	return 0;
}

static int input_open(struct io *io)
{
	_cleanup_(closep) int fd = open(io->in, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (!io->closed_early) {
		io->hold = open(io->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		if (io->hold < 0)
			return -errno;
	}
	io->pumps[PUMP_IN].fd = TAKE_FD(fd);
	return 0;
}

int io_open(struct loop *loop, const struct io_request *request, struct io **ret, struct err *err)
{
	_cleanup_(io_freep) struct io *io = xnew(struct io);
	struct sink sink = {-1, -1};
	int r;

	io->loop = loop;
	io->id = xstrdup(request->id);
	io->exec_id = xstrdup(request->exec_id);
	io->terminal = request->terminal;
	io->hold = -1;
	co_cond_init(&io->drained);
	for (int i = 0; i < _PUMP_MAX; i++) {
		io->pumps[i] = (struct pump){.io = io, .fd = -1, .stream = i};
		co_cond_init(&io->pumps[i].wake);
	}
	r = input_check(io, request->in, err);
	if (r < 0)
		return r;
	r = sink_open(&(struct sink_request){request->out, request->err, request->terminal,
					     request->namespace, request->id},
		      &sink, err);
	if (r < 0)
		return r;
	io->pumps[PUMP_OUT].fd = sink.out;
	io->pumps[PUMP_ERR].fd = sink.err;
	*ret = TAKE_PTR(io);
	return 0;
}

static void pump_start(struct pump *p, co_fn run)
{
	p->io->n_running++;
	p->io->n_output += p->stream != PUMP_IN;
	co_start(p->io->loop, run, p);
}

void io_start(struct io *io, struct sandbox *sandbox)
{
	io->sandbox = sandbox;
	pump_start(&io->pumps[PUMP_OUT], output_run);
	if (!io->terminal)
		pump_start(&io->pumps[PUMP_ERR], output_run);
	if (!io->in)
		return;
	/* One that has vanished since reads as empty. */
	if (input_open(io) < 0) {
		log_warn("container %s: input %s cannot be opened", io->id, io->in);
		io->closed_early = true;
	}
	pump_start(&io->pumps[PUMP_IN], input_run);
}

bool io_has_stdin(const struct io *io)
{
	return io->in != NULL;
}

void io_close_stdin(struct io *io)
{
	if (!io->sandbox)
		io->closed_early = true;
	io->hold = fd_close(io->hold);
}

int io_drain(struct io *io, uint64_t quiet_usec, uint64_t deadline)
{
	uint64_t start = clock_now();
	int r = 0;

	/* Its owner may free it meanwhile. */
	io->n_running++;
	while (io->n_output > 0 && !io->freed && r == 0) {
		uint64_t until = MIN(MAX(start, io->last) + quiet_usec, deadline);

		r = clock_now() < until ? 0 : -ETIMEDOUT;
		if (r == 0)
			(void)co_cond_wait(&io->drained, until);
	}
	r = io->n_output > 0 && !io->freed ? r : 0;
	io->n_running--;
	io_unref(io);
	return r;
}

void io_free(struct io *io)
{
	if (!io || io->freed)
		return;
	io->stopped = true;
	io->freed = true;
	io->hold = fd_close(io->hold);
	for (int i = 0; i < _PUMP_MAX; i++) {
		struct pump *p = &io->pumps[i];

		loop_io_remove(&p->watch);
		p->fd = fd_close(p->fd);
		co_cond_wake_all(&p->wake);
	}
	co_cond_wake_all(&io->drained);
	io_unref(io);
}
