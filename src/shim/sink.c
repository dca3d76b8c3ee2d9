/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/spawn.h"
#include "base/str.h"
#include "loop/co.h"

/*
 * How it works: a FIFO is opened for reading and writing at once. So the open never waits for the
 * reader, no write ever fails with EPIPE because a reader went away or has not come yet (ctr
 * detaches, containerd restarts), and what was written stays in the FIFO until the next one reads.
 *
 * A logger program (containerd's pluggable logging) gets the read ends of two pipes and on 5 the
 * write end of a third, which it closes when it is ready; "binary-v2" wants a byte before. It ends
 * when the streams do, and is reaped by the loop.
 */

#define LOGGER_TIMEOUT (10 * USEC_PER_SEC)
#define LOGGER_FD_OUT  3
#define LOGGER_FD_ERR  4
#define LOGGER_FD_WAIT 5

static int fifo_open(const char *path, int *ret, struct err *err)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	if (path[0] != '/')
		return err_setx(err, -EINVAL, "output %s: neither an absolute path nor a URI",
				path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open output %s", path);
	if (!S_ISFIFO(st.st_mode)) {
		close(fd);
		fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return err_set(err, -errno, "open output %s", path);
	}
	*ret = TAKE_FD(fd);
	return 0;
}

static int file_open(const char *path, int *ret, struct err *err)
{
	_cleanup_(freep) char *dir = path_dir(path);
	int r = fs_mkdir_all(dir, 0755), fd;

	if (r < 0)
		return err_set(err, r, "make %s", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0644);
	if (fd < 0)
		return err_set(err, -errno, "open log file %s", path);
	*ret = fd;
	return 0;
}

/* "%2F" and "+" in a query's names and values. */
static char *url_decode(const char *s, size_t n)
{
	struct buf b = {0};

	for (size_t i = 0; i < n; i++) {
		char hex[3] = {0}, *end;
		long value;

		if (s[i] == '%' && i + 2 < n) {
			memcpy(hex, s + i + 1, 2);
			value = strtol(hex, &end, 16);
			if (end == hex + 2) {
				buf_addc(&b, (char)value);
				i += 2;
				continue;
			}
		}
		buf_addc(&b, s[i] == '+' ? ' ' : s[i]);
	}
	return buf_take(&b);
}

/* program?key=value&key=value: the program's arguments are "key" "value" "key" … */
static void logger_arguments(const char *uri, struct strv *argv)
{
	const char *query = strchrnul(uri, '?');

	strv_take(argv, url_decode(uri, query - uri));
	while (*query) {
		const char *pair = query + 1, *end = pair + strcspn(pair, "&");
		const char *equals = memchr(pair, '=', end - pair);

		if (end > pair)
			strv_take(argv, url_decode(pair, (equals ? equals : end) - pair));
		if (equals && equals + 1 < end)
			strv_take(argv, url_decode(equals + 1, end - equals - 1));
		query = end;
	}
}

static int logger_await(int fd, bool wants_byte, const char *program, struct err *err)
{
	char byte;
	ssize_t n;
	int r = co_wait_io(fd, EPOLLIN, clock_after(LOGGER_TIMEOUT));

	if (r < 0)
		return err_set(err, r, "wait for logger %s", program);
	n = read(fd, &byte, 1);
	if (n < 0)
		return err_set(err, -errno, "wait for logger %s", program);
	if (n == 0 && wants_byte)
		return err_setx(err, -EIO, "logger %s ended before it was ready", program);
	return 0;
}

static int pipe_pair(int pair[2], struct err *err)
{
	return pipe2(pair, O_CLOEXEC) < 0 ? err_set(err, -errno, "pipe") : 0;
}

static int logger_spawn(const struct sink_request *request, const struct strv *argv,
			const int fds[3], struct err *err)
{
	_cleanup_(strv_fini) struct strv env = {0};
	const struct spawn_fd given[] = {
		{fds[0], LOGGER_FD_OUT}, {fds[1], LOGGER_FD_ERR}, {fds[2], LOGGER_FD_WAIT}};
	pid_t pid;

	for (char **e = environ; *e; e++)
		strv_add(&env, *e);
	strv_addf(&env, "CONTAINER_ID=%s", request->id);
	strv_addf(&env, "CONTAINER_NAMESPACE=%s", request->namespace);
	pid = spawn_start(&(struct spawn){
		.path = argv->v[0],
		.argv = argv->v,
		.envp = env.v,
		.fds = given,
		.n_fds = ARRAY_SIZE(given),
		.in = -1,
		.out = -1,
		.err = -1,
	});
	return pid < 0 ? err_set(err, pid, "start logger %s", argv->v[0]) : 0;
}

static int logger_open(const struct sink_request *request, const char *uri, bool wants_byte,
		       struct sink *ret, struct err *err)
{
	_cleanup_(strv_fini) struct strv argv = {0};
	/* read and write ends of stdout, stderr and the sign of readiness */
	_cleanup_(closep) int out_r = -1, out_w = -1, err_r = -1, err_w = -1;
	_cleanup_(closep) int wait_r = -1, wait_w = -1;
	int pairs[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, r = 0;

	logger_arguments(uri, &argv);
	for (size_t i = 0; i < 3 && r == 0; i++)
		r = pipe_pair(pairs[i], err);
	out_r = pairs[0][0], out_w = pairs[0][1];
	err_r = pairs[1][0], err_w = pairs[1][1];
	wait_r = pairs[2][0], wait_w = pairs[2][1];
	if (r < 0)
		return r;
	r = logger_spawn(request, &argv, (const int[]){out_r, err_r, wait_w}, err);
	if (r < 0)
		return r;
	wait_w = fd_close(wait_w);
	r = logger_await(wait_r, wants_byte, argv.v[0], err);
	if (r < 0)
		return r;
	(void)fd_set_nonblock(out_w, true);
	(void)fd_set_nonblock(err_w, true);
	ret->out = TAKE_FD(out_w);
	ret->err = TAKE_FD(err_w);
	return 0;
}

static int stream_open(const char *uri, int *ret, struct err *err)
{
	const char *path;

	if (str_empty(uri))
		return 0;
	path = str_skip_prefix(uri, "file://");
	if (path)
		return file_open(path, ret, err);
	path = str_skip_prefix(uri, "fifo://");
	if (!path && strstr(uri, "://"))
		return err_setx(err, -ENOSYS,
				"output %s is not supported: fifo, file and binary URIs are", uri);
	return fifo_open(path ? path : uri, ret, err);
}

int sink_open(const struct sink_request *request, struct sink *ret, struct err *err)
{
	_cleanup_(sink_close) struct sink sink = {-1, -1};
	const char *binary = str_skip_prefix(request->out, "binary://");
	const char *binary_v2 = str_skip_prefix(request->out, "binary-v2://");
	int r;

	if (binary || binary_v2) {
		r = logger_open(request, binary ? binary : binary_v2, binary_v2 != NULL, &sink,
				err);
	} else {
		r = stream_open(request->out, &sink.out, err);
		if (r == 0 && !request->terminal)
			r = stream_open(request->err, &sink.err, err);
	}
	if (r < 0)
		return r;
	*ret = sink;
	sink = (struct sink){-1, -1};
	return 0;
}

void sink_close(struct sink *sink)
{
	sink->out = fd_close(sink->out);
	sink->err = fd_close(sink->err);
}
