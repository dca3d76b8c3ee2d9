/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/container.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/oom.h"
#include "agent/storage/storage.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/utf8.h"

/*
 * How it works: the table says which event may happen in which state. `busy` counts the coroutines
 * that are in the middle of something; a removal first forbids new ones (REMOVING), then kills,
 * which ends those that wait for a process, and frees when the last has left.
 */

#define RETRY_FIRST_USEC     (1 * USEC_PER_MSEC)
#define TERMINATION_LOG_USEC (5 * USEC_PER_SEC)
#define RETRY_LAST_USEC      (50 * USEC_PER_MSEC)

#define NO -1

static const signed char next_state[_CONTAINER_STATE_MAX][_CONTAINER_EVENT_MAX] = {
	[CONTAINER_CREATING] =
		{
			[CONTAINER_READY] = CONTAINER_CREATED,
			[CONTAINER_START] = NO,
			[CONTAINER_EXEC] = NO,
			[CONTAINER_PAUSE] = NO,
			[CONTAINER_RESUME] = NO,
			[CONTAINER_EXIT] = CONTAINER_CREATING,
			[CONTAINER_REMOVE] = CONTAINER_REMOVING,
		},
	[CONTAINER_CREATED] =
		{
			[CONTAINER_READY] = NO,
			[CONTAINER_START] = CONTAINER_RUNNING,
			[CONTAINER_EXEC] = CONTAINER_CREATED,
			[CONTAINER_PAUSE] = NO,
			[CONTAINER_RESUME] = NO,
			[CONTAINER_EXIT] = CONTAINER_STOPPED,
			[CONTAINER_REMOVE] = CONTAINER_REMOVING,
		},
	[CONTAINER_RUNNING] =
		{
			[CONTAINER_READY] = NO,
			[CONTAINER_START] = NO,
			[CONTAINER_EXEC] = CONTAINER_RUNNING,
			[CONTAINER_PAUSE] = CONTAINER_PAUSED,
			[CONTAINER_RESUME] = NO,
			[CONTAINER_EXIT] = CONTAINER_STOPPED,
			[CONTAINER_REMOVE] = CONTAINER_REMOVING,
		},
	[CONTAINER_PAUSED] =
		{
			[CONTAINER_READY] = NO,
			[CONTAINER_START] = NO,
			[CONTAINER_EXEC] = NO,
			[CONTAINER_PAUSE] = NO,
			[CONTAINER_RESUME] = CONTAINER_RUNNING,
			[CONTAINER_EXIT] = CONTAINER_STOPPED,
			[CONTAINER_REMOVE] = CONTAINER_REMOVING,
		},
	[CONTAINER_STOPPED] =
		{
			[CONTAINER_READY] = NO,
			[CONTAINER_START] = NO,
			[CONTAINER_EXEC] = NO,
			[CONTAINER_PAUSE] = NO,
			[CONTAINER_RESUME] = NO,
			[CONTAINER_EXIT] = NO,
			[CONTAINER_REMOVE] = CONTAINER_REMOVING,
		},
	[CONTAINER_REMOVING] =
		{
			[CONTAINER_READY] = NO,
			[CONTAINER_START] = NO,
			[CONTAINER_EXEC] = NO,
			[CONTAINER_PAUSE] = NO,
			[CONTAINER_RESUME] = NO,
			[CONTAINER_EXIT] = CONTAINER_REMOVING,
			[CONTAINER_REMOVE] = NO,
		},
};

static const char *const state_names[_CONTAINER_STATE_MAX] = {
	[CONTAINER_CREATING] = "being created", [CONTAINER_CREATED] = "created",
	[CONTAINER_RUNNING] = "running",        [CONTAINER_PAUSED] = "paused",
	[CONTAINER_STOPPED] = "stopped",        [CONTAINER_REMOVING] = "being removed",
};

static const char *const event_names[_CONTAINER_EVENT_MAX] = {
	[CONTAINER_READY] = "made ready", [CONTAINER_START] = "started",
	[CONTAINER_EXEC] = "entered",     [CONTAINER_PAUSE] = "paused",
	[CONTAINER_RESUME] = "resumed",   [CONTAINER_EXIT] = "ended",
	[CONTAINER_REMOVE] = "removed",
};

int container_next(enum container_state state, enum container_event event)
{
	return next_state[state][event];
}

const char *container_state_name(enum container_state state)
{
	return state_names[state];
}

int container_check(const struct container *c, enum container_event event, struct err *err)
{
	if (container_next(c->state, event) >= 0)
		return 0;
	return err_setx(err, -EBUSY, "container %s cannot be %s: it is %s", c->id,
			event_names[event], state_names[c->state]);
}

int container_move(struct container *c, enum container_event event, struct err *err)
{
	int r = container_check(c, event, err);

	if (r == 0)
		c->state = (enum container_state)container_next(c->state, event);
	return r;
}

/* --- finding --- */

int container_new(struct agent *agent, const char *id, struct container **ret, struct err *err)
{
	struct container *c;

	if (!path_is_id(id))
		return err_setx(err, -EINVAL, "\"%s\" is not a valid container id", id);
	if (map_get(&agent->containers, id))
		return err_setx(err, -EEXIST, "container %s exists already", id);
	if (agent->containers.n >= AGENT_CONTAINERS_MAX)
		return err_setx(err, -EBUSY, "there are %u containers already",
				AGENT_CONTAINERS_MAX);
	c = xnew(struct container);
	c->agent = agent;
	c->id = xstrdup(id);
	c->oom_watch = c->pid_namespace = -1;
	co_cond_init(&c->changed);
	list_init(&c->processes);
	list_init(&c->storages);
	for (int kind = 0; kind < _HOOK_KIND_MAX; kind++)
		list_init(&c->hooks[kind]);
	map_put(&agent->containers, id, c);
	*ret = c;
	return 0;
}

struct container *container_find(struct agent *agent, const char *id, struct err *err)
{
	struct container *c = map_get(&agent->containers, id);

	if (!c)
		err_setx(err, -ENOENT, "container \"%s\" does not exist", id);
	return c;
}

struct process *container_find_process(struct agent *agent, const char *id, const char *exec_id,
				       struct err *err)
{
	struct container *c = container_find(agent, id, err);
	struct process *p;

	if (!c)
		return NULL;
	if (c->init && c->init->ready && (str_empty(exec_id) || streq(exec_id, c->id)))
		return c->init;
	list_for_each (p, &c->processes, link)
		if (p->ready && streq(p->exec_id, exec_id))
			return p;
	err_setx(err, -ENOENT, "process \"%s\" of container %s does not exist", exec_id, id);
	return NULL;
}

int container_check_stays(const struct container *c, struct err *err)
{
	return c->state == CONTAINER_REMOVING
		       ? err_setx(err, -EBUSY, "container %s is being removed", c->id)
		       : 0;
}

void container_enter(struct container *c)
{
	c->busy++;
}

void container_leave(struct container *c)
{
	c->busy--;
	co_cond_wake_all(&c->changed);
}

void containers_close_streams(struct agent *agent)
{
	struct process *p;

	map_for_each (entry, &agent->containers) {
		struct container *c = entry->value;

		list_for_each (p, &c->processes, link) {
			p->in.fd = fd_close(p->in.fd);
			p->out.fd = fd_close(p->out.fd);
			p->err.fd = fd_close(p->err.fd);
		}
	}
}

/* --- last words --- */

struct last_words {
	size_t n;
	char text[CONTAINER_TERMINATION_LOG_MAX];
};

/* In a child: the file is on a share that may hang. */
static int read_last_words(void *arg, void *reply)
{
	_cleanup_(closep) int fd = open(arg,
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct last_words *words = reply;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	n = fd_read_full(fd, words->text, sizeof(words->text));
	if (n < 0)
		return (int)n;
	words->n = (size_t)n;
	return 0;
}

int container_read_termination_log(struct container *c, char **ret, struct err *err)
{
	_cleanup_(freep) struct last_words *words = xnew(struct last_words);
	int r = container_check_stays(c, err);

	if (r < 0)
		return r;
	if (!c->termination_log)
		return err_setx(err, -ENOENT, "container %s has no termination log", c->id);
	container_enter(c);
	r = co_run_child(read_last_words, c->termination_log, words, sizeof(*words),
			 clock_after(TERMINATION_LOG_USEC));
	container_leave(c);
	if (r < 0)
		return err_set(err, r, "read the termination log");
	*ret = xstrndup(words->text, MIN(words->n, sizeof(words->text)));
	/* A message's text is UTF-8, or the other side does not take it. */
	utf8_fix(*ret, strlen(*ret));
	return 0;
}

/* --- the end --- */

int container_kill(struct container *c)
{
	struct process *p;
	int r = -ENOENT;

	if (c->has_cgroup)
		r = cgroup_kill(&c->cgroup);
	/* Without a group: init takes the rest of its PID namespace with it. */
	list_for_each (p, &c->processes, link)
		if (p->child.loop)
			process_signal(p, SIGKILL);
	return c->has_cgroup ? r : 0;
}

void container_init_exited(struct container *c)
{
	container_move(c, CONTAINER_EXIT, NULL);
	/* Nothing can be born in a namespace without its process 1. */
	if (c->gave_pid_namespace) {
		c->agent->sandbox.pidns_fd = fd_close(c->agent->sandbox.pidns_fd);
		c->gave_pid_namespace = false;
	}
	if (c->own_pid_namespace)
		return;
	/* Others of the pod's PID namespace live on; what belonged to this container does not. */
	if (c->has_cgroup)
		(void)cgroup_kill(&c->cgroup);
}

static bool has_living(const struct container *c)
{
	struct process *p;

	list_for_each (p, &c->processes, link)
		if (p->child.loop)
			return true;
	return false;
}

static int wait_for_end(struct container *c, uint64_t deadline, struct err *err)
{
	while (has_living(c) || c->busy > 1) {
		if (co_cond_wait(&c->changed, deadline) < 0)
			return err_setx(err, -ETIMEDOUT,
					"container %s: processes do not end after SIGKILL", c->id);
	}
	return 0;
}

/* The group is empty when the last process is gone for good, which is a moment after its exit. */
static int remove_cgroup(struct container *c, uint64_t deadline, struct err *err)
{
	uint64_t pause = RETRY_FIRST_USEC;
	int r;

	while ((r = cgroup_remove(&c->cgroup)) == -EBUSY && clock_now() < deadline) {
		(void)cgroup_kill(&c->cgroup);
		co_sleep(pause);
		pause = MIN(2 * pause, RETRY_LAST_USEC);
	}
	if (r < 0)
		return err_set(err, r, "remove control group %s", c->cgroup.path);
	cgroup_close(&c->cgroup);
	c->has_cgroup = false;
	return 0;
}

static void container_free(struct container *c)
{
	while (!list_empty(&c->processes))
		process_free(list_first(&c->processes, struct process, link));
	map_remove(&c->agent->containers, c->id);
	fd_close(c->pid_namespace);
	hooks_fini(c);
	free(c->bundle);
	free(c->termination_log);
	free(c->bpf);
	free(c->id);
	free(c);
}

/* What goes wrong in a hook at the end is told to the log alone: the container goes. */
static void run_poststop(struct container *c)
{
	_cleanup_err_ struct err err = {0};

	if (hooks_run(c, HOOK_POSTSTOP, &err) < 0)
		log_warn("container %s: poststop: %s", c->id, err_text(&err));
	hooks_fini(c);
}

static int destroy(struct container *c, uint64_t deadline, struct err *err)
{
	uint64_t limit = MIN(deadline, clock_after(CONTAINER_KILL_USEC));
	int r;

	(void)container_kill(c);
	r = wait_for_end(c, limit, err);
	if (r < 0)
		return r;
	oom_forget(c);
	if (c->has_cgroup) {
		r = remove_cgroup(c, limit, err);
		if (r < 0)
			return r;
	}
	run_poststop(c);
	return storage_remove_all(c->agent, &c->storages, err);
}

int container_destroy(struct container *c, uint64_t deadline, struct err *err)
{
	int r;

	container_enter(c);
	r = destroy(c, deadline, err);
	container_leave(c);
	if (r < 0) {
		/* It can be tried again. */
		c->state = CONTAINER_STOPPED;
		return err_wrap(err, r, "remove container %s", c->id);
	}
	log_info("container %s has been removed", c->id);
	container_free(c);
	return 0;
}
