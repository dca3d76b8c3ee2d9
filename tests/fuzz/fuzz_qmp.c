/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what QEMU says on its monitor, while we negotiate, run a command that passes a
 * descriptor and wait for an answer that may never come. The byte 0 makes the peer pause, so that
 * one input can be several reads.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/co.h"
#include "wire/qmp/qmp.h"

#define WAIT (3 * USEC_PER_MSEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct session {
	struct loop *loop;
	int fd;
	struct qmp *qmp;
	bool done;
	unsigned n_closed;
};

static void on_event(void *arg, const char *name, json_t *data)
{
	struct session *s = arg;

	/* Borrowed, but whole. */
	if (!s->loop || strlen(name) > QMP_LINE_MAX || (data && !json_is_object(data)))
		abort();
}

static void on_closed(void *arg, const char *reason)
{
	struct session *s = arg;

	if (s->n_closed++ || !*reason)
		abort();
}

static void client(void *arg)
{
	struct session *s = arg;
	struct qmp_listener listener = {on_event, on_closed, s};
	_cleanup_err_ struct err err = {0};
	json_t *ret = NULL;
	int r;

	r = qmp_open(s->loop, TAKE_FD(s->fd), &listener, clock_after(WAIT), &s->qmp, &err);
	if ((r == 0) != (s->qmp != NULL) || (r < 0) != (err.msg != NULL))
		abort();
	if (s->qmp) {
		r = qmp_execute(s->qmp, "getfd", json_pack("{s:s}", "fdname", "x"),
				&(int){STDERR_FILENO}, 1, clock_after(WAIT), &ret, &err);
		if ((r == 0) != (ret != NULL))
			abort();
		json_decref(ret);
		err_clear(&err);
		qmp_execute(s->qmp, "stop", NULL, NULL, 0, clock_after(WAIT), NULL, &err);
	}
	qmp_free(TAKE_PTR(s->qmp));
	s->done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session s = {0};
	int ends[2];

	if (fd_socketpair(ends) < 0 || loop_new(&s.loop) < 0)
		abort();
	s.fd = ends[0];
	co_start(s.loop, client, &s);
	while (!s.done) {
		const uint8_t *pause = size ? memchr(data, 0, size) : NULL;
		size_t n = pause ? (size_t)(pause - data) : size;
		ssize_t sent = n ? send(ends[1], data, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

		loop_round(s.loop, WAIT);
		if (sent > 0) {
			data += sent;
			size -= (size_t)sent;
		}
		if (pause && sent == (ssize_t)n) {
			data++;
			size--;
		}
	}
	close(ends[1]);
	loop_free(s.loop);
	return 0;
}
