/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/container.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "base/path.h"
#include "base/spawn.h"
#include "loop/co.h"

struct hook {
	struct list link;
	char *path;
	struct strv args, env;
	uint64_t timeout; /* µs */
};

static const char *const folders[_HOOK_KIND_MAX] = {"prestart", "poststart", "poststop"};
static const char *const states[_HOOK_KIND_MAX] = {"created", "running", "stopped"};

static void hook_free(struct hook *h)
{
	list_remove(&h->link);
	strv_fini(&h->args);
	strv_fini(&h->env);
	free(h->path);
	free(h);
}

static struct hook *hook_add(struct container *c, enum hook_kind kind, const char *path)
{
	struct hook *h = xnew(struct hook);

	h->path = xstrdup(path);
	h->timeout = HOOKS_TIMEOUT_SEC * USEC_PER_SEC;
	list_add_tail(&c->hooks[kind], &h->link);
	return h;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The executable files of a folder of the guest image. */
static int load_folder(struct container *c, enum hook_kind kind, struct err *err)
{
	_cleanup_(freep) char *folder = path_join(c->agent->sandbox.guest_hook_path, folders[kind]);
	_cleanup_(closedirp) DIR *dir = opendir(folder);
	_cleanup_(strv_fini) struct strv names = {0};
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
		    st.st_mode & 0111)
			strv_add(&names, entry->d_name);
	}
	if (names.n > HOOKS_MAX)
		return err_setx(err, -E2BIG, "%s has more than %u hooks", folder, HOOKS_MAX);
	if (names.n)
		qsort(names.v, names.n, sizeof(*names.v), compare_names);
	for (size_t i = 0; i < names.n; i++) {
		_cleanup_(freep) char *path = path_join(folder, names.v[i]);

		strv_add(&hook_add(c, kind, path)->args, path);
	}
	return 0;
}

static int check_spec(Grpc__Hook *const *hooks, size_t n, struct err *err)
{
	if (n > HOOKS_MAX)
		return err_setx(err, -E2BIG, "more than %u hooks", HOOKS_MAX);
	for (size_t i = 0; i < n; i++)
		if (*hooks[i]->path != '/' || hooks[i]->timeout < 0)
			return err_setx(err, -EINVAL, "hook \"%s\" is not valid", hooks[i]->path);
	return 0;
}

static int load_spec(struct container *c, enum hook_kind kind, Grpc__Hook *const *hooks, size_t n,
		     struct err *err)
{
	int r = check_spec(hooks, n, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		const Grpc__Hook *source = hooks[i];
		struct hook *h;

		h = hook_add(c, kind, source->path);
		for (size_t a = 0; a < source->n_args; a++)
			strv_add(&h->args, source->args[a]);
		if (!h->args.n)
			strv_add(&h->args, source->path);
		for (size_t e = 0; e < source->n_env; e++)
			strv_add(&h->env, source->env[e]);
		if (source->timeout)
			h->timeout = (uint64_t)MIN(source->timeout, (int64_t)UINT32_MAX) *
				     USEC_PER_SEC;
	}
	return r;
}

int hooks_load(struct container *c, const Grpc__Hooks *hooks, struct err *err)
{
	static const Grpc__Hooks none = GRPC__HOOKS__INIT;
	const Grpc__Hooks *h = hooks ? hooks : &none;
	int r;

	/* The container's first process runs them (init/inner_hooks.c). */
	r = check_spec(h->createcontainer, h->n_createcontainer, err);
	if (r == 0)
		r = check_spec(h->startcontainer, h->n_startcontainer, err);
	if (r == 0)
		r = load_spec(c, HOOK_PRESTART, h->prestart, h->n_prestart, err);
	if (r == 0)
		r = load_spec(c, HOOK_PRESTART, h->createruntime, h->n_createruntime, err);
	if (r == 0)
		r = load_spec(c, HOOK_POSTSTART, h->poststart, h->n_poststart, err);
	if (r == 0)
		r = load_spec(c, HOOK_POSTSTOP, h->poststop, h->n_poststop, err);
	for (int kind = 0; kind < _HOOK_KIND_MAX && r == 0; kind++)
		if (!str_empty(c->agent->sandbox.guest_hook_path))
			r = load_folder(c, (enum hook_kind)kind, err);
	return r;
}

/* Writing must not wait for the reader, so that the state has to fit into the pipe. */
static int write_state(int fd, const struct buf *state)
{
	int room = fcntl(fd, F_GETPIPE_SZ);

	if (room < 0)
		return -errno;
	return state->len > (size_t)room ? -E2BIG : fd_write_all(fd, state->data, state->len);
}

int hooks_state_pipe(const char *id, const char *status, pid_t pid, const char *bundle)
{
	_cleanup_(buf_fini) struct buf b = {0};
	int fds[2], r;

	buf_adds(&b, "{\"ociVersion\":\"1.0.2\",\"id\":");
	kv_json_string(&b, id);
	buf_addf(&b, ",\"status\":\"%s\",\"pid\":%d,\"bundle\":", status, (int)pid);
	kv_json_string(&b, bundle);
	buf_addc(&b, '}');
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = write_state(fds[1], &b);
	close(fds[1]);
	if (r == 0)
		return fds[0];
	close(fds[0]);
	return r;
}

static int run_one(struct container *c, const struct hook *h, enum hook_kind kind, struct err *err)
{
	static char *const no_environment[] = {NULL};
	pid_t init = kind != HOOK_POSTSTOP && c->init ? c->init->stage.pid : 0;
	_cleanup_(closep) int in = hooks_state_pipe(c->id, states[kind], init,
						    c->bundle ? c->bundle : "/");
	struct spawn s = {
		.path = h->path,
		.argv = h->args.v,
		.envp = h->env.v ? h->env.v : no_environment,
		.in = in,
		.out = -1,
		.err = -1,
		.new_session = true,
	};
	int status, r;
	pid_t pid;

	if (in < 0)
		return err_set(err, in, "hook %s: state", h->path);
	pid = spawn_start(&s);
	if (pid < 0)
		return err_set(err, pid, "hook %s", h->path);
	r = co_wait_child(pid, clock_after(h->timeout), &status);
	if (r == -ETIMEDOUT) {
		kill(pid, SIGKILL);
		return err_setx(err, r, "hook %s did not end in time", h->path);
	}
	if (r < 0)
		return err_set(err, r, "hook %s", h->path);
	if (status)
		return err_setx(err, -EIO, "hook %s ended with status %d", h->path,
				spawn_exit_status(status));
	return 0;
}

int hooks_run(struct container *c, enum hook_kind kind, struct err *err)
{
	struct hook *h;

	list_for_each (h, &c->hooks[kind], link) {
		int r = run_one(c, h, kind, err);

		if (r < 0)
			return r;
	}
	return 0;
}

void hooks_fini(struct container *c)
{
	struct hook *h, *next;

	for (int kind = 0; kind < _HOOK_KIND_MAX; kind++)
		list_for_each_safe (h, next, &c->hooks[kind], link)
			hook_free(h);
}
