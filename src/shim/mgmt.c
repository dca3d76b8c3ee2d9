/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/mgmt.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/persist.h"
#include "shim/shim.h"
#include "wire/http/unix_server.h"

struct mgmt {
	struct http_server *server;
	char *dir, *path;
};

static int metrics(void *arg, struct http_answer *answer, struct err *err)
{
	struct shim *shim = arg;

	answer->type = "text/plain; version=0.0.4; charset=utf-8";
	return shim_running(shim) ? sandbox_metrics(shim->sandbox, &answer->body, err) : 0;
}

static int agent_url(void *arg, struct http_answer *answer, struct err *err)
{
	struct shim *shim = arg;
	struct sandbox_status status = {0};

	sandbox_status(shim->sandbox, &status);
	if (str_empty(status.agent_url))
		return err_setx(err, -ENOENT, "sandbox %s has no agent", shim->id);
	answer->type = "text/plain; charset=utf-8";
	buf_adds(&answer->body, status.agent_url);
	return 0;
}

static const struct http_route routes[] = {
	{"/metrics", metrics},
	{"/agent-url", agent_url},
};

void mgmt_new(struct loop *loop, struct shim *shim, struct mgmt **ret)
{
	_cleanup_(closep) int fd = -1;
	struct mgmt *m = xnew(struct mgmt);
	int r;

	m->dir = xasprintf(PERSIST_ROOT "/%s", shim->id);
	m->path = xasprintf("%s/shim-monitor.sock", m->dir);
	/* The parents are shared with QEMU's user, who must get to its own folder. */
	r = fs_mkdir_all(PERSIST_ROOT, 0755);
	if (r >= 0 && mkdir(m->dir, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r >= 0) {
		(void)unlink(m->path);
		fd = r = fd_unix_listen(m->path, 0600);
	}
	if (r >= 0)
		r = http_server_new(loop, routes, ARRAY_SIZE(routes), shim, TAKE_FD(fd),
				    &m->server);
	if (r < 0) {
		log_warn("management socket %s: %s", m->path, strerrordesc_np(-r));
		mgmt_free(m);
		return;
	}
	*ret = m;
}

void mgmt_free(struct mgmt *m)
{
	if (!m)
		return;
	http_server_free(m->server);
	(void)unlink(m->path);
	/* The sandbox's own files are its own business. */
	(void)rmdir(m->dir);
	free(m->dir);
	free(m->path);
	free(m);
}
