/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http/unix_server.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "loop/co.h"

/*
 * How it works: each connection is one coroutine: read the head, find the route, let its function
 * write the body, send both, close. A server that is freed meanwhile only loses its routes; the
 * coroutines that are left see that and close their connections.
 */

struct http_server {
	struct loop *loop;
	const struct http_route *routes;
	size_t n_routes;
	void *arg;
	int fd;
	struct loop_io listening;
	unsigned int n_connections;
	bool freed;
};

struct connection {
	struct http_server *server;
	int fd;
};

struct status {
	int code;
	const char *text;
};

/* --- the request's head --- */

static bool is_target(char c)
{
	return c > ' ' && c < 0x7f;
}

static int parse_line(const char *p, size_t n, struct http_request *ret)
{
	static const char versions[][9] = {"HTTP/1.1", "HTTP/1.0"};
	struct http_request request = {0};
	const char *target, *end = p + n;
	bool get;

	get = n > 4 && memcmp(p, "GET ", 4) == 0;
	request.head_only = n > 5 && memcmp(p, "HEAD ", 5) == 0;
	target = memchr(p, ' ', n);
	if (!target || target == p)
		return -EBADMSG;
	request.path = ++target;
	while (target < end && is_target(*target))
		target++;
	if (end - target != 9 || *target != ' ' || request.path[0] != '/' ||
	    (memcmp(target + 1, versions[0], 8) != 0 && memcmp(target + 1, versions[1], 8) != 0))
		return -EBADMSG;
	if (!get && !request.head_only)
		return -ENOTSUP;
	for (const char *q = request.path; q < target && *q != '?'; q++)
		request.n_path++;
	*ret = request;
	return 0;
}

int http_request_parse(const char *p, size_t n, struct http_request *ret)
{
	size_t looked = MIN(n, HTTP_HEAD_MAX);
	const char *end = memmem(p, looked, "\r\n\r\n", 4);
	const char *line = memmem(p, looked, "\r\n", 2);
	int r;

	/* A binary protocol or a wrong method is answered before its end comes, which may never. */
	if (line) {
		r = parse_line(p, line - p, ret);
		if (r < 0)
			return r;
	}
	if (memchr(p, '\0', end ? (size_t)(end - p) : looked))
		return -EBADMSG;
	if (!end)
		return n >= HTTP_HEAD_MAX ? -EMSGSIZE : 0;
	return (int)(end - p) + 4;
}

/* --- a connection --- */

static int read_head(int fd, struct buf *b, struct http_request *ret)
{
	uint64_t deadline = clock_after(HTTP_CLIENT_USEC);

	for (;;) {
		int r = co_wait_io(fd, EPOLLIN, deadline);
		ssize_t n;

		if (r < 0)
			return r;
		buf_reserve(b, 1024);
		n = recv(fd, b->data + b->len, 1024, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		b->len += n;
		b->data[b->len] = '\0';
		r = http_request_parse(b->data, b->len, ret);
		if (r != 0)
			return r;
	}
}

static int send_all(int fd, const char *p, size_t n)
{
	uint64_t deadline = clock_after(HTTP_CLIENT_USEC);

	while (n > 0) {
		ssize_t done = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r = 0;

		if (done >= 0) {
			p += done;
			n -= done;
		} else if (errno == EAGAIN) {
			r = co_wait_io(fd, EPOLLOUT, deadline);
		} else if (errno != EINTR) {
			r = -errno;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static struct status status_of(int r)
{
	switch (r) {
	case -ENOENT:
		return (struct status){404, "Not Found"};
	case -ENOTSUP:
		return (struct status){405, "Method Not Allowed"};
	case -EMSGSIZE:
		return (struct status){431, "Request Header Fields Too Large"};
	case -EBADMSG:
		return (struct status){400, "Bad Request"};
	case -EAGAIN:
	case -EBUSY:
		return (struct status){503, "Service Unavailable"};
	default:
		return (struct status){500, "Internal Server Error"};
	}
}

static int run_route(struct http_server *server, const struct http_request *request,
		     struct http_answer *answer, struct err *err)
{
	for (size_t i = 0; i < server->n_routes && !server->freed; i++)
		if (strlen(server->routes[i].path) == request->n_path &&
		    memcmp(server->routes[i].path, request->path, request->n_path) == 0)
			return server->routes[i].fn(server->arg, answer, err);
	return err_setx(err, -ENOENT, "there is no such page here");
}

static void send_answer(int fd, int r, bool head_only, struct http_answer *answer,
			const struct err *err)
{
	struct status status = r < 0 ? status_of(r) : (struct status){200, "OK"};
	_cleanup_(buf_fini) struct buf head = {0};

	if (r < 0) {
		buf_consume(&answer->body, answer->body.len);
		buf_addf(&answer->body, "%s\n", err->msg ? err_text(err) : status.text);
		answer->type = NULL;
	}
	buf_addf(&head, "HTTP/1.1 %d %s\r\n", status.code, status.text);
	if (status.code == 405)
		buf_adds(&head, "Allow: GET, HEAD\r\n");
	buf_addf(&head, "Content-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		 answer->type ? answer->type : "text/plain; charset=utf-8", answer->body.len);
	if (send_all(fd, head.data, head.len) == 0 && !head_only && answer->body.len > 0)
		(void)send_all(fd, answer->body.data, answer->body.len);
}

static void server_unref(struct http_server *server)
{
	if (server->freed && server->n_connections == 0)
		free(server);
}

static void serve(struct connection *c)
{
	_cleanup_(buf_fini) struct buf head = {0};
	_cleanup_err_ struct err err = {0};
	struct http_answer answer = {0};
	struct http_request request = {0};
	int r = read_head(c->fd, &head, &request);

	if (r > 0)
		r = run_route(c->server, &request, &answer, &err);
	else if (r != -EBADMSG && r != -ENOTSUP && r != -EMSGSIZE)
		return; /* the client has gone, or sends nothing */
	if (!c->server->freed)
		send_answer(c->fd, r, request.head_only, &answer, &err);
	buf_fini(&answer.body);
}

static void connection_run(void *arg)
{
	struct connection *c = arg;

	serve(c);
	close(c->fd);
	c->server->n_connections--;
	server_unref(c->server);
	free(c);
}

/* --- the server --- */

static void on_connect(struct loop_io *io, _unused_ uint32_t events)
{
	struct http_server *server = container_of(io, struct http_server, listening);
	int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *c;

	if (fd < 0)
		return;
	if (server->n_connections >= HTTP_CONNECTIONS_MAX) {
		close(fd);
		return;
	}
	c = xnew(struct connection);
	c->server = server;
	c->fd = fd;
	server->n_connections++;
	co_start(server->loop, connection_run, c);
}

int http_server_new(struct loop *loop, const struct http_route *routes, size_t n_routes, void *arg,
		    int fd, struct http_server **ret)
{
	struct http_server *server = xnew(struct http_server);
	int r;

	*server = (struct http_server){
		.loop = loop, .routes = routes, .n_routes = n_routes, .arg = arg, .fd = fd};
	r = loop_io_add(loop, &server->listening, fd, EPOLLIN, on_connect);
	if (r < 0) {
		close(fd);
		free(server);
		return r;
	}
	*ret = server;
	return 0;
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	loop_io_remove(&server->listening);
	server->fd = fd_close(server->fd);
	server->freed = true;
	server_unref(server);
}
