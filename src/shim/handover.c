/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/handover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "loop/co.h"
#include "runtime/spare.h"

#define ORDER_MAX   16384U
#define ANSWER_USEC (1 * USEC_PER_SEC)
#define WILL        "will"
#define SHALL       "shall"
#define YES         "yes"

enum word {
	WORD_PROGRAM, /* both sides are the same */
	WORD_ID,
	WORD_BUNDLE,
	WORD_SOCKET,
	WORD_NAMESPACE,
	WORD_ADDRESS,
	WORD_PUBLISH_BINARY,
	WORD_TTRPC_ADDRESS,
	WORD_CONFIG_PATH,
	WORD_DEBUG,
	_WORD_MAX /* the environment follows */
};

enum { FD_LISTENER, FD_MOUNTS, _FD_MAX };

/* Another build would read the order differently, or serve the sandbox differently. */
static char *this_program(void)
{
	struct stat st = {0};

	(void)stat("/proc/self/exe", &st);
	return xasprintf(KATA_VERSION " %ju:%ju %jd", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
			 (intmax_t)st.st_mtim.tv_sec);
}

/* --- `start` --- */

static int format_order(const struct serve *serve, struct buf *ret, struct err *err)
{
	_cleanup_(freep) char *program = this_program();
	const char *words[_WORD_MAX] = {
		[WORD_PROGRAM] = program,
		[WORD_ID] = serve->id,
		[WORD_BUNDLE] = serve->bundle,
		[WORD_SOCKET] = serve->socket,
		[WORD_NAMESPACE] = serve->options->namespace,
		[WORD_ADDRESS] = serve->caller->address,
		[WORD_PUBLISH_BINARY] = serve->options->publish_binary,
		[WORD_TTRPC_ADDRESS] = serve->caller->ttrpc_address,
		[WORD_CONFIG_PATH] = serve->caller->config_path,
		[WORD_DEBUG] = serve->caller->debug ? YES : "",
	};

	for (size_t i = 0; i < _WORD_MAX; i++)
		buf_add(ret, words[i], strlen(words[i]) + 1);
	for (char *const *entry = environ; *entry; entry++)
		buf_add(ret, *entry, strlen(*entry) + 1);
	if (ret->len > ORDER_MAX)
		return err_setx(err, -E2BIG, "the order is larger than %u bytes", ORDER_MAX);
	return 0;
}

/* It had the lowest priority until now, and shall answer soon. */
static pid_t hurry(int sock)
{
	struct ucred peer = {0};
	socklen_t n = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || peer.uid != geteuid())
		return -1;
	(void)setpriority(PRIO_PROCESS, (id_t)peer.pid, getpriority(PRIO_PROCESS, 0));
	return peer.pid;
}

static int await_answer(int sock)
{
	const struct timeval patience = {.tv_sec = ANSWER_USEC / USEC_PER_SEC};
	char answer[sizeof(WILL)] = "";

	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	if (fd_read_full(sock, answer, sizeof(answer)) != (ssize_t)sizeof(answer))
		return -ECANCELED;
	return memcmp(answer, WILL, sizeof(answer)) == 0 ? 0 : -EBADMSG;
}

int handover_give(int sock, const struct serve *serve, int listener, int mounts,
		  int (*prepare)(const struct serve *serve, pid_t pid, struct err *err),
		  struct err *err)
{
	const int fds[_FD_MAX] = {[FD_LISTENER] = listener, [FD_MOUNTS] = mounts};
	_cleanup_(buf_fini) struct buf order = {0};
	pid_t pid = hurry(sock);
	ssize_t n;
	int r;

	if (pid <= 0)
		return err_setx(err, -EPERM, "the spare is somebody else's");
	r = format_order(serve, &order, err);
	if (r < 0)
		return r;
	n = fd_send(sock, order.data, order.len, fds, _FD_MAX);
	if (n != (ssize_t)order.len)
		return err_set(err, n < 0 ? (int)n : -EMSGSIZE, "send the order to the spare");
	r = await_answer(sock);
	if (r < 0)
		return err_set(err, r, "the spare's answer");
	r = prepare(serve, pid, err);
	if (r < 0)
		return r;
	n = fd_send(sock, SHALL, sizeof(SHALL), NULL, 0);
	return n < 0 ? err_set(err, (int)n, "send the spare its pod") : 0;
}

/* --- the spare --- */

/* One message: both sides send it at once, and it is small. */
static ssize_t receive(int sock, void *p, size_t n, int *fds, size_t *n_fds)
{
	int r = co_wait_io(sock, EPOLLIN, clock_after(ANSWER_USEC));

	return r < 0 ? r : fd_recv(sock, p, n, fds, n_fds);
}

static void fill(struct handover *h)
{
	char **words = h->words.v;

	h->options = (struct options){
		.namespace = words[WORD_NAMESPACE],
		.address = words[WORD_ADDRESS],
		.publish_binary = words[WORD_PUBLISH_BINARY],
		.id = words[WORD_ID],
		.bundle = words[WORD_BUNDLE],
		.socket = words[WORD_SOCKET],
		.config = "",
	};
	h->caller = (struct caller){
		.debug = streq(words[WORD_DEBUG], YES),
		.address = words[WORD_ADDRESS],
		.ttrpc_address = words[WORD_TTRPC_ADDRESS],
		.socket_dir = (char *)"",
		.config_path = words[WORD_CONFIG_PATH],
	};
	h->serve.options = &h->options;
	h->serve.caller = &h->caller;
	h->serve.id = words[WORD_ID];
	h->serve.bundle = words[WORD_BUNDLE];
	h->serve.socket = words[WORD_SOCKET];
}

int handover_parse(const char *p, size_t n, const char *program, struct handover *h)
{
	if (!n || p[n - 1])
		return -EBADMSG;
	for (const char *word = p; word < p + n; word += strlen(word) + 1)
		strv_add(&h->words, word);
	if (!streq(h->words.v[WORD_PROGRAM], program))
		return -ESTALE;
	if (h->words.n < _WORD_MAX || !path_is_id(h->words.v[WORD_ID]) ||
	    !path_is_clean(h->words.v[WORD_BUNDLE]))
		return -EBADMSG;
	fill(h);
	return 0;
}

static int take_order(int sock, struct handover *h)
{
	_cleanup_(freep) char *text = xmalloc(ORDER_MAX + 1), *program = this_program();
	int fds[_FD_MAX] = {-1, -1};
	size_t n_fds = _FD_MAX;
	ssize_t n = receive(sock, text, ORDER_MAX, fds, &n_fds);

	h->serve.listener = n_fds > FD_LISTENER ? fds[FD_LISTENER] : -1;
	h->serve.mounts = n_fds > FD_MOUNTS ? fds[FD_MOUNTS] : -1;
	if (n <= 0)
		return -ECANCELED;
	text[n] = '\0';
	if (streq(text, SPARE_DISMISSED))
		return -ESHUTDOWN;
	if (n_fds != _FD_MAX)
		return -EBADMSG;
	return handover_parse(text, (size_t)n, program, h);
}

/* It will, if it shall. `start` takes for heard what it could send: at the end of our patience it
 * is kept from sending, and what it has sent by then counts. */
static int agree(int sock)
{
	char answer[sizeof(SHALL)] = "";
	size_t none = 0;
	ssize_t n;

	if (fd_send(sock, WILL, sizeof(WILL), NULL, 0) < 0)
		return -ECANCELED;
	n = receive(sock, answer, sizeof(answer), NULL, &none);
	if (n < 0 && shutdown(sock, SHUT_RD) == 0)
		n = fd_recv(sock, answer, sizeof(answer), NULL, &none);
	return n == (ssize_t)sizeof(answer) && streq(answer, SHALL) ? 0 : -ECANCELED;
}

static bool is_same(int a, int b)
{
	struct stat in_a, in_b;

	return fstat(a, &in_a) == 0 && fstat(b, &in_b) == 0 && in_a.st_dev == in_b.st_dev &&
	       in_a.st_ino == in_b.st_ino;
}

int handover_take(int sock, int mounts, struct handover *ret)
{
	_cleanup_(closep) int fd = sock;
	int r;

	*ret = (struct handover){.serve = {.listener = -1, .mounts = -1}};
	r = take_order(fd, ret);
	if (r == 0 && !is_same(mounts, ret->serve.mounts))
		r = -EXDEV;
	if (r == 0)
		r = agree(fd);
	if (r < 0)
		handover_fini(ret);
	return r;
}

/* Programs that a shim starts (binary loggers, hooks) have its environment. */
void handover_enter(const struct handover *h)
{
	(void)clearenv();
	for (size_t i = _WORD_MAX; i < h->words.n; i++) {
		char *value = strchr(h->words.v[i], '=');

		if (!value || value == h->words.v[i])
			continue;
		*value = '\0';
		(void)setenv(h->words.v[i], value + 1, 1);
		*value = '=';
	}
}

void handover_fini(struct handover *h)
{
	fd_close(h->serve.listener);
	fd_close(h->serve.mounts);
	strv_fini(&h->words);
	*h = (struct handover){.serve = {.listener = -1, .mounts = -1}};
}
