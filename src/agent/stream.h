/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's ends of streams: a process' standard streams, connections. Calls of the host wait
 * here: a read until there are bytes, a write until all of them have been taken.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "wire/ttrpc/ttrpc.h"

#define STREAM_READ_MAX   (1U << 20)            /* bytes of one answer */
#define STREAM_CALLS_MAX  64U                   /* that wait on one stream */
#define STREAM_DRAIN_USEC (500 * USEC_PER_MSEC) /* silence after the exit that ends a stream */

/* Reading what the other side (a process, a peer) writes. */
struct stream_reader {
	struct loop *loop;
	int fd; /* -1: at the end */
	struct loop_io io;
	struct loop_timer drain;
	struct list calls;
	size_t n_calls;
	bool exited;   /* the process has ended */
	bool told;     /* somebody has been told of the end */
	int error;     /* what the end was, as -errno: a connection that was reset */
	uint64_t last; /* when the exit was, or the last bytes after it */
	void (*on_told)(struct stream_reader *reader);
};

/* Writing what it reads. */
struct stream_writer {
	struct loop *loop;
	int fd; /* -1: closed */
	struct loop_io io;
	struct list calls;
	size_t n_calls;
	bool closing; /* close when what waits has been written */
};

/* stream_reader_init: fd (non-blocking; becomes the reader's) or -1 for a stream that is empty. */
void stream_reader_init(struct stream_reader *reader, struct loop *loop, int fd);
/*
 * stream_read: answer `call` with 1 to `len` bytes, or with none at the end of the stream, as
 * Kata's agent does. Bytes are taken from the pipe only at the moment they are sent. Returns as a
 * ttrpc_method_fn does: always TTRPC_PARKED, or an error.
 */
int stream_read(struct stream_reader *reader, struct ttrpc_call *call, size_t len, struct err *err);
/*
 * stream_reader_exited: the process has ended. A descendant may hold the stream open: it is read
 * until it is silent for STREAM_DRAIN_USEC.
 */
void stream_reader_exited(struct stream_reader *reader);
/* stream_reader_resume: undo stream_reader_exited(): only the end of the stream ends it. */
void stream_reader_resume(struct stream_reader *reader);
/* stream_reader_close: the end, for those who wait and those who come. */
void stream_reader_close(struct stream_reader *reader);

void stream_writer_init(struct stream_writer *writer, struct loop *loop, int fd);
/* stream_write: write all n bytes (of the call's arena), then answer with their number. */
int stream_write(struct stream_writer *writer, struct ttrpc_call *call, const void *p, size_t n,
		 struct err *err);
/* stream_writer_finish: close behind what waits. */
void stream_writer_finish(struct stream_writer *writer);
/* stream_writer_close: close now, of a socket its half alone; calls that wait fail. */
void stream_writer_close(struct stream_writer *writer);
