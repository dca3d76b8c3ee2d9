/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/hooks.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kv.h"
#include "base/log.h"
#include "base/spawn.h"
#include "runtime/spec_guest.h"

#define HOOK_TIMEOUT (30 * USEC_PER_SEC)
#define OUTPUT_MAX   4096

static char *format_annotations(const Grpc__Spec *spec)
{
	struct buf b = {0};

	buf_addc(&b, '{');
	for (size_t i = 0; i < spec->n_annotations; i++)
		kv_json(&b, spec->annotations[i]->key, spec->annotations[i]->value);
	buf_addc(&b, '}');
	return buf_take(&b);
}

/* The state that a hook reads from its standard input (runtime-spec, runtime.md "State"). */
static char *format_state(const struct container *c, const char *status)
{
	struct buf b = {0};
	struct vm_pids pids = {0};

	if (c->sandbox->vm)
		vm_get_pids(c->sandbox->vm, &pids);
	buf_adds(&b, "{\"ociVersion\":\"1.2.0\",\"id\":");
	kv_json_string(&b, c->id);
	buf_addf(&b, ",\"status\":\"%s\",\"pid\":%d,\"bundle\":", status, (int)pids.vmm);
	kv_json_string(&b, c->bundle);
	buf_addf(&b, ",\"annotations\":%s}", c->annotations);
	return buf_take(&b);
}

/* A file in memory, since a pod's annotations may be more than a pipe takes at once. */
static int open_state(const char *state)
{
	_cleanup_(closep) int fd = memfd_create("state", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, state, strlen(state));
	if (r < 0)
		return r;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

/* Its end is noted while its output is read: the loop reaps it whenever it comes. */
struct ending {
	struct loop_child child;
	struct co_cond noted;
	int out; /* our end of its output */
	bool over;
	int status;
};

static void on_end(struct loop_child *child, int status)
{
	struct ending *ending = container_of(child, struct ending, child);

	ending->over = true;
	ending->status = status;
	/* What it has left in the background may hold the other end: what was said is all. */
	shutdown(ending->out, SHUT_RD);
	co_cond_wake_all(&ending->noted);
}

/* Reads what it says until it closes its output or ends, at most OUTPUT_MAX; the rest is thrown
 * away. */
static void read_output(int fd, uint64_t deadline, struct buf *out)
{
	char chunk[1024];

	while (co_wait_io(fd, EPOLLIN, deadline) > 0) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n <= 0)
			break;
		if (out->len + (size_t)n <= OUTPUT_MAX)
			buf_add(out, chunk, (size_t)n);
	}
}

static int spawn_hook(const Grpc__Hook *hook, int in, int out, struct err *err)
{
	_cleanup_(strv_fini) struct strv argv = {0}, envp = {0};
	char *no_env[] = {NULL};
	pid_t pid;

	for (size_t i = 0; i < hook->n_args; i++)
		strv_add(&argv, hook->args[i]);
	if (!argv.n)
		strv_add(&argv, hook->path);
	for (size_t i = 0; i < hook->n_env; i++)
		strv_add(&envp, hook->env[i]);
	pid = spawn_start(&(struct spawn){.path = hook->path,
					  .argv = argv.v,
					  .envp = envp.v ? envp.v : no_env,
					  .in = in,
					  .out = out,
					  .err = out});
	return pid < 0 ? err_set(err, pid, "hook %s", hook->path) : pid;
}

static int await_hook(struct loop *loop, pid_t pid, int out, uint64_t deadline, struct buf *output,
		      int *ret_status)
{
	struct ending ending = {.out = out};
	int r;

	co_cond_init(&ending.noted);
	r = loop_child_add(loop, &ending.child, pid, on_end);
	if (r < 0)
		return r;
	read_output(out, deadline, output);
	while (r >= 0 && !ending.over)
		r = co_cond_wait(&ending.noted, deadline);
	loop_child_remove(&ending.child);
	*ret_status = ending.status;
	return ending.over ? 0 : r;
}

static int run_hook(struct loop *loop, const Grpc__Hook *hook, const char *state, uint64_t deadline,
		    struct err *err)
{
	_cleanup_(closep) int in = open_state(state), out = -1, output_end = -1;
	_cleanup_(buf_fini) struct buf output = {0};
	int pair[2], pid, r, status;

	if (hook->timeout > 0)
		deadline = MIN(deadline, clock_after((uint64_t)hook->timeout * USEC_PER_SEC));
	if (in < 0)
		return err_set(err, in, "hook %s: state", hook->path);
	r = fd_socketpair(pair);
	if (r < 0)
		return err_set(err, r, "hook %s", hook->path);
	output_end = pair[0];
	out = pair[1];
	fd_set_nonblock(out, false);
	pid = spawn_hook(hook, in, out, err);
	out = fd_close(out);
	if (pid < 0)
		return pid;
	r = await_hook(loop, pid, output_end, deadline, &output, &status);
	if (r < 0)
		kill(pid, SIGKILL);
	if (r == -ETIMEDOUT)
		return err_setx(err, r, "hook %s: it did not end in time", hook->path);
	if (r < 0)
		return err_set(err, r, "hook %s", hook->path);
	if (status != 0)
		return err_setx(err, -EIO, "hook %s: %s %d: %s", hook->path,
				WIFEXITED(status) ? "exit status" : "signal",
				WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
				output.len ? str_chomp(output.data) : "no output");
	return 0;
}

static int run_all(const struct container *c, Grpc__Hook *const *hooks, size_t n,
		   const char *status, uint64_t deadline, struct err *err)
{
	_cleanup_(freep) char *state = n ? format_state(c, status) : NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = run_hook(c->sandbox->loop, hooks[i], state, deadline, err);
	return r;
}

int hooks_run_create(struct container *c, const Grpc__Spec *spec, uint64_t deadline,
		     struct err *err)
{
	const Grpc__Hooks *hooks = spec->hooks;
	int r;

	c->annotations = format_annotations(spec);
	r = run_all(c, hooks->prestart, hooks->n_prestart, "creating", deadline, err);
	if (r >= 0)
		r = run_all(c, hooks->createruntime, hooks->n_createruntime, "creating", deadline,
			    err);
	return r;
}

void hooks_run_later(struct container *c, enum hooks_when when)
{
	_cleanup_err_ struct err err = {0};
	const Grpc__Hooks *hooks = c->hooks;
	int r;

	if (!hooks)
		return;
	if (when == HOOKS_POSTSTART)
		r = run_all(c, hooks->poststart, hooks->n_poststart, "running",
			    clock_after(HOOK_TIMEOUT), &err);
	else
		r = run_all(c, hooks->poststop, hooks->n_poststop, "stopped",
			    clock_after(HOOK_TIMEOUT), &err);
	if (r < 0)
		log_warn("container %s: %s", c->id, err_text(&err));
}

Grpc__Hooks *hooks_keep(const Grpc__Spec *spec)
{
	const Grpc__Hooks *hooks = spec->hooks;

	if (!hooks || (!hooks->n_poststart && !hooks->n_poststop))
		return NULL;
	return hooks_copy(hooks);
}
