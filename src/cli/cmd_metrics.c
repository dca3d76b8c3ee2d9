/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics on the shim's management socket, whose answer ends with the connection. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "cli/commands.h"
#include "cli/sandboxes.h"

#define REQUEST      "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n"
#define ANSWER_MAX   (16U << 20)
#define TIMEOUT_SECS 10

/* The body of a 200 answer, or NULL. */
static const char *find_body(const char *answer)
{
	const char *status = str_skip_prefix(answer, "HTTP/1."), *body;

	if (!status || !*status || !str_has_prefix(status + 1, " 200"))
		return NULL;
	body = strstr(answer, "\r\n\r\n");
	return body ? body + 4 : NULL;
}

static int receive(int fd, struct buf *answer)
{
	for (;;) {
		ssize_t n;

		buf_reserve(answer, 65536);
		n = recv(fd, answer->data + answer->len, 65536, 0);
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		answer->len += (size_t)n;
		answer->data[answer->len] = '\0';
		if (n == 0)
			return 0;
		if (answer->len > ANSWER_MAX)
			return -EFBIG;
	}
}

static int run_metrics(struct cli *cli, struct err *err)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	_cleanup_(buf_fini) struct buf answer = {0};
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int fd = -1;
	const char *body;
	int r;

	r = sandbox_state_path(cli, cli->args.v[0], "shim-monitor.sock", &path, err);
	if (r < 0)
		return CLI_FAILED;
	fd = fd_unix_connect(path);
	if (fd < 0) {
		err_set(err, fd, "connect to the shim of sandbox %s at %s", cli->args.v[0], path);
		return CLI_FAILED;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = fd_write_all(fd, REQUEST, strlen(REQUEST));
	if (r == 0)
		r = receive(fd, &answer);
	if (r >= 0 && !answer.data)
		r = -ENODATA;
	if (r < 0) {
		err_set(err, r, "read the metrics of sandbox %s", cli->args.v[0]);
		return CLI_FAILED;
	}
	body = find_body(answer.data);
	if (!body) {
		err_setx(err, -EBADMSG, "the shim of sandbox %s answered \"%.*s\"", cli->args.v[0],
			 (int)strcspn(answer.data, "\r\n"), answer.data);
		return CLI_FAILED;
	}
	fputs(body, stdout);
	return CLI_OK;
}

const struct cli_command cmd_metrics = {
	.name = "metrics",
	.arguments = "SANDBOX",
	.summary = "Print the metrics of a sandbox in Prometheus' text format",
	.min_args = 1,
	.max_args = 1,
	.run = run_metrics,
};
