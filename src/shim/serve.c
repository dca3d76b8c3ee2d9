/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"
#include "loop/co.h"
#include "runtime/sandbox.h"
#include "shim/address.h"
#include "shim/background.h"
#include "shim/events.h"
#include "shim/shim.h"
#include "shim/task.h"
#include "shim/task_service.h"

/*
 * How it works: the loop runs until shim_end(). The socket is removed when it has ended, not
 * before: until then a `start` for this sandbox finds us.
 */

/* For what others profit by, there is no hurry: the pod's other containers come first. Where its
 * life is short it is done at the end. */
#define CHORES_DELAY_USEC (3 * USEC_PER_SEC)
/* It is bounded by what each sandbox may take. */
#define SWEEP_USEC (60 * USEC_PER_SEC)

struct daemon {
	const struct serve *serve;
	struct shim shim;
	struct loop *loop;
	struct ttrpc_server *server;
	struct loop_signal terminate, interrupt;
	struct loop_timer chores;
	struct loop_child template, spare; /* that make them */
	bool has_swept, has_ordered;
	int log_fd;
};

/* containerd and CRI-O read the log from this FIFO. Opened for reading too, so that one that
 * restarts does not end it; a full FIFO drops lines. */
static int open_log(const char *bundle)
{
	_cleanup_(freep) char *path = path_join(bundle, "log");

	return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

static void on_signal(struct loop_signal *source, int signo)
{
	struct daemon *d = signo == SIGTERM ? container_of(source, struct daemon, terminate)
					    : container_of(source, struct daemon, interrupt);

	log_info("%s: ending sandbox %s", strsignal(signo), d->shim.id);
	shim_end(&d->shim);
}

/* --- what dead shims have left --- */

static void sweep(const struct serve *serve)
{
	_cleanup_(freep) char *dir = path_dir(serve->socket);

	sandbox_sweep("", serve->id);
	address_sweep(dir);
}

static int sweep_in_child(void *arg, _unused_ void *reply)
{
	const struct daemon *d = arg;

	sweep(d->serve);
	return 0;
}

static void sweep_in_background(struct daemon *d)
{
	int r = co_run_child(sweep_in_child, d, NULL, 0, clock_after(SWEEP_USEC));

	d->has_swept = true;
	if (r < 0)
		log_warn("remove what dead shims have left: %s", strerrordesc_np(-r));
}

/* --- for those that come after us --- */

static void order(struct daemon *d)
{
	const struct background_order order = {
		.sandbox = d->shim.sandbox,
		.mounts = d->serve->mounts,
		.log = d->log_fd,
		.debug = d->serve->caller->debug,
	};

	if (d->has_ordered || !d->shim.sandbox)
		return;
	d->has_ordered = true;
	background_template(d->loop, &d->template, &order);
	background_spare(d->loop, &d->spare, &order);
}

static void do_chores(void *arg)
{
	sweep_in_background(arg);
	order(arg);
}

static void chores_due(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, chores);

	co_start(d->loop, do_chores, d);
}

static void on_booted(struct shim *shim)
{
	struct daemon *d = container_of(shim, struct daemon, shim);

	loop_timer_set(d->loop, &d->chores, clock_after(CHORES_DELAY_USEC), chores_due);
}

/* --- the life of the daemon --- */

static int daemon_open(struct daemon *d, const struct serve *serve, struct err *err)
{
	int r = serve->loop ? 0 : loop_new(&d->loop);

	if (serve->loop)
		d->loop = serve->loop;
	if (r < 0)
		return err_set(err, r, "make an event loop");
	shim_init(&d->shim, d->loop, serve->id, serve->options->namespace);
	d->shim.bundle = serve->bundle;
	d->shim.config_path = serve->caller->config_path;
	d->shim.spare = serve->spare;
	d->shim.crio = caller_is_crio(serve->caller);
	r = loop_signal_add(d->loop, &d->terminate, SIGTERM, on_signal);
	if (r == 0)
		r = loop_signal_add(d->loop, &d->interrupt, SIGINT, on_signal);
	if (r == 0)
		r = ttrpc_server_new(d->loop, &d->shim, &d->server);
	if (r == 0)
		r = ttrpc_server_listen(d->server, serve->listener);
	if (r < 0)
		return err_set(err, r, "serve %s", serve->socket);
	ttrpc_server_add(d->server, &task_service_v2);
	ttrpc_server_add(d->server, &task_service_v3);
	ttrpc_server_add(d->server, &sandbox_service);
	d->shim.publisher = publisher_new(d->loop,
					  &(struct publisher_target){
						  .namespace = serve->options->namespace,
						  .ttrpc_address = serve->caller->ttrpc_address,
						  .publish_binary = serve->options->publish_binary,
						  .address = serve->caller->address,
					  });
	d->shim.on_booted = on_booted;
	shim_touch(&d->shim);
	return 0;
}

static void daemon_close(struct daemon *d)
{
	ttrpc_server_free(d->server);
	if (!d->loop)
		return;
	loop_timer_cancel(&d->chores);
	loop_child_remove(&d->template);
	loop_child_remove(&d->spare);
	map_for_each (e, &d->shim.tasks) {
		task_unref(e->value);
	}
	publisher_free(d->shim.publisher);
	shim_fini(&d->shim);
	loop_free(d->loop);
}

/* At our end, of which nobody shall have to wait for it. */
static void sweep_behind(struct daemon *d)
{
	const struct serve *serve = d->serve;

	daemon_close(d);
	*d = (struct daemon){.serve = serve};
	if (fork() != 0)
		return;
	alarm(SWEEP_USEC / USEC_PER_SEC);
	sweep(serve);
	_exit(0);
}

int serve_run(const struct serve *serve)
{
	_cleanup_(closep) int log_fd = open_log(serve->bundle);
	_cleanup_(daemon_close) struct daemon d = {.serve = serve, .log_fd = log_fd};
	_cleanup_err_ struct err err = {0};
	const char *wanted = getenv("KATA_LOG_FORMAT");
	enum log_format format = LOG_FORMAT_LOGFMT;
	int r = log_format_parse(wanted, &format);

	log_open(SHIM_NAME, log_fd, format,
		 serve->caller->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_use_system("");
	log_set_field("sandbox", serve->id);
	if (r < 0)
		log_warn("KATA_LOG_FORMAT is text or json, not \"%s\"", wanted);
	r = daemon_open(&d, serve, &err);
	if (r < 0) {
		log_error("start: %s", err_text(&err));
	} else {
		log_debug("serving sandbox %s at %s", serve->id, serve->socket);
		r = loop_run(d.loop);
		if (r < 0)
			log_error("event loop: %s", strerrordesc_np(-r));
		order(&d);
		log_debug("ended");
	}
	(void)unlink(serve->socket);
	if (r == 0 && !d.has_swept)
		sweep_behind(&d);
	return r;
}
