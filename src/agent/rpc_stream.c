/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "agent/container.h"
#include "agent/rpc.h"
#include "base/log.h"

/*
 * The calls about standard streams. Before bytes leave a pipe, the caller must be there and not be
 * behind with reading its answers: ttrpc_call_sendable(). That may wait, so that the process is
 * looked up after it.
 */

#define BACKLOG_MAX (4U << 20) /* unsent bytes of the connection above which a read waits */

static int read_stream(struct ttrpc_call *call, const Grpc__ReadStreamRequest *request,
		       bool is_stdout, struct err *err)
{
	struct process *p;

	if (ttrpc_call_sendable(call, BACKLOG_MAX) < 0)
		return err_setx(err, -ECANCELED, "the caller is gone");
	p = container_find_process(rpc_agent(call), request->container_id, request->exec_id, err);
	if (!p)
		return -ENOENT;
	return stream_read(is_stdout ? &p->out : &p->err, call, request->len, err);
}

RPC(read_stdout)
{
	(void)response_;
	return read_stream(call, request_, true, err);
}

RPC(read_stderr)
{
	(void)response_;
	return read_stream(call, request_, false, err);
}

RPC(write_stdin)
{
	const Grpc__WriteStreamRequest *request = request_;
	struct process *p = container_find_process(rpc_agent(call), request->container_id,
						   request->exec_id, err);

	if (!p)
		return -ENOENT;
	if (request->data.len)
		return stream_write(&p->in, call, request->data.data, request->data.len, err);
	/* Nothing to write is the end of input, which is how Kata's newer runtime says it. */
	if (!p->terminal)
		stream_writer_finish(&p->in);
	((Grpc__WriteStreamResponse *)response_)->len = 0;
	return 0;
}

RPC(close_stdin)
{
	const Grpc__CloseStdinRequest *request = request_;
	struct process *p = container_find_process(rpc_agent(call), request->container_id,
						   request->exec_id, err);

	(void)response_;
	if (!p)
		return -ENOENT;
	/* A terminal has no end of input: closing the pty would hang the process up. */
	if (!p->terminal)
		stream_writer_finish(&p->in);
	return 0;
}
