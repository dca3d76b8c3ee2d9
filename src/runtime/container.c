/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/log.h"
#include "base/path.h"
#include "runtime/disk.h"
#include "runtime/hooks.h"
#include "runtime/live_volume.h"
#include "runtime/model.h"
#include "runtime/resize.h"
#include "runtime/spec_guest.h"

/*
 * How it works: a container is prepared on the host (mounts, devices, a copy of config.json in the
 * guest's terms), which may overlap with the boot, and then made by the agent. What changes it
 * holds its lock, in the order of the calls; status, kill, wait and the streams do not, so that
 * nothing slow can delay them.
 */

#define REMOVE_TIMEOUT 10 /* seconds, the agent's */
#define STUCK_TIMEOUT  (500 * USEC_PER_MSEC)

/* --- life --- */

void container_ref(struct container *c)
{
	c->n_refs++;
}

void container_unref(struct container *c)
{
	if (--c->n_refs)
		return;
	map_fini(&c->processes);
	live_volumes_release(c);
	host_mounts_fini(&c->mounts);
	free(c->disks);
	if (c->hooks)
		protobuf_c_message_free_unpacked(&c->hooks->base, NULL);
	free(c->annotations);
	sandbox_unref(c->sandbox);
	free(c->id);
	free(c->bundle);
	free(c);
}

/* Processes hold their container: this is what lets both go. */
void container_drop(struct container *c)
{
	struct map processes = c->processes;

	c->processes = (struct map){0};
	map_for_each (e, &processes)
		process_unref(e->value);
	map_fini(&processes);
	container_unref(c);
}

struct container *container_find(struct sandbox *s, const char *id, struct err *err)
{
	struct container *c = map_get(&s->containers, id);

	if (!c) {
		err_setx(err, -ENOENT, "container %s: no such container", id);
		return NULL;
	}
	container_ref(c);
	return c;
}

void container_release(struct container *c)
{
	live_volumes_release(c);
	host_mounts_undo(&c->mounts);
	disks_unplug(c);
}

/* Whoever waited for its lock may find it deleted. */
static int check_there(const struct container *c, struct err *err)
{
	if (map_get(&c->sandbox->containers, c->id) == c)
		return 0;
	return err_setx(err, -ENOENT, "container %s: no such container", c->id);
}

static void unlockp(struct container **c)
{
	if (*c)
		co_unlock(&(*c)->lock);
}

void container_remove_in_guest(struct container *c)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
	_cleanup_err_ struct err err = {0};
	uint64_t deadline;
	bool hurry;

	if (!c->in_guest || sandbox_usable(c->sandbox, NULL) < 0)
		return;
	if (c->sandbox->stuck)
		sandbox_check_guest(c->sandbox, STUCK_TIMEOUT);
	/* A file system on a block device is worth the wait: it is written when it is unmounted. */
	hurry = (c->stuck || c->sandbox->stuck) && !c->n_disks;
	request.container_id = c->id;
	request.timeout = hurry ? 1 : REMOVE_TIMEOUT;
	deadline = hurry ? STUCK_TIMEOUT : (REMOVE_TIMEOUT + 1) * USEC_PER_SEC;
	if (agent_remove_container(c->sandbox->agent, &request, clock_after(deadline), &err) < 0)
		log_debug("container %s: remove it in the guest: %s", c->id, err_text(&err));
	c->in_guest = false;
}

/* --- start --- */

static int start_init(struct process *p, struct err *err)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;

	request.container_id = p->container->id;
	return agent_start_container(p->container->sandbox->agent, &request,
				     clock_after(CALL_TIMEOUT), err);
}

static int start_exec(struct process *p, struct err *err)
{
	Grpc__ExecProcessRequest request = GRPC__EXEC_PROCESS_REQUEST__INIT;

	request.container_id = p->container->id;
	request.exec_id = p->exec_id;
	request.process = p->pending;
	return agent_exec_process(p->container->sandbox->agent, &request, clock_after(CALL_TIMEOUT),
				  err);
}

/* What was asked for before the start (a closed stdin, a window size). */
static void catch_up(struct process *p)
{
	struct container *c = p->container;

	if (p->early_width)
		container_resize_tty(c->sandbox, c->id, p->exec_id, p->early_width, p->early_height,
				     NULL);
	if (p->close_stdin_early)
		container_close_stdin(c->sandbox, c->id, p->exec_id, NULL);
}

static int start_process(struct process *p, struct err *err)
{
	bool is_exec = *p->exec_id;
	int r = check_there(p->container, err);

	if (r < 0)
		return r;
	if (map_get(&p->container->processes, p->exec_id) != p)
		return err_setx(err, -ENOENT, "container %s: no such exec process: %s",
				p->container->id, p->exec_id);
	if (p->state != PROCESS_CREATED)
		return err_setx(err, -EBUSY, "container %s: process \"%s\" is %s already",
				p->container->id, p->exec_id, process_state_name(p->state));
	r = sandbox_usable(p->container->sandbox, err);
	if (r < 0)
		return r;
	if (is_exec && container_init_of(p->container)->state != PROCESS_RUNNING)
		return err_setx(err, -EBUSY, "container %s is not running", p->container->id);
	r = is_exec ? start_exec(p, err) : start_init(p, err);
	if (r < 0)
		return r;
	/* It may have ended, or the sandbox with it, in the meantime. */
	if (p->state == PROCESS_CREATED)
		p->state = PROCESS_RUNNING;
	if (is_exec)
		process_watch(p);
	co_cond_wake_all(&p->changed);
	catch_up(p);
	return 0;
}

int container_start(struct sandbox *s, const char *id, const char *exec_id, pid_t *ret_pid,
		    struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	struct container *c;
	int r;

	if (!p)
		return -ENOENT;
	c = p->container;
	co_lock(&c->lock);
	r = start_process(p, err);
	if (r >= 0 && !*p->exec_id)
		hooks_run_later(c, HOOKS_POSTSTART);
	co_unlock(&c->lock);
	if (r >= 0)
		if (ret_pid)
			*ret_pid = p->pid;
	return r;
}

int container_exec(struct sandbox *s, const char *id, const char *exec_id,
		   const Grpc__Process *process, bool stdin_open, struct err *err)
{
	struct container *c = map_get(&s->containers, id);
	struct process *p;
	int r = sandbox_usable(s, err);

	if (r < 0)
		return r;
	if (!c)
		return err_setx(err, -ENOENT, "container %s: no such container", id);
	if (!path_is_id(exec_id) || streq(exec_id, id))
		return err_setx(err, -EINVAL, "\"%s\" cannot be the name of an exec", exec_id);
	if (map_get(&c->processes, exec_id))
		return err_setx(err, -EEXIST, "container %s: exec %s exists already", id, exec_id);
	if (c->processes.n > CONTAINER_EXECS_MAX)
		return err_setx(err, -EDQUOT, "more than %u execs in container %s",
				CONTAINER_EXECS_MAX, id);
	if (process->n_args == 0)
		return err_setx(err, -EINVAL, "exec %s: args is empty", exec_id);
	p = process_new(c, exec_id);
	p->terminal = process->terminal;
	p->stdin_open = stdin_open;
	p->pending = process_copy(process);
	spec_process_to_guest(p->pending);
	map_put(&c->processes, exec_id, p);
	return 0;
}

/* --- pause, resume, update --- */

static int set_paused(struct sandbox *s, const char *id, bool pause, struct err *err)
{
	_cleanup_(container_unrefp) struct container *c = container_find(s, id, err);
	_cleanup_(unlockp) struct container *locked = NULL;
	int r;

	if (!c)
		return -ENOENT;
	co_lock(&c->lock);
	locked = c;
	r = check_there(c, err);
	if (r >= 0)
		r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	if (container_init_of(c)->state != PROCESS_RUNNING)
		return err_setx(err, -EBUSY, "container %s is not running", id);
	if (pause) {
		Grpc__PauseContainerRequest request = GRPC__PAUSE_CONTAINER_REQUEST__INIT;

		request.container_id = c->id;
		r = agent_pause_container(s->agent, &request, clock_after(CALL_TIMEOUT), err);
	} else {
		Grpc__ResumeContainerRequest request = GRPC__RESUME_CONTAINER_REQUEST__INIT;

		request.container_id = c->id;
		r = agent_resume_container(s->agent, &request, clock_after(CALL_TIMEOUT), err);
	}
	if (r >= 0)
		c->paused = pause;
	return r;
}

int container_pause(struct sandbox *s, const char *id, struct err *err)
{
	return set_paused(s, id, true, err);
}

int container_resume(struct sandbox *s, const char *id, struct err *err)
{
	return set_paused(s, id, false, err);
}

int container_update(struct sandbox *s, const char *id, const Grpc__LinuxResources *resources,
		     struct err *err)
{
	_cleanup_(container_unrefp) struct container *c = container_find(s, id, err);
	_cleanup_(unlockp) struct container *locked = NULL;
	Grpc__UpdateContainerRequest request = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	int r;

	if (!c)
		return -ENOENT;
	co_lock(&c->lock);
	locked = c;
	r = check_there(c, err);
	if (r >= 0)
		r = sandbox_usable(s, err);
	if (r < 0)
		return r;
	r = resize_for(c, resources, err);
	if (r < 0)
		return r;
	request.container_id = c->id;
	request.resources = spec_resources_to_guest(resources);
	r = agent_update_container(s->agent, &request, clock_after(CALL_TIMEOUT), err);
	protobuf_c_message_free_unpacked(&request.resources->base, NULL);
	return r;
}

/* --- delete --- */

static int delete_exec(struct process *p, struct err *err)
{
	struct container *c = p->container;

	if (p->state == PROCESS_RUNNING)
		return err_setx(err, -EBUSY, "container %s: exec %s is still running", c->id,
				p->exec_id);
	process_release(p);
	if (map_get(&c->processes, p->exec_id) == p) {
		map_remove(&c->processes, p->exec_id);
		process_unref(p);
	}
	return 0;
}

static void forget_id(struct sandbox *s, const char *id)
{
	struct strv left = {0};

	for (size_t i = 0; i < s->disk.containers.n; i++)
		if (!streq(s->disk.containers.v[i], id))
			strv_add(&left, s->disk.containers.v[i]);
	strv_fini(&s->disk.containers);
	s->disk.containers = left;
	sandbox_save(s);
}

static int delete_container(struct container *c, struct err *err)
{
	struct sandbox *s = c->sandbox;
	int r = check_there(c, err);

	if (r < 0)
		return r;
	if (container_init_of(c)->state == PROCESS_RUNNING)
		return err_setx(err, -EBUSY, "container %s is still running", c->id);
	container_remove_in_guest(c);
	container_release(c);
	hooks_run_later(c, HOOKS_POSTSTOP);
	if (map_get(&s->containers, c->id) == c) {
		map_remove(&s->containers, c->id);
		forget_id(s, c->id);
		container_drop(c);
	}
	return 0;
}

int container_delete(struct sandbox *s, const char *id, const char *exec_id,
		     struct process_status *ret, struct err *err)
{
	_cleanup_(process_unrefp) struct process *p = process_find(s, id, exec_id, err);
	int r;

	if (!p)
		return -ENOENT;
	co_lock(&p->container->lock);
	r = *p->exec_id ? delete_exec(p, err) : delete_container(p->container, err);
	co_unlock(&p->container->lock);
	if (r >= 0 && ret)
		process_get_status(p, ret);
	return r;
}
