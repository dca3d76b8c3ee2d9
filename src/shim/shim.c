/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "config/config.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "oci/spec_json.h"
#include "sandbox.pb-c.h"
#include "shim/events.h"
#include "shim/mgmt.h"
#include "shim/task.h"

/*
 * How it works: the sandbox is booted by the first container (or by StartSandbox) and stopped with
 * the last (or by StopSandbox, a signal, Shutdown); one lock keeps these apart. An ended sandbox is
 * kept until the next boot or the end of the process, since calls that were waiting in it may still
 * be on their way out.
 */

/* What the end of the daemon waits for at most: events that containerd has not taken. */
#define END_FLUSH_USEC (3 * USEC_PER_SEC)

struct shim_waiter {
	struct list link;
	struct ttrpc_call *call;
};

static void linger_over(struct loop_timer *timer)
{
	struct shim *shim = container_of(timer, struct shim, linger);

	log_info("no sandbox and no container for %d s: ending",
		 (int)(SHIM_LINGER_USEC / USEC_PER_SEC));
	shim_end(shim);
}

void shim_init(struct shim *shim, struct loop *loop, const char *id, const char *namespace)
{
	*shim = (struct shim){
		.loop = loop, .id = id, .namespace = namespace, .bundle = "", .config_path = ""};
	co_lock_init(&shim->boot);
	list_init(&shim->waiters);
}

void shim_fini(struct shim *shim)
{
	loop_timer_cancel(&shim->linger);
	mgmt_free(shim->mgmt);
	sandbox_free(shim->spare);
	sandbox_free(shim->sandbox);
	oci_spec_free(shim->pending_spec);
	free(shim->pending_netns);
	free(shim->pending_config_path);
	map_fini(&shim->tasks);
}

bool shim_running(const struct shim *shim)
{
	return shim->sandbox && sandbox_running(shim->sandbox);
}

pid_t shim_vm_pid(const struct shim *shim)
{
	struct sandbox_status status = {0};

	if (shim->sandbox)
		sandbox_status(shim->sandbox, &status);
	return status.vm_pid;
}

const char *shim_reason(const struct shim *shim)
{
	struct sandbox_status status = {0};

	if (shim->sandbox)
		sandbox_status(shim->sandbox, &status);
	return status.reason;
}

void shim_touch(struct shim *shim)
{
	if (shim->tasks.n == 0 && !shim_running(shim) && !shim->boot.owner && !shim->ending)
		loop_timer_set(shim->loop, &shim->linger, clock_after(SHIM_LINGER_USEC),
			       linger_over);
	else
		loop_timer_cancel(&shim->linger);
}

/* --- WaitSandbox --- */

static void answer_waiters(struct shim *shim)
{
	Containerd__Runtime__Sandbox__V1__WaitSandboxResponse response =
		CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	at.seconds = (int64_t)(shim->ended_at / USEC_PER_SEC);
	at.nanos = (int32_t)(shim->ended_at % USEC_PER_SEC * 1000);
	response.exit_status = shim->exit_status;
	response.exited_at = &at;
	for (struct list *l; (l = list_pop(&shim->waiters));) {
		struct shim_waiter *w = list_entry(l, struct shim_waiter, link);

		ttrpc_call_reply(w->call, &response.base);
		free(w);
	}
}

static void waiter_gone(struct ttrpc_call *call, void *arg)
{
	struct shim_waiter *w = arg;

	list_remove(&w->link);
	free(w);
	ttrpc_call_fail(call, -ECANCELED, "the caller has gone");
}

int shim_wait(struct shim *shim, struct ttrpc_call *call)
{
	struct shim_waiter *w = xnew(struct shim_waiter);

	w->call = call;
	list_add_tail(&shim->waiters, &w->link);
	if (shim->ended_at)
		answer_waiters(shim);
	else
		ttrpc_call_on_gone(call, waiter_gone, w);
	return TTRPC_PARKED;
}

static void sandbox_ended(struct shim *shim, uint32_t status)
{
	if (shim->ended_at)
		return;
	shim->ended_at = clock_realtime();
	shim->exit_status = status;
	answer_waiters(shim);
}

/* --- news from the sandbox --- */

static void on_exited(void *arg, const char *id, const char *exec_id, _unused_ pid_t pid,
		      uint32_t status, uint64_t realtime_usec)
{
	task_exited(arg, id, exec_id, status, realtime_usec);
}

static void on_oom(void *arg, const char *id)
{
	log_warn("container %s ran out of memory", id);
	task_oom(arg, id);
}

static void on_died(void *arg, const char *reason)
{
	struct shim *shim = arg;

	log_error("sandbox %s died: %s", shim->id, reason);
	task_exit_all(shim);
	sandbox_ended(shim, 137);
	shim_touch(shim);
}

/* --- boot and stop --- */

static const char *netns_of(const Grpc__Spec *spec)
{
	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		const Grpc__LinuxNamespace *ns = spec->linux->namespaces[i];

		if (streq(ns->type, "network") && !str_empty(ns->path))
			return ns->path;
	}
	return NULL;
}

/* The configuration file with the pod's annotations over it. */
static int load_config(const struct shim *shim, const struct shim_boot *boot, struct config **ret,
		       struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) struct config_annotation *annotations = NULL;
	const char *path = !str_empty(boot->config_path) ? boot->config_path : shim->config_path;
	size_t n = boot->spec->n_annotations;
	int r = config_load(str_empty(path) ? NULL : path, &config, err);

	if (r < 0)
		return r;
	annotations = xcalloc(n + 1, sizeof(*annotations));
	for (size_t i = 0; i < n; i++)
		annotations[i] = (struct config_annotation){boot->spec->annotations[i]->key,
							    boot->spec->annotations[i]->value};
	r = config_apply_annotations(config, annotations, n, err);
	if (r < 0)
		return r;
	if (config->runtime.enable_debug)
		log_set_level(LOG_LEVEL_DEBUG);
	*ret = TAKE_PTR(config);
	return 0;
}

static void drop_spare(struct shim *shim)
{
	struct sandbox *spare = TAKE_PTR(shim->spare);

	if (spare)
		sandbox_stop(spare, NULL);
	sandbox_free(spare);
}

static int start_sandbox(struct shim *shim, struct sandbox *sandbox, const Grpc__Spec *spec,
			 struct err *err)
{
	int r;

	shim->booting = sandbox;
	r = sandbox_start(sandbox, spec, err);
	shim->booting = NULL;
	return r;
}

/* NULL: there is none, or none that fits, or it has failed: the sandbox is to be booted. */
static struct sandbox *start_spare(struct shim *shim, struct config *config,
				   const struct shim_boot *boot, const char *netns,
				   const struct sandbox_listener *listener)
{
	struct sandbox *spare = shim->spare;
	_cleanup_err_ struct err err = {0};
	int r;

	if (!spare)
		return NULL;
	r = sandbox_adopt(spare, config, boot->spec, shim->id, shim->bundle, netns, listener, &err);
	if (r == 0)
		r = start_sandbox(shim, spare, boot->spec, &err);
	if (r == 0)
		return TAKE_PTR(shim->spare);
	log_warn("the spare is not used, the sandbox is made anew: %s", err_text(&err));
	drop_spare(shim);
	return NULL;
}

static int make_sandbox(struct shim *shim, const struct shim_boot *boot, struct config *config,
			struct sandbox **ret, struct err *err)
{
	const struct sandbox_listener listener = {on_exited, on_oom, on_died, shim};
	const char *netns = boot->netns ? boot->netns : netns_of(boot->spec);
	_cleanup_(sandbox_freep) struct sandbox *sandbox = NULL;
	int r;

	*ret = start_spare(shim, config, boot, netns, &listener);
	if (*ret)
		return 0;
	if (shim->n_stopping)
		return err_setx(err, -ESHUTDOWN, "sandbox %s was stopped while it booted",
				shim->id);
	r = sandbox_new(shim->loop, config, shim->id, shim->bundle, netns, &listener, &sandbox,
			err);
	if (r == 0)
		r = start_sandbox(shim, sandbox, boot->spec, err);
	if (r == 0)
		*ret = TAKE_PTR(sandbox);
	return r;
}

static int boot_sandbox(struct shim *shim, const struct shim_boot *boot, struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	mgmt_free(TAKE_PTR(shim->mgmt));
	sandbox_free(TAKE_PTR(shim->sandbox));
	shim->ended_at = 0;
	shim->stopped = false;
	r = load_config(shim, boot, &config, err);
	if (r < 0)
		return r;
	r = make_sandbox(shim, boot, config, &shim->sandbox, err);
	if (r < 0)
		return r;
	mgmt_new(shim->loop, shim, &shim->mgmt);
	if (shim->on_booted)
		shim->on_booted(shim);
	return 0;
}

static bool has_created_tasks(const struct shim *shim)
{
	map_for_each (e, &shim->tasks) {
		const struct task *task = e->value;

		if (task->created)
			return true;
	}
	return false;
}

/* Why there is nothing to run a container in. */
static int not_running(const struct shim *shim, struct err *err)
{
	const char *reason = shim_reason(shim);

	if (!shim->sandbox)
		return err_setx(err, -EBUSY, "sandbox %s has not been started", shim->id);
	return err_setx(err, -ESHUTDOWN, "sandbox %s has ended%s%s", shim->id, reason ? ": " : "",
			reason ? reason : "");
}

static int boot_locked(struct shim *shim, const struct shim_boot *boot, struct err *err)
{
	_cleanup_err_ struct err cause = {0};

	if (shim_running(shim))
		return 0;
	/* While it waited for the lock, maybe. */
	if (boot->abandoned && *boot->abandoned)
		return err_setx(err, -ECANCELED, "it was given up");
	if (shim->ending)
		return err_setx(err, -ESHUTDOWN, "sandbox %s is being ended", shim->id);
	if (shim->by_sandbox_api && !boot->by_sandbox_api)
		return not_running(shim, err);
	if (shim->sandbox && has_created_tasks(shim))
		return err_wrap(err, not_running(shim, err), "containers are not deleted yet");
	/* One that died has left its folders, which the next one needs. */
	if (shim->sandbox && !shim->stopped && sandbox_stop(shim->sandbox, &cause) < 0)
		log_error("stop sandbox %s: %s", shim->id, err_text(&cause));
	return boot_sandbox(shim, boot, err);
}

int shim_boot(struct shim *shim, const struct shim_boot *boot, struct err *err)
{
	int r;

	co_lock(&shim->boot);
	shim_touch(shim);
	r = boot_locked(shim, boot, err);
	co_unlock(&shim->boot);
	shim_touch(shim);
	return r;
}

int shim_stop(struct shim *shim, struct err *err)
{
	int r = 0;

	/* It holds the lock, and may do so for long. */
	shim->n_stopping++;
	if (shim->booting)
		(void)sandbox_stop(shim->booting, NULL);
	co_lock(&shim->boot);
	shim->n_stopping--;
	drop_spare(shim);
	if (shim->sandbox && !shim->stopped) {
		mgmt_free(TAKE_PTR(shim->mgmt));
		r = sandbox_stop(shim->sandbox, err);
		shim->stopped = r >= 0;
		task_exit_all(shim);
		sandbox_ended(shim, 0);
	}
	co_unlock(&shim->boot);
	shim_touch(shim);
	return r;
}

/* --- the end --- */

static void end_run(void *arg)
{
	struct shim *shim = arg;
	_cleanup_err_ struct err err = {0};

	if (shim_stop(shim, &err) < 0)
		log_error("stop sandbox %s: %s", shim->id, err_text(&err));
	/* Exits that the stop has caused are published by coroutines of their own. */
	task_await_exits(shim, clock_after(2 * DRAIN_USEC));
	if (publisher_flush(shim->publisher, clock_after(END_FLUSH_USEC)) < 0)
		log_warn("containerd has not taken all events");
	loop_quit(shim->loop, 0);
}

void shim_end(struct shim *shim)
{
	if (shim->ending)
		return;
	shim->ending = true;
	loop_timer_cancel(&shim->linger);
	co_start(shim->loop, end_run, shim);
}
