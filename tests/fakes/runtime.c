/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A runtime without a VM: runtime/sandbox.h over ordinary processes of the host, for tests of what
 * is above it. The "VM" is a sleeping process that can be killed. Containers run the command of
 * their specification without any isolation. Annotations make things go wrong:
 *   fake.create.msec   container_create() takes so long
 *   fake.boot.error    sandbox_start() fails with this text
 *   fake.boot.msec     sandbox_start() takes so long, unless it is stopped meanwhile
 *   fake.delete.error  container_delete() fails with this text
 *   fake.oom           its end is preceded by the news that it ran out of memory
 *   fake.stats.none    container_stats() knows nothing
 *   fake.template      the key of the template that sandbox_wanted_template() wants
 *   fake.spare.stale   sandbox_adopt() finds that it does not fit
 * A process named "fail-start" can be created and not be started.
 * Below $FAKE_RUNTIME_DIR a file tells of each sandbox that runs, and of each cleanup.
 */

#include "runtime/sandbox.h"
#include "runtime/spare.h"
#include "runtime/template_build.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/parse.h"
#include "base/spawn.h"
#include "config/config.h"
#include "loop/co.h"
#include "oci/annotations.h"

#define EXIT_WAIT (2 * USEC_PER_SEC)

struct fake_process {
	struct container *container;
	struct list link;
	char *exec_id;
	struct strv args, env;
	bool terminal, stdin_open, started, exited;
	struct loop_child child;
	pid_t pid;
	uint32_t status;
	uint64_t exited_at;
	struct co_cond ended;
	int in, out, err; /* our ends */
};

struct container {
	struct sandbox *sandbox;
	char *id, *delete_error;
	struct list processes;
	bool paused, oom, no_stats;
};

struct sandbox {
	struct loop *loop;
	char *id;
	struct config *config;
	struct sandbox_listener listener;
	struct map containers;
	struct loop_child vm;
	pid_t vm_pid;
	enum sandbox_state state;
	uint64_t started_at;
	int vm_status;
	const char *reason;     /* why it died */
	char *template;         /* that it wants */
	struct co_cond changed; /* the state, during a boot */
	struct loop_defer died;
	unsigned int n_refs;
};

static void note(const char *what, const char *id, bool on)
{
	const char *dir = getenv("FAKE_RUNTIME_DIR");
	char path[512];

	if (!dir)
		return;
	snprintf(path, sizeof(path), "%s/%s-%s", dir, what, id);
	if (on)
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	else
		unlink(path);
}

static struct fake_process *process_of(const struct container *c, const char *exec_id)
{
	struct fake_process *p;

	list_for_each (p, &c->processes, link)
		if (streq(p->exec_id, exec_id ? exec_id : ""))
			return p;
	return NULL;
}

static int find(const struct sandbox *s, const char *id, const char *exec_id,
		struct fake_process **ret, struct err *err)
{
	struct container *c = s ? map_get(&s->containers, id) : NULL;
	struct fake_process *p = c ? process_of(c, exec_id) : NULL;

	if (!p)
		return err_setx(err, -ENOENT, "the guest knows no %s", id);
	*ret = p;
	return 0;
}

static int find_alive(const struct sandbox *s, const char *id, const char *exec_id,
		      struct fake_process **ret, struct err *err)
{
	if (!s || s->state != SANDBOX_RUNNING)
		return err_setx(err, -ESHUTDOWN, "the sandbox is gone: %s",
				s && s->reason ? s->reason : "the fake VM is gone");
	return find(s, id, exec_id, ret, err);
}

static void process_free(struct fake_process *p)
{
	loop_child_remove(&p->child);
	list_remove(&p->link);
	fd_close(p->in);
	fd_close(p->out);
	if (p->err != p->out)
		fd_close(p->err);
	strv_fini(&p->args);
	strv_fini(&p->env);
	free(p->exec_id);
	free(p);
}

static void container_free(struct container *c)
{
	while (!list_empty(&c->processes))
		process_free(list_first(&c->processes, struct fake_process, link));
	map_remove(&c->sandbox->containers, c->id);
	free(c->id);
	free(c->delete_error);
	free(c);
}

static void process_ended(struct fake_process *p, uint32_t status)
{
	struct sandbox *s = p->container->sandbox;

	if (p->exited)
		return;
	p->exited = true;
	p->status = status;
	p->exited_at = clock_realtime();
	p->in = fd_close(p->in);
	co_cond_wake_all(&p->ended);
	s->listener.process_exited(s->listener.arg, p->container->id, p->exec_id, s->vm_pid, status,
				   p->exited_at);
}

static void on_exit_child(struct loop_child *child, int status)
{
	struct fake_process *p = container_of(child, struct fake_process, child);
	struct fake_process *other;

	/* As in a PID namespace: the others go with the first. */
	if (!*p->exec_id)
		list_for_each (other, &p->container->processes, link)
			if (other != p && other->started && !other->exited)
				kill(-other->pid, SIGKILL);
	if (p->container->oom)
		p->container->sandbox->listener.oom(p->container->sandbox->listener.arg,
						    p->container->id);
	process_ended(p, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* --- sandbox --- */

int sandbox_private_mounts(_unused_ struct err *err)
{
	return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
}

void sandbox_sources_in(_unused_ int mount_namespace)
{
}

int sandbox_new(struct loop *loop, struct config *config, const char *id,
		_unused_ const char *owner, _unused_ const char *netns,
		const struct sandbox_listener *listener, struct sandbox **ret,
		_unused_ struct err *err)
{
	struct sandbox *s = xnew(struct sandbox);

	s->n_refs = 1;
	s->loop = loop;
	s->id = xstrdup(id);
	s->config = config_ref(config);
	s->listener = *listener;
	co_cond_init(&s->changed);
	*ret = s;
	return 0;
}

static void on_died(struct loop_defer *defer)
{
	struct sandbox *s = container_of(defer, struct sandbox, died);

	s->state = SANDBOX_DEAD;
	s->reason = "the fake VM was killed";
	co_cond_wake_all(&s->changed);
	map_for_each (e, &s->containers) {
		struct container *c = e->value;
		struct fake_process *p;

		list_for_each (p, &c->processes, link)
			if (p->started && !p->exited) {
				kill(-p->pid, SIGKILL);
				loop_child_remove(&p->child);
				process_ended(p, 137);
			}
	}
	s->listener.died(s->listener.arg, s->reason);
}

static void on_vm_end(struct loop_child *child, int status)
{
	struct sandbox *s = container_of(child, struct sandbox, vm);

	s->vm_status = status;
	if (s->state == SANDBOX_RUNNING || s->state == SANDBOX_SPARE)
		loop_defer(s->loop, &s->died, on_died);
}

static int start_vm(struct sandbox *s, struct err *err)
{
	const char *const argv[] = {"sleep", "1000", NULL};

	s->vm_pid = spawn_start(&(struct spawn){.path = "sleep",
						.argv = (char *const *)argv,
						.in = -1,
						.out = -1,
						.err = -1,
						.die_with_parent = true});
	if (s->vm_pid < 0)
		return err_set(err, s->vm_pid, "start the fake VM");
	return loop_child_add(s->loop, &s->vm, s->vm_pid, on_vm_end);
}

int sandbox_prepare(struct sandbox *s, struct err *err)
{
	s->state = SANDBOX_SPARE;
	note("spare", s->id, true);
	return start_vm(s, err);
}

int sandbox_fits(const struct sandbox *s, const struct config *config,
		 _unused_ const Grpc__Spec *spec, struct err *err)
{
	return config_equal(s->config, config)
		       ? 0
		       : err_setx(err, -ESTALE, "another configuration is wanted");
}

int sandbox_adopt(struct sandbox *s, _unused_ struct config *config, const Grpc__Spec *spec,
		  const char *id, _unused_ const char *owner, _unused_ const char *netns,
		  const struct sandbox_listener *listener, struct err *err)
{
	if (s->state != SANDBOX_SPARE || oci_annotation(spec, "fake.spare.stale"))
		return err_setx(err, -ESTALE, "the fake VM is of no use");
	note("spare", s->id, false);
	note("adopted", id, true);
	free(s->id);
	s->id = xstrdup(id);
	s->listener = *listener;
	return 0;
}

const char *sandbox_wanted_spare(const struct sandbox *s)
{
	return spare_missing(s->config->file, s->config->factory.spares) ? s->config->file : NULL;
}

int sandbox_start(struct sandbox *s, const Grpc__Spec *spec, struct err *err)
{
	const char *error = oci_annotation(spec, "fake.boot.error");
	const char *msec = oci_annotation(spec, "fake.boot.msec");
	uint64_t wait = 1;
	int r;

	if (msec)
		(void)parse_u64(msec, &wait);
	if (oci_annotation(spec, "fake.template"))
		s->template = xstrdup(oci_annotation(spec, "fake.template"));
	s->state = SANDBOX_BOOTING;
	(void)co_cond_wait(&s->changed, clock_after(wait * USEC_PER_MSEC));
	if (s->state != SANDBOX_BOOTING)
		return err_setx(err, -ESHUTDOWN, "the fake VM was stopped while it booted");
	s->state = SANDBOX_STOPPED;
	if (error)
		return err_setx(err, -ENOENT, "%s", error);
	r = s->vm_pid ? 0 : start_vm(s, err);
	if (r < 0)
		return r;
	s->state = SANDBOX_RUNNING;
	s->started_at = clock_realtime();
	note("running", s->id, true);
	return 0;
}

int sandbox_stop(struct sandbox *s, _unused_ struct err *err)
{
	enum sandbox_state was = s->state;

	if (was == SANDBOX_STOPPED)
		return 0;
	s->state = SANDBOX_STOPPING;
	/* It is freed by whoever boots it. */
	co_cond_wake_all(&s->changed);
	if (was == SANDBOX_BOOTING)
		return 0;
	map_for_each (e, &s->containers) {
		struct container *c = e->value;
		struct fake_process *p;

		list_for_each (p, &c->processes, link)
			if (p->started && !p->exited) {
				kill(-p->pid, SIGKILL);
				co_cond_wait(&p->ended, clock_after(EXIT_WAIT));
			}
	}
	if (was == SANDBOX_RUNNING || was == SANDBOX_SPARE)
		kill(s->vm_pid, SIGKILL);
	if (was == SANDBOX_SPARE)
		note("spare", s->id, false);
	s->state = SANDBOX_STOPPED;
	note("running", s->id, false);
	return 0;
}

static void sandbox_unref(struct sandbox *s)
{
	if (--s->n_refs)
		return;
	map_fini(&s->containers);
	free(s->id);
	config_free(s->config);
	free(s->template);
	free(s);
}

void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	for (bool again = true; again;) {
		again = false;
		map_for_each (e, &s->containers) {
			container_free(e->value);
			again = true;
			break;
		}
	}
	loop_child_remove(&s->vm);
	loop_defer_cancel(&s->died);
	s->state = SANDBOX_STOPPED;
	co_cond_wake_all(&s->changed);
	sandbox_unref(s);
}

bool sandbox_running(const struct sandbox *s)
{
	return s->state == SANDBOX_RUNNING;
}

void sandbox_status(const struct sandbox *s, struct sandbox_status *ret)
{
	*ret = (struct sandbox_status){
		.state = s->state,
		.vm_pid = s->state == SANDBOX_RUNNING ? s->vm_pid : 0,
		.reason = s->reason,
		.started_at = s->started_at,
		.emulated = true,
		.agent_url = "fake://agent",
		.n_containers = (uint32_t)s->containers.n,
	};
}

int sandbox_ping(struct sandbox *s, _unused_ uint64_t usec, struct err *err)
{
	return sandbox_running(s) ? 0 : err_setx(err, -ESHUTDOWN, "the fake VM is gone");
}

int sandbox_metrics(_unused_ struct sandbox *s, struct buf *out, _unused_ struct err *err)
{
	buf_adds(out, "kata_shim_threads 1\n");
	return 0;
}

void sandbox_sweep(_unused_ const char *prefix, _unused_ const char *id)
{
}

const char *sandbox_wanted_template(const struct sandbox *s, const char **ret_config)
{
	*ret_config = "";
	return s->template;
}

void sandbox_expel(_unused_ const struct sandbox *s, pid_t pid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", pid);
	note("expelled", name, true);
}

/* In a process of its own: what it was started with is what is tested. */
int template_build_in_background(_unused_ struct config *config, const char *key,
				 _unused_ struct err *err)
{
	_cleanup_(freep) char *expelled = xasprintf("%s/expelled-%d", getenv("FAKE_RUNTIME_DIR"),
						    getpid());

	if (getsid(0) == getpid() && access(expelled, F_OK) == 0)
		note("template", key, true);
	return 0;
}

int sandbox_cleanup(const char *id, _unused_ const char *owner, _unused_ pid_t ended,
		    _unused_ struct err *err)
{
	note("running", id, false);
	note("cleanup", id, true);
	return 0;
}

/* --- containers --- */

static struct fake_process *process_add(struct container *c, const char *exec_id,
					const Grpc__Process *from)
{
	struct fake_process *p = xnew(struct fake_process);

	p->container = c;
	p->exec_id = xstrdup(exec_id ? exec_id : "");
	p->terminal = from->terminal;
	p->in = p->out = p->err = -1;
	for (size_t i = 0; i < from->n_args; i++)
		strv_add(&p->args, from->args[i]);
	for (size_t i = 0; i < from->n_env; i++)
		strv_add(&p->env, from->env[i]);
	co_cond_init(&p->ended);
	list_add_tail(&c->processes, &p->link);
	return p;
}

static int check_executable(const Grpc__Process *p, struct err *err)
{
	_cleanup_(strv_fini) struct strv dirs = {0};
	const char *name = p->n_args ? p->args[0] : "";

	if (streq(name, "fail-start"))
		return 0;
	if (strchr(name, '/'))
		return access(name, X_OK) == 0
			       ? 0
			       : err_setx(err, -ENOENT,
					  "exec: \"%s\": stat %s: no such file or directory", name,
					  name);
	strv_split(&dirs, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ":");
	for (size_t i = 0; i < dirs.n; i++) {
		_cleanup_(freep) char *path = xasprintf("%s/%s", dirs.v[i], name);

		if (access(path, X_OK) == 0)
			return 0;
	}
	return err_setx(err, -ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

/* So long, or until the sandbox ends. */
static int await_guest(struct sandbox *s, uint64_t usec, struct err *err)
{
	uint64_t deadline = clock_after(usec);
	bool running;

	s->n_refs++;
	while (usec && s->state == SANDBOX_RUNNING && co_cond_wait(&s->changed, deadline) == 0)
		;
	running = s->state == SANDBOX_RUNNING;
	sandbox_unref(s);
	return running ? 0 : err_setx(err, -ESHUTDOWN, "the fake VM is gone");
}

int container_create(struct sandbox *s, const struct container_request *request, struct err *err)
{
	const char *msec = oci_annotation(request->spec, "fake.create.msec");
	const char *error = oci_annotation(request->spec, "fake.delete.error");
	struct container *c;
	uint64_t wait = 0;
	int r;

	if (!s || s->state != SANDBOX_RUNNING)
		return err_setx(err, -ESHUTDOWN, "the fake VM is gone");
	if (msec)
		(void)parse_u64(msec, &wait);
	r = await_guest(s, wait * USEC_PER_MSEC, err);
	if (r >= 0)
		r = check_executable(request->spec->process, err);
	if (r < 0)
		return r;
	c = xnew(struct container);
	c->sandbox = s;
	c->id = xstrdup(request->id);
	c->delete_error = xstrdup(error);
	c->oom = oci_annotation(request->spec, "fake.oom");
	c->no_stats = oci_annotation(request->spec, "fake.stats.none");
	list_init(&c->processes);
	map_put(&s->containers, request->id, c);
	process_add(c, "", request->spec->process)->stdin_open = request->stdin_open;
	return 0;
}

int container_exec(struct sandbox *s, const char *id, const char *exec_id,
		   const Grpc__Process *process, bool stdin_open, struct err *err)
{
	struct fake_process *first;
	int r = find_alive(s, id, "", &first, err);

	if (r >= 0)
		r = check_executable(process, err);
	if (r < 0)
		return r;
	process_add(first->container, exec_id, process)->stdin_open = stdin_open;
	return 0;
}

static int open_streams(struct fake_process *p, int ret_child[3])
{
	int in[2], out[2], err[2];

	if (p->terminal) {
		if (openpty(&p->out, &ret_child[0], NULL, NULL, NULL) < 0)
			return -errno;
		ret_child[1] = ret_child[2] = ret_child[0];
		p->err = p->out;
		p->in = fd_dup(p->out);
		fd_set_cloexec(p->out, true);
		fd_set_nonblock(p->out, true);
		return 0;
	}
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return -errno;
	ret_child[0] = in[0], p->in = in[1];
	ret_child[1] = out[1], p->out = out[0];
	ret_child[2] = err[1], p->err = err[0];
	fd_set_nonblock(p->in, true);
	fd_set_nonblock(p->out, true);
	fd_set_nonblock(p->err, true);
	return 0;
}

int container_start(struct sandbox *s, const char *id, const char *exec_id, pid_t *ret_pid,
		    struct err *err)
{
	struct fake_process *p;
	int child[3], r = find_alive(s, id, exec_id, &p, err);

	if (r >= 0)
		r = open_streams(p, child);
	if (r < 0)
		return r;
	co_pause();
	p->pid = spawn_start(&(struct spawn){.path = p->args.v[0],
					     .argv = p->args.v,
					     .envp = p->env.n ? p->env.v : NULL,
					     .in = p->stdin_open || p->terminal ? child[0] : -1,
					     .out = child[1],
					     .err = child[2],
					     .die_with_parent = true,
					     .new_session = true});
	fd_close(child[0]);
	if (child[1] != child[0]) {
		fd_close(child[1]);
		fd_close(child[2]);
	}
	if (p->pid < 0)
		return err_set(err, p->pid, "exec: \"%s\"", p->args.v[0]);
	p->started = true;
	loop_child_add(s->loop, &p->child, p->pid, on_exit_child);
	*ret_pid = s->vm_pid;
	/* Give short processes the time to end before their start has been answered. */
	co_sleep(2000);
	return 0;
}

int container_delete(struct sandbox *s, const char *id, const char *exec_id,
		     struct process_status *ret, struct err *err)
{
	struct fake_process *p;
	int r = find(s, id, exec_id, &p, err);

	if (r < 0)
		return r;
	if (p->started && !p->exited)
		return err_setx(err, -EBUSY, "%s still runs", id);
	if (p->container->delete_error && !*p->exec_id)
		return err_setx(err, -EIO, "%s", p->container->delete_error);
	*ret = (struct process_status){.state = PROCESS_STOPPED, .exit_status = p->status};
	if (*p->exec_id)
		process_free(p);
	else
		container_free(p->container);
	return 0;
}

int container_status(_unused_ struct sandbox *s, _unused_ const char *id,
		     _unused_ const char *exec_id, _unused_ struct process_status *ret,
		     struct err *err)
{
	return err_setx(err, -ENOSYS, "the shim has its own idea of states");
}

int container_wait(_unused_ struct sandbox *s, _unused_ const char *id,
		   _unused_ const char *exec_id, _unused_ struct process_status *ret,
		   struct err *err)
{
	return err_setx(err, -ENOSYS, "the shim is told of exits");
}

int container_kill(struct sandbox *s, const char *id, const char *exec_id, uint32_t signal,
		   _unused_ bool all, struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, exec_id, &p, err);

	if (r < 0)
		return r;
	if (!p->started) {
		process_ended(p, 128 + signal);
		return 0;
	}
	if (p->exited)
		return err_setx(err, -ESRCH, "no such process");
	return kill(-p->pid, (int)signal) < 0 ? err_set(err, -errno, "kill") : 0;
}

static int signal_all(struct sandbox *s, const char *id, int signal, struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, "", &p, err);

	return r < 0 ? r : kill(-p->pid, signal);
}

int container_pause(struct sandbox *s, const char *id, struct err *err)
{
	return signal_all(s, id, SIGSTOP, err);
}

int container_resume(struct sandbox *s, const char *id, struct err *err)
{
	return signal_all(s, id, SIGCONT, err);
}

int container_update(struct sandbox *s, const char *id, const Grpc__LinuxResources *resources,
		     struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, "", &p, err);

	if (r < 0)
		return r;
	return resources->memory ? 0 : err_setx(err, -EINVAL, "no memory in the update");
}

int container_resize_tty(struct sandbox *s, const char *id, const char *exec_id, uint32_t width,
			 uint32_t height, struct err *err)
{
	struct winsize size = {.ws_col = (unsigned short)width, .ws_row = (unsigned short)height};
	struct fake_process *p;
	int r = find_alive(s, id, exec_id, &p, err);

	if (r < 0)
		return r;
	return ioctl(p->out, TIOCSWINSZ, &size) < 0 ? err_set(err, -errno, "resize") : 0;
}

int container_pids(struct sandbox *s, const char *id, pid_t **ret, size_t *ret_n, struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, "", &p, err);

	if (r < 0)
		return r;
	*ret = xmalloc(sizeof(pid_t));
	(*ret)[0] = s->vm_pid;
	*ret_n = 1;
	return 0;
}

int container_stats(struct sandbox *s, const char *id, Grpc__StatsContainerResponse **ret,
		    struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, "", &p, err);

	if (r < 0)
		return r;
	*ret = xmalloc(sizeof(**ret));
	grpc__stats_container_response__init(*ret);
	if (p->container->no_stats)
		return 0;
	(*ret)->cgroup_stats = xmalloc(sizeof(Grpc__CgroupStats));
	grpc__cgroup_stats__init((*ret)->cgroup_stats);
	(*ret)->cgroup_stats->pids_stats = xmalloc(sizeof(Grpc__PidsStats));
	grpc__pids_stats__init((*ret)->cgroup_stats->pids_stats);
	(*ret)->cgroup_stats->pids_stats->current = 7;
	return 0;
}

/* --- streams --- */

int container_write_stdin(struct sandbox *s, const char *id, const char *exec_id, const void *data,
			  size_t n, struct err *err)
{
	const char *bytes = data;
	struct fake_process *p;
	int r = find_alive(s, id, exec_id, &p, err);

	while (r >= 0 && n > 0) {
		ssize_t done = p->in < 0 ? -1 : write(p->in, bytes, n);

		if (p->in < 0)
			return err_setx(err, -EPIPE, "the process has ended");
		if (done >= 0) {
			bytes += done;
			n -= done;
		} else if (errno == EAGAIN) {
			r = co_wait_io(p->in, EPOLLOUT, clock_after(60 * USEC_PER_SEC));
		} else {
			r = err_set(err, -errno, "write");
		}
		if (r >= 0)
			r = find_alive(s, id, exec_id, &p, err);
	}
	return MIN(r, 0);
}

int container_close_stdin(struct sandbox *s, const char *id, const char *exec_id, struct err *err)
{
	struct fake_process *p;
	int r = find_alive(s, id, exec_id, &p, err);

	if (r < 0)
		return r;
	if (!p->terminal)
		p->in = fd_close(p->in);
	return 0;
}

ssize_t container_read_output(struct sandbox *s, const char *id, const char *exec_id, int stream,
			      void **ret, struct err *err)
{
	_cleanup_(freep) char *data = xmalloc(65536);
	struct fake_process *p;
	int r;

	for (;;) {
		ssize_t n;

		r = find(s, id, exec_id, &p, err);
		if (r < 0)
			return r;
		n = read(stream == 1 ? p->out : p->err, data, 65536);
		if (n >= 0) {
			*ret = n > 0 ? TAKE_PTR(data) : NULL;
			return n;
		}
		if (errno == EIO && p->terminal)
			return 0;
		if (errno != EAGAIN)
			return err_set(err, -errno, "read");
		/* A look now and then, since the container may be deleted meanwhile. */
		r = co_wait_io(stream == 1 ? p->out : p->err, EPOLLIN, clock_after(50000));
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
}
