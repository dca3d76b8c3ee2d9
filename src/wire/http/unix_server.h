/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A small HTTP/1.1 server (RFC 9112) for a socket on this host: GET and HEAD only, one request a
 * connection, no bodies in requests. Everything a client can make us hold is bounded.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

#define HTTP_HEAD_MAX        8192U /* bytes of request line and headers */
#define HTTP_CONNECTIONS_MAX 32U
#define HTTP_CLIENT_USEC     (10 * USEC_PER_SEC) /* to send the request, and to take the answer */

/* A request's head, in the caller's bytes. */
struct http_request {
	bool head_only; /* HEAD */
	const char *path;
	size_t n_path; /* without the query */
};

/*
 * http_request_parse: read a head from n bytes. Returns its length (> 0), 0 when there is more to
 * come, -EBADMSG (not HTTP/1.x), -ENOTSUP (another method) or -EMSGSIZE (over HTTP_HEAD_MAX).
 */
int http_request_parse(const char *p, size_t n, struct http_request *ret);

struct http_answer {
	const char *type; /* Content-Type, static; NULL: text/plain */
	struct buf body;
};

/* Runs in a coroutine of its own. 0, or a negative errno with the text for the client: -ENOENT is
 * status 404, -EAGAIN and -EBUSY 503, anything else 500. */
typedef int (*http_fn)(void *arg, struct http_answer *answer, struct err *err);

struct http_route {
	const char *path;
	http_fn fn;
};

struct http_server;

/* http_server_new: serve a listening socket, which becomes the server's (also on failure). `routes`
 * is static; arg goes to their functions. Returns 0 or -errno. */
int http_server_new(struct loop *loop, const struct http_route *routes, size_t n_routes, void *arg,
		    int fd, struct http_server **ret);
/* http_server_free: answers under way are cut off; their functions still run to their end. */
void http_server_free(struct http_server *server);
