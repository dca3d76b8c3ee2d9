/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/qmp/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/co.h"

/*
 * How it works: the loop reads, cuts the bytes into lines and hands every line to what it belongs
 * to: the greeting to qmp_open(), an answer to the coroutine that waits for its id, an event to the
 * listener. A coroutine sends its command itself and then waits in `struct pending`, which lives on
 * its stack and is linked into the connection while it waits.
 *
 * Descriptors travel with the bytes of their command, and QEMU keeps only those of the last message
 * it read: a command with descriptors is therefore sent only when no other such command is under
 * way (fd_lock). Whole commands are written under send_lock; one that cannot be finished in time
 * has spoilt the stream and closes the connection.
 *
 * A connection that is freed while commands wait stays as a shell until the last of them has left.
 */

#define READ_CHUNK     16384
#define ERROR_TEXT_MAX 512

enum qmp_state { QMP_GREETING, QMP_READY, QMP_CLOSED };

struct pending {
	struct list link;
	uint64_t id;
	struct co_cond answered;
	json_t *reply; /* owned; the whole message */
};

struct qmp {
	struct loop *loop;
	struct loop_io io;
	int fd;
	struct qmp_listener listener;
	enum qmp_state state;
	char *reason; /* why it is closed */
	struct buf in;
	size_t scanned; /* bytes of `in` known to hold no newline */
	uint64_t next_id;
	struct list pending;
	size_t n_pending;
	struct co_lock send_lock, fd_lock;
	struct co_cond changed; /* state, or the socket is writable again */
	unsigned users;         /* the owner, and coroutines inside */
};

static void qmp_destroy(struct qmp *qmp)
{
	loop_io_remove(&qmp->io);
	fd_close(qmp->fd);
	buf_fini(&qmp->in);
	free(qmp->reason);
	free(qmp);
}

static void leave(struct qmp *qmp)
{
	if (--qmp->users == 0)
		qmp_destroy(qmp);
}

/* Ends the connection and everybody's wait; the listener is told by close_with() alone. */
static void shut(struct qmp *qmp, const char *reason)
{
	struct pending *p;

	if (qmp->state == QMP_CLOSED)
		return;
	qmp->state = QMP_CLOSED;
	qmp->reason = xstrdup(reason);
	loop_io_remove(&qmp->io);
	qmp->fd = fd_close(qmp->fd);
	list_for_each (p, &qmp->pending, link)
		co_cond_wake_all(&p->answered);
	co_cond_wake_all(&qmp->changed);
}

static void close_with(struct qmp *qmp, const char *reason)
{
	bool opened = qmp->state == QMP_READY;

	if (qmp->state == QMP_CLOSED)
		return;
	shut(qmp, reason);
	if (opened && qmp->listener.closed)
		qmp->listener.closed(qmp->listener.arg, qmp->reason);
}

static void on_reply(struct qmp *qmp, json_t *message)
{
	json_t *id = json_object_get(message, "id");
	struct pending *p;

	if (!json_is_integer(id)) {
		/* QEMU could not read what we sent, or lies. */
		close_with(qmp, "an answer without an id");
		return;
	}
	list_for_each (p, &qmp->pending, link) {
		if (p->id != (uint64_t)json_integer_value(id) || p->reply)
			continue;
		p->reply = json_incref(message);
		co_cond_wake_all(&p->answered);
		return;
	}
	log_debug("qmp: dropped an answer nobody waits for");
}

static void on_message(struct qmp *qmp, json_t *message)
{
	const char *event = json_string_value(json_object_get(message, "event"));
	json_t *data = json_object_get(message, "data");

	if (qmp->state == QMP_GREETING) {
		if (!json_is_object(json_object_get(message, "QMP"))) {
			close_with(qmp, "no QMP greeting");
			return;
		}
		qmp->state = QMP_READY;
		co_cond_wake_all(&qmp->changed);
	} else if (event) {
		if (qmp->listener.event)
			qmp->listener.event(qmp->listener.arg, event,
					    json_is_object(data) ? data : NULL);
	} else if (json_object_get(message, "return") ||
		   json_is_object(json_object_get(message, "error"))) {
		on_reply(qmp, message);
	} else {
		close_with(qmp, "a message that is neither answer nor event");
	}
}

static void on_line(struct qmp *qmp, const char *line, size_t n)
{
	json_t *message = json_loadb(line, n, 0, NULL);

	if (json_is_object(message))
		on_message(qmp, message);
	else
		close_with(qmp, "a line that is no JSON object");
	json_decref(message);
}

static void take_lines(struct qmp *qmp)
{
	size_t start = 0;

	while (qmp->state != QMP_CLOSED) {
		char *newline = memchr(qmp->in.data + qmp->scanned, '\n',
				       qmp->in.len - qmp->scanned);
		size_t end;

		if (!newline) {
			qmp->scanned = qmp->in.len;
			break;
		}
		end = (size_t)(newline - qmp->in.data);
		if (end > start + 1)
			on_line(qmp, qmp->in.data + start, end - start);
		start = qmp->scanned = end + 1;
	}
	buf_consume(&qmp->in, start);
	qmp->scanned -= start;
	if (qmp->in.len > QMP_LINE_MAX)
		close_with(qmp, "a line over the limit");
}

/* One bounded read a round, so that a flood of events starves nobody. */
static void on_io(struct loop_io *io, uint32_t events)
{
	struct qmp *qmp = container_of(io, struct qmp, io);
	ssize_t r;

	if (events & EPOLLOUT) {
		loop_io_set(io, EPOLLIN);
		co_cond_wake_all(&qmp->changed);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	buf_reserve(&qmp->in, READ_CHUNK);
	r = recv(qmp->fd, qmp->in.data + qmp->in.len, READ_CHUNK, MSG_DONTWAIT);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	qmp->users++; /* a listener may free us */
	if (r > 0) {
		qmp->in.len += (size_t)r;
		qmp->in.data[qmp->in.len] = '\0';
		take_lines(qmp);
	} else {
		close_with(qmp, r < 0 ? strerror(errno) : "QEMU closed it");
	}
	leave(qmp);
}

/* Writes all of it, under send_lock. The descriptors go with the first byte. */
static int send_all(struct qmp *qmp, const char *p, size_t n, const int *fds, size_t n_fds,
		    uint64_t deadline)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r;
		int wait;

		if (qmp->state == QMP_CLOSED)
			return -EPIPE;
		r = fd_send(qmp->fd, p + done, n - done, fds, done ? 0 : n_fds);
		if (r > 0) {
			done += (size_t)r;
			continue;
		}
		if (r != -EAGAIN) {
			close_with(qmp, r < 0 ? strerror((int)-r) : "cannot write");
			return -EPIPE;
		}
		wait = loop_io_set(&qmp->io, EPOLLIN | EPOLLOUT);
		if (wait == 0)
			wait = co_cond_wait(&qmp->changed, deadline);
		if (wait < 0) {
			if (done)
				close_with(qmp, "a command could not be sent whole");
			return wait;
		}
	}
	return 0;
}

static int send_command(struct qmp *qmp, const char *command, json_t *arguments, uint64_t id,
			const int *fds, size_t n_fds, uint64_t deadline)
{
	json_t *message = json_pack("{s:s, s:o*, s:I}", "execute", command, "arguments",
				    json_incref(arguments), "id", (json_int_t)id);
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *line = NULL;
	int r;

	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text)
		return -EINVAL;
	line = xasprintf("%s\n", text);
	co_lock(&qmp->send_lock);
	r = send_all(qmp, line, strlen(line), fds, n_fds, deadline);
	co_unlock(&qmp->send_lock);
	return r;
}

/* QEMU's words for people: bounded, and nothing in them that a terminal would obey. */
static char *printable(const char *s)
{
	char *text = xstrndup(s, ERROR_TEXT_MAX);

	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return text;
}

/* What a reply means to the caller. */
static int read_reply(json_t *reply, const char *command, json_t **ret, struct err *err)
{
	json_t *error = json_object_get(reply, "error"), *value = json_object_get(reply, "return");
	_cleanup_(freep) char *text = NULL;
	const char *class, *desc;

	if (!error) {
		if (ret)
			*ret = json_incref(value);
		return 0;
	}
	class = json_string_value(json_object_get(error, "class"));
	desc = json_string_value(json_object_get(error, "desc"));
	text = printable(desc ? desc : "no reason given");
	return err_setx(err, streq(class, "DeviceNotFound") ? -ENOENT : -EREMOTEIO,
			"QEMU refused %s: %s", command, text);
}

static int exchange(struct qmp *qmp, const char *command, json_t *arguments, const int *fds,
		    size_t n_fds, uint64_t deadline, json_t **ret, struct err *err)
{
	struct pending p = {.id = ++qmp->next_id};
	int r;

	if (qmp->n_pending >= QMP_PENDING_MAX)
		return err_setx(err, -EBUSY, "QMP %s: %u commands under way already", command,
				QMP_PENDING_MAX);
	co_cond_init(&p.answered);
	list_add_tail(&qmp->pending, &p.link);
	qmp->n_pending++;
	r = send_command(qmp, command, arguments, p.id, fds, n_fds, deadline);
	while (r == 0 && !p.reply && qmp->state != QMP_CLOSED)
		r = co_cond_wait(&p.answered, deadline);
	list_remove(&p.link);
	qmp->n_pending--;
	if (p.reply)
		r = read_reply(p.reply, command, ret, err);
	else if (qmp->state == QMP_CLOSED)
		r = err_setx(err, -EPIPE, "QMP %s: connection closed: %s", command, qmp->reason);
	else
		r = err_set(err, r, "QMP %s", command);
	json_decref(p.reply);
	return r;
}

int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, const int *fds,
		size_t n_fds, uint64_t deadline, json_t **ret, struct err *err)
{
	int r;

	qmp->users++;
	if (n_fds)
		co_lock(&qmp->fd_lock);
	if (qmp->state == QMP_CLOSED)
		r = err_setx(err, -EPIPE, "QMP %s: connection closed: %s", command, qmp->reason);
	else
		r = exchange(qmp, command, arguments, fds, n_fds, deadline, ret, err);
	if (n_fds)
		co_unlock(&qmp->fd_lock);
	json_decref(arguments);
	leave(qmp);
	return r;
}

static int negotiate(struct qmp *qmp, uint64_t deadline, struct err *err)
{
	int r = 0;

	while (r == 0 && qmp->state == QMP_GREETING)
		r = co_cond_wait(&qmp->changed, deadline);
	if (qmp->state == QMP_CLOSED)
		return err_setx(err, -EPIPE, "QMP: connection closed: %s", qmp->reason);
	if (r < 0)
		return err_set(err, r, "QMP greeting");
	return exchange(qmp, "qmp_capabilities", NULL, NULL, 0, deadline, NULL, err);
}

int qmp_open(struct loop *loop, int fd, const struct qmp_listener *listener, uint64_t deadline,
	     struct qmp **ret, struct err *err)
{
	struct qmp *qmp = xnew(struct qmp);
	int r;

	qmp->loop = loop;
	qmp->fd = fd;
	qmp->users = 1;
	list_init(&qmp->pending);
	co_lock_init(&qmp->send_lock);
	co_lock_init(&qmp->fd_lock);
	co_cond_init(&qmp->changed);
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(loop, &qmp->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		err_set(err, r, "watch the QMP socket");
	} else {
		/* Events of the negotiation reach the listener; "closed" is our return value then.
		 */
		if (listener)
			qmp->listener = *listener;
		qmp->listener.closed = NULL;
		r = negotiate(qmp, deadline, err);
	}
	if (r < 0) {
		qmp_free(qmp);
		return r;
	}
	if (listener)
		qmp->listener = *listener;
	if (qmp->state == QMP_CLOSED) {
		r = err_setx(err, -EPIPE, "QMP: connection closed: %s", qmp->reason);
		qmp_free(qmp);
		return r;
	}
	*ret = qmp;
	return 0;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	qmp->listener = (struct qmp_listener){0};
	shut(qmp, "closed by us");
	leave(qmp);
}

bool qmp_alive(const struct qmp *qmp)
{
	return qmp && qmp->state == QMP_READY;
}
