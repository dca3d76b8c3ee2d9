/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "config/config.h"
#include "kernel/proc.h"
#include "loop/co.h"
#include "runtime/sandbox.h"
#include "runtime/spare.h"
#include "shim/background.h"
#include "shim/cmd.h"
#include "shim/handover.h"
#include "shim/serve.h"
#include "shim/title.h"

/*
 * How it works: a shim starts this program once more to have a sandbox ready before its pod is
 * known. It claims one of the places for spares, boots or restores a VM, listens at its place, and
 * waits. A `start` that connects hands its pod over (handover.h): this process then goes on as that
 * pod's shim, in the same loop and with the same sandbox, which shim_boot() finds in it.
 *
 * As long as it waits it is the first that the kernel kills for want of memory, and ends by itself
 * when little is left, or when it is not any more what the configuration asks for. Before it waits
 * it has the next one made if there are to be more.
 */

#define LOOK_USEC      (10 * USEC_PER_SEC) /* between two looks at whether it is wanted */
#define MEMORY_SHARE   10                  /* a tenth of it is to be left for others */
#define OOM_SCORE_LAST "1000"
#define SPARE_NAME     "spare" /* of its sandbox; a number follows */

enum fate { FATE_UNDECIDED, FATE_TAKEN, FATE_ENDED };

struct waiting {
	struct loop *loop;
	struct config *config;
	const struct options *options;
	int mounts;
	struct spare_place place;
	struct sandbox *sandbox;
	struct loop_io knock;
	struct loop_signal terminate, interrupt;
	struct loop_child next; /* the one that makes the next spare */
	struct co_cond news;
	struct handover handover;
	enum fate fate;
	int result;
	struct err *err;
};

/* --- news --- */

static void on_knock(struct loop_io *io, _unused_ uint32_t events)
{
	struct waiting *w = container_of(io, struct waiting, knock);

	loop_io_set(io, 0);
	co_cond_wake_all(&w->news);
}

static void end(struct waiting *w, const char *why)
{
	if (w->fate != FATE_UNDECIDED)
		return;
	log_info("the spare is given up: %s", why);
	w->fate = FATE_ENDED;
	co_cond_wake_all(&w->news);
}

static void on_signal(struct loop_signal *source, int signo)
{
	struct waiting *w = signo == SIGTERM ? container_of(source, struct waiting, terminate)
					     : container_of(source, struct waiting, interrupt);

	end(w, strsignal(signo));
}

static void on_died(void *arg, const char *reason)
{
	end(arg, reason);
}

struct memory {
	uint64_t total, available;
};

static void note_memory(const char *key, uint64_t value, void *arg)
{
	struct memory *m = arg;

	if (streq(key, "MemTotal"))
		m->total = value;
	else if (streq(key, "MemAvailable"))
		m->available = value;
}

static bool memory_is_short(void)
{
	struct memory m = {0};

	return proc_pairs("/proc/meminfo", note_memory, &m) == 0 &&
	       m.available < m.total / MEMORY_SHARE;
}

/* --- a spare's life --- */

static void order_next(struct waiting *w)
{
	const struct background_order order = {
		.sandbox = w->sandbox,
		.mounts = w->mounts,
		.log = STDERR_FILENO,
		.debug = w->options->debug,
	};

	background_spare(w->loop, &w->next, &order);
}

static int prepare(struct waiting *w)
{
	const struct sandbox_listener listener = {.died = on_died, .arg = w};
	_cleanup_(freep) char *id = path_new_id(SPARE_NAME);
	uint64_t began = clock_now();
	int r;

	r = sandbox_new(w->loop, w->config, id, NULL, NULL, &listener, &w->sandbox, w->err);
	if (r == 0)
		r = sandbox_prepare(w->sandbox, w->err);
	if (r == 0)
		r = spare_offer(&w->place, w->err);
	if (r == 0)
		r = loop_io_add(w->loop, &w->knock, w->place.listener, EPOLLIN, on_knock);
	if (r < 0)
		return err_wrap(w->err, r, "make a spare");
	log_info("spare %s is ready, made in the background in %.1f s", id,
		 (double)(clock_now() - began) / (double)USEC_PER_SEC);
	return 0;
}

/* Of all that want a processor or memory. */
static void be_last(void)
{
	background_step_back();
	(void)fs_write("/proc/self/oom_score_adj", OOM_SCORE_LAST);
}

static void answer(struct waiting *w)
{
	int fd = accept4(w->place.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = fd < 0 ? -ECANCELED : handover_take(fd, w->mounts, &w->handover);

	/* Nobody else serves that sandbox, whatever has happened meanwhile. */
	if (r == 0)
		w->fate = FATE_TAKEN;
	else if (r == -ESHUTDOWN)
		end(w, "it was dismissed");
	else if (r == -ESTALE)
		end(w, "this program was replaced by another version");
	else if (r == -EXDEV)
		end(w, "whoever starts pods is in another mount namespace by now");
	else
		log_debug("nobody has taken the spare: %s", strerror(-r));
	/* `start` has hurried it. */
	if (r < 0)
		be_last();
}

/* With a configuration that cannot be read no pod is started, and it may soon be mended; one that
 * is gone has no pods any more. */
static void look_around(struct waiting *w)
{
	_cleanup_(config_freep) struct config *now = NULL;
	_cleanup_err_ struct err why = {0};
	int r = config_load(*w->config->file ? w->config->file : NULL, &now, &why);

	if (r == 0)
		r = sandbox_fits(w->sandbox, now, NULL, &why);
	if (r == -ESTALE || r == -ENOENT)
		end(w, err_text(&why));
	else if (memory_is_short())
		end(w, "memory runs short");
}

static void await_fate(struct waiting *w)
{
	while (w->fate == FATE_UNDECIDED) {
		int r;

		look_around(w);
		if (w->fate != FATE_UNDECIDED)
			break;
		loop_io_set(&w->knock, EPOLLIN);
		r = co_cond_wait(&w->news, clock_after(LOOK_USEC));
		if (r == 0 && w->fate == FATE_UNDECIDED)
			answer(w);
	}
	loop_io_remove(&w->knock);
}

static void live(void *arg)
{
	struct waiting *w = arg;

	w->result = prepare(w);
	if (w->result == 0) {
		order_next(w);
		await_fate(w);
	}
	spare_release(&w->place);
	if (w->fate != FATE_TAKEN && w->sandbox)
		sandbox_stop(w->sandbox, NULL);
	loop_quit(w->loop, 0);
}

static int wait_for_pod(struct waiting *w, struct err *err)
{
	int r = loop_new(&w->loop);

	if (r == 0)
		r = loop_signal_add(w->loop, &w->terminate, SIGTERM, on_signal);
	if (r == 0)
		r = loop_signal_add(w->loop, &w->interrupt, SIGINT, on_signal);
	if (r < 0)
		return err_set(err, r, "make an event loop");
	co_cond_init(&w->news);
	co_start(w->loop, live, w);
	r = loop_run(w->loop);
	loop_signal_remove(&w->terminate);
	loop_signal_remove(&w->interrupt);
	loop_child_remove(&w->next);
	return r < 0 ? err_set(err, r, "run the event loop") : w->result;
}

/* --- … and the pod's --- */

/* As those that `start` has forked are. */
static void look_like_a_shim(const struct handover *h)
{
	const char *args[] = {"-namespace", h->options.namespace, "-id",   h->options.id,
			      "-address",   h->options.address,   "start", NULL};
	_cleanup_(closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	title_set(args);
	handover_enter(h);
	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)umask(0022);
}

static int serve_pod(struct waiting *w)
{
	struct handover *h = &w->handover;
	int r;

	/* `start` has found us by our file, which is not always the one that our environment names.
	 */
	if (str_empty(h->caller.config_path))
		h->caller.config_path = w->config->file;
	look_like_a_shim(h);
	sandbox_sources_in(h->serve.mounts);
	h->serve.loop = TAKE_PTR(w->loop);
	h->serve.spare = TAKE_PTR(w->sandbox);
	r = serve_run(&h->serve);
	h->serve.listener = -1; /* the daemon's, and closed */
	return r;
}

static void waiting_fini(struct waiting *w)
{
	sandbox_free(w->sandbox);
	loop_free(w->loop);
	spare_release(&w->place);
	handover_fini(&w->handover);
	config_free(w->config);
	fd_close(w->mounts);
}

static int make_and_wait(struct waiting *w, struct err *err)
{
	int r = spare_claim(w->config->file, w->config->factory.spares, &w->place, err);

	if (r == -EEXIST) {
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (memory_is_short()) {
		log_info("no spare is made: memory runs short");
		return 0;
	}
	/* What killed ones have left. */
	sandbox_sweep(SPARE_NAME "-", NULL);
	w->mounts = sandbox_private_mounts(err);
	if (w->mounts < 0)
		return w->mounts;
	r = wait_for_pod(w, err);
	if (r == 0 && w->fate == FATE_TAKEN)
		/* It logs what goes wrong. */
		r = serve_pod(w);
	return r;
}

int cmd_spare(const struct options *options, struct err *err)
{
	_cleanup_(waiting_fini) struct waiting w = {
		.options = options,
		.mounts = -1,
		.place = {.lock = -1, .listener = -1},
		.handover = {.serve = {.listener = -1, .mounts = -1}},
		.err = err,
	};
	int r;

	background_begin(options);
	be_last();
	if (chdir("/") < 0)
		return err_set(err, -errno, "chdir /");
	r = config_load(*options->config ? options->config : NULL, &w.config, err);
	if (r == 0)
		r = make_and_wait(&w, err);
	if (r == -ECANCELED) {
		log_info("no spare is kept: %s", err_text(err));
		err_clear(err);
		return 0;
	}
	if (r < 0)
		log_warn("no spare could be made: %s", err_text(err));
	return r;
}
