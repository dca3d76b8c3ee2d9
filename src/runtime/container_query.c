/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "runtime/model.h"

/* What callers ask of a container, and its streams: nothing here takes the container's lock. */

#define STATS_TIMEOUT (10 * USEC_PER_SEC)
#define STREAM_CHUNK  (128U << 10)
#define STDIN_CHUNK   (64U << 10)

int container_status(struct sandbox *s, const char *id, const char *exec_id,
		     struct process_status *ret, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);

	if (!p)
		return -ENOENT;
	process_get_status(p, ret);
	return 0;
}

int container_wait(struct sandbox *s, const char *id, const char *exec_id,
		   struct process_status *ret, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);

	if (!p)
		return -ENOENT;
	while (p->state != PROCESS_STOPPED)
		co_cond_wait(&p->changed, USEC_NEVER);
	process_get_status(p, ret);
	return 0;
}

int container_stats(struct sandbox *s, const char *id, Grpc__StatsContainerResponse **ret,
		    struct err *err)
{
	_cleanup_(container_unrefp) struct container *c = container_find(s, id, err);
	Grpc__StatsContainerRequest request = GRPC__STATS_CONTAINER_REQUEST__INIT;
	int r;

	if (!c)
		return -ENOENT;
	r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	request.container_id = c->id;
	return agent_stats_container(s->agent, &request, clock_after(STATS_TIMEOUT), ret, err);
}

int container_pids(struct sandbox *s, const char *id, pid_t **ret, size_t *ret_n, struct err *err)
{
	_cleanup_(container_unrefp) struct container *c = container_find(s, id, err);
	size_t n = 0;
	pid_t *pids;

	if (!c)
		return -ENOENT;
	pids = xcalloc(c->processes.n + 1, sizeof(*pids));
	map_for_each (e, &c->processes) {
		const struct process *p = e->value;

		/* All of them are the one VM. */
		if (p->state == PROCESS_RUNNING && p->pid && n == 0)
			pids[n++] = p->pid;
	}
	*ret = pids;
	*ret_n = n;
	return 0;
}

/* --- streams --- */

static const char *guest_exec_id(const struct process *p)
{
	return *p->exec_id ? p->exec_id : p->container->id;
}

/* Before an exec is started the agent does not know it. */
static int wait_started(struct process *p, struct err *err)
{
	while (*p->exec_id && p->state == PROCESS_CREATED) {
		int r = sandbox_usable(p->container->sandbox, err);

		if (r < 0)
			return r;
		co_cond_wait(&p->changed, USEC_NEVER);
	}
	return sandbox_usable(p->container->sandbox, err);
}

int container_write_stdin(struct sandbox *s, const char *id, const char *exec_id, const void *data,
			  size_t n, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	Grpc__WriteStreamRequest request = GRPC__WRITE_STREAM_REQUEST__INIT;
	int r;

	if (!p)
		return -ENOENT;
	r = wait_started(p, err);
	request.container_id = p->container->id;
	request.exec_id = (char *)guest_exec_id(p);
	for (size_t done = 0; r >= 0 && done < n;) {
		Grpc__WriteStreamResponse *answer = NULL;
		uint32_t written;

		request.data.data = (uint8_t *)data + done;
		request.data.len = MIN(n - done, (size_t)STDIN_CHUNK);
		r = agent_write_stdin(s->agent, &request, USEC_NEVER, &answer, err);
		if (r < 0)
			break;
		written = answer->len;
		protobuf_c_message_free_unpacked(&answer->base, NULL);
		if (written == 0 || written > request.data.len)
			return err_setx(err, -EPROTO,
					"the agent has written %u of %zu bytes to stdin", written,
					request.data.len);
		done += written;
	}
	return r;
}

int container_close_stdin(struct sandbox *s, const char *id, const char *exec_id, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	Grpc__CloseStdinRequest request = GRPC__CLOSE_STDIN_REQUEST__INIT;
	int r;

	if (!p)
		return -ENOENT;
	if (*p->exec_id && p->state == PROCESS_CREATED) {
		p->close_stdin_early = true;
		return 0;
	}
	if (p->state == PROCESS_STOPPED)
		return 0;
	r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	request.container_id = p->container->id;
	request.exec_id = (char *)guest_exec_id(p);
	return agent_close_stdin(s->agent, &request, clock_after(CALL_TIMEOUT), err);
}

/* How an agent says "end": no bytes; Kata's own also fails with "eof" in the text. */
static bool is_end(int r, const struct err *err)
{
	return r == -ERANGE || (err->msg && (strstr(err->msg, "eof") || strstr(err->msg, "EOF")));
}

ssize_t container_read_output(struct sandbox *s, const char *id, const char *exec_id, int stream,
			      void **ret, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *answer = NULL;
	struct err local = {0};
	ssize_t n;
	int r;

	if (!p)
		return -ENOENT;
	r = wait_started(p, err);
	if (r < 0)
		return r;
	request.container_id = p->container->id;
	request.exec_id = (char *)guest_exec_id(p);
	request.len = STREAM_CHUNK;
	r = (stream == 2 ? agent_read_stderr : agent_read_stdout)(s->agent, &request, USEC_NEVER,
								  &answer, &local);
	if (r < 0) {
		if (is_end(r, &local)) {
			err_clear(&local);
			*(stream == 2 ? &p->err_ended : &p->out_ended) = true;
			return 0;
		}
		err_move(err, &local);
		return r;
	}
	n = (ssize_t)answer->data.len;
	if (n == 0)
		*(stream == 2 ? &p->err_ended : &p->out_ended) = true;
	if (n > (ssize_t)STREAM_CHUNK) {
		n = err_setx(err, -EPROTO,
			     "the agent has sent %zu bytes of output, more than asked",
			     answer->data.len);
	} else if (n > 0) {
		*ret = xmemdup(answer->data.data, (size_t)n);
	}
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return n;
}

int container_resize_tty(struct sandbox *s, const char *id, const char *exec_id, uint32_t width,
			 uint32_t height, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	Grpc__TtyWinResizeRequest request = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;
	int r;

	if (!p)
		return -ENOENT;
	if (*p->exec_id && p->state == PROCESS_CREATED) {
		p->early_width = width;
		p->early_height = height;
		return 0;
	}
	r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	request.container_id = p->container->id;
	request.exec_id = (char *)guest_exec_id(p);
	request.row = height;
	request.column = width;
	return agent_resize_tty(s->agent, &request, clock_after(CALL_TIMEOUT), err);
}
