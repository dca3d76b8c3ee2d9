/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: one coroutine boots the sandbox, starts the container, waits for it and takes all
 * down again; one for each output stream copies it to ours; standard input is a loop source that
 * starts a short coroutine for each piece that can be read, and is silent while that one writes:
 * so each direction is as fast as its slower end. Signals are passed on by coroutines of their own.
 *
 * Writing to a blocking pipe of ours must not stop the loop: a piece of PIPE_BUF bytes is written
 * when epoll says that it fits.
 */
#include "cli/run.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/path.h"
#include "cli/run_template.h"
#include "cli/terminal.h"
#include "loop/co.h"
#include "oci/spec_json.h"
#include "runtime/sandbox.h"

#define INPUT_PIECE   32768
#define DRAIN_USEC    (10 * USEC_PER_SEC) /* for the guest to hand over the last of the output */
#define TERMINATE_MAX 2                   /* the second SIGINT or SIGTERM becomes SIGKILL */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};

struct run_signal {
	struct run *run;
	struct loop_signal source;
};

struct run_output {
	struct run *run;
	int stream, fd;
	bool failed;  /* ours does not take any more: read on, throw away */
	bool writing; /* ours is to take a piece */
};

struct run {
	struct loop *loop;
	struct config *config;
	const struct run_request *request;
	struct oci_spec *spec;
	struct sandbox *sandbox;
	const char *bundle;
	struct err *err;
	int status; /* the result */

	struct loop_io input;
	bool input_polled, started, ended, aborted;
	unsigned int n_terminate, n_outputs;
	int interrupted; /* signal that came while the rest of the output was written; 0: none */
	struct co_cond changed;
	struct run_output outputs[2];
	struct run_signal signals[ARRAY_SIZE(forwarded)];
};

/* --- output --- */

/* Everything to fd, waiting in the loop where that is possible. */
static int write_waiting(int fd, const char *p, size_t n)
{
	while (n) {
		size_t piece = MIN(n, (size_t)PIPE_BUF);
		ssize_t done;
		int r = co_wait_io(fd, EPOLLOUT, USEC_NEVER);

		if (r == -EPERM)
			piece = n;
		else if (r < 0)
			return r;
		done = write(fd, p, piece);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

static void copy_output(void *arg)
{
	struct run_output *o = arg;
	struct run *run = o->run;

	for (;;) {
		_cleanup_(freep) void *data = NULL;
		ssize_t n = container_read_output(run->sandbox, run->request->id, "", o->stream,
						  &data, NULL);

		if (n <= 0)
			break;
		o->writing = !o->failed;
		if (o->writing && write_waiting(o->fd, data, (size_t)n) < 0)
			o->failed = true;
		o->writing = false;
		co_cond_wake_all(&run->changed);
	}
	run->n_outputs--;
	co_cond_wake_all(&run->changed);
}

static void start_output(struct run *run, size_t i, int stream, int fd)
{
	run->outputs[i] = (struct run_output){.run = run, .stream = stream, .fd = fd};
	run->n_outputs++;
	co_start(run->loop, copy_output, &run->outputs[i]);
}

/* --- input --- */

/* Pass on one piece; false at the end. */
static bool copy_input_piece(struct run *run)
{
	_cleanup_(freep) char *data = xmalloc(INPUT_PIECE);
	ssize_t n = read(STDIN_FILENO, data, INPUT_PIECE);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0 &&
	    container_write_stdin(run->sandbox, run->request->id, "", data, (size_t)n, NULL) == 0)
		return true;
	/* On a terminal the end is a byte; closing would hang the process up. */
	if (!run->request->terminal || n <= 0)
		container_close_stdin(run->sandbox, run->request->id, "", NULL);
	return false;
}

static void input_ready(struct loop_io *io, uint32_t events);

static void copy_input(void *arg)
{
	struct run *run = arg;

	do {
		if (!copy_input_piece(run))
			return;
		/* A file or /dev/null: it cannot be waited for, and is always ready. */
	} while (!run->input_polled && !run->ended);
	if (run->input_polled && !run->ended)
		loop_io_add(run->loop, &run->input, STDIN_FILENO, EPOLLIN, input_ready);
}

static void input_ready(struct loop_io *io, _unused_ uint32_t events)
{
	struct run *run = container_of(io, struct run, input);

	/* A hang-up is reported whatever events are asked for: take the source out meanwhile. */
	loop_io_remove(io);
	co_start(run->loop, copy_input, run);
}

static void start_input(struct run *run)
{
	int r = loop_io_add(run->loop, &run->input, STDIN_FILENO, EPOLLIN, input_ready);

	run->input_polled = r == 0;
	if (r < 0)
		co_start(run->loop, copy_input, run);
}

/* --- signals --- */

static void resize(struct run *run)
{
	uint32_t width, height;

	if (run->request->terminal && terminal_size(STDIN_FILENO, &width, &height))
		container_resize_tty(run->sandbox, run->request->id, "", width, height, NULL);
}

struct forward {
	struct run *run;
	int signo;
};

static void forward_signal(void *arg)
{
	_cleanup_(freep) struct forward *f = arg;
	struct run *run = f->run;
	int signo = f->signo;

	if (signo == SIGWINCH) {
		if (run->started && !run->ended)
			resize(run);
		return;
	}
	if (!run->started) {
		run->aborted = true;
		sandbox_stop(run->sandbox, NULL);
		return;
	}
	if (run->ended) {
		run->interrupted = signo;
		co_cond_wake_all(&run->changed);
		return;
	}
	if (signo == SIGINT || signo == SIGTERM)
		run->n_terminate++;
	if (run->n_terminate >= TERMINATE_MAX)
		signo = SIGKILL;
	container_kill(run->sandbox, run->request->id, "", (uint32_t)signo, signo == SIGKILL, NULL);
}

static void on_signal(struct loop_signal *source, int signo)
{
	struct run_signal *s = container_of(source, struct run_signal, source);
	struct forward *f;

	if (!s->run->sandbox)
		return;
	f = xnew(struct forward);
	*f = (struct forward){s->run, signo};
	co_start(s->run->loop, forward_signal, f);
}

static int catch_signals(struct run *run, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
		int r;

		run->signals[i].run = run;
		r = loop_signal_add(run->loop, &run->signals[i].source, forwarded[i], on_signal);
		if (r < 0)
			return err_set(err, r, "catch signal %d", forwarded[i]);
	}
	return 0;
}

/* --- the sequence --- */

static int start_container(struct run *run)
{
	const struct container_request request = {
		.id = run->request->id,
		.bundle = run->bundle,
		.spec = run->spec->spec,
		.rootfs = run->request->rootfs,
		.terminal = run->request->terminal,
		.stdin_open = true,
	};
	pid_t pid;
	int r;

	r = container_create(run->sandbox, &request, run->err);
	if (r < 0)
		return r;
	if (run->request->terminal) {
		r = terminal_raw(STDIN_FILENO);
		if (r < 0)
			return err_set(run->err, r, "switch the terminal to raw mode");
	}
	r = container_start(run->sandbox, run->request->id, "", &pid, run->err);
	if (r < 0)
		return r;
	run->started = true;
	start_output(run, 0, 1, STDOUT_FILENO);
	if (!run->request->terminal)
		start_output(run, 1, 2, STDERR_FILENO);
	resize(run);
	start_input(run);
	return 0;
}

/*
 * The rest of the output: a reader of ours may take as long as it likes (a pager does), until it
 * goes or a signal says that enough is enough; the guest may not.
 */
static int drain(struct run *run)
{
	while (run->n_outputs && !run->interrupted) {
		bool writing = run->outputs[0].writing || run->outputs[1].writing;
		uint64_t deadline = writing ? USEC_NEVER : clock_after(DRAIN_USEC);

		if (co_cond_wait(&run->changed, deadline) < 0)
			return err_setx(run->err, -ETIMEDOUT,
					"the guest does not hand over the rest of the output");
	}
	if (run->n_outputs)
		return err_setx(run->err, -EINTR,
				"ended by signal %d: the rest of the output was not taken",
				run->interrupted);
	return 0;
}

static int wait_container(struct run *run)
{
	struct process_status status;
	struct sandbox_status sandbox;
	int r, drained;

	r = container_wait(run->sandbox, run->request->id, "", &status, run->err);
	run->ended = true;
	loop_io_remove(&run->input);
	drained = drain(run);
	if (r < 0 || drained < 0)
		return r < 0 ? r : drained;
	run->status = (int)status.exit_status;
	sandbox_status(run->sandbox, &sandbox);
	if (sandbox.state == SANDBOX_DEAD)
		return err_setx(run->err, -ESHUTDOWN, "%s",
				sandbox.reason ? sandbox.reason : "the virtual machine has ended");
	return 0;
}

/* What other runtimes' `run` exits with when the command could not be started. */
static int failure_status(const char *text)
{
	if (strstr(text, "executable file not found") ||
	    (strstr(text, "exec: ") && strstr(text, "no such file or directory")))
		return RUN_NOT_FOUND;
	if (strstr(text, "exec: ") && strstr(text, "permission denied"))
		return RUN_NOT_PERMITTED;
	return RUN_FAILED;
}

static void run_sequence(void *arg)
{
	struct run *run = arg;
	_cleanup_err_ struct err later = {0};
	int r;

	r = sandbox_start(run->sandbox, run->spec->spec, run->err);
	if (r == 0)
		r = start_container(run);
	if (r == 0)
		r = wait_container(run);
	terminal_restore();
	run->ended = true;
	if (r < 0)
		run->status = run->interrupted ? 128 + run->interrupted
					       : failure_status(err_text(run->err));
	if (r < 0 && run->aborted) {
		err_clear(run->err);
		err_setx(run->err, -EINTR, "interrupted while the sandbox was starting");
	}
	if (run->started)
		container_delete(run->sandbox, run->request->id, "", NULL, NULL);
	if (sandbox_stop(run->sandbox, &later) < 0 && r == 0) {
		err_move(run->err, &later);
		run->status = RUN_FAILED;
	}
	while (run->n_outputs && co_cond_wait(&run->changed, clock_after(USEC_PER_SEC)) == 0)
		;
	loop_quit(run->loop, 0);
}

static int load_spec(struct run *run)
{
	_cleanup_(freep) char *path = path_join(run->bundle, "config.json");
	_cleanup_(freep) char *text = run_spec_json(run->request);
	int r = fs_replace(path, text, strlen(text), 0600, false);

	if (r < 0)
		return err_set(run->err, r, "write %s", path);
	return oci_spec_load(path, &run->spec, run->err);
}

/* For those that come after us; nobody waits for it. */
static void order_template(const struct run *run, int mounts)
{
	const struct run_template_order order = {
		.sandbox = run->sandbox,
		.mounts = mounts,
		.log_options = &run->request->log_options,
		.allow_emulation = run->config->hypervisor.allow_emulation,
	};

	if (run->started)
		run_template_order(&order);
}

static int run_loop(struct run *run)
{
	static const struct sandbox_listener listener = {0};
	_cleanup_(closep) int left = -1;
	int r;

	r = load_spec(run);
	if (r < 0)
		return r;
	left = sandbox_private_mounts(run->err);
	if (left < 0)
		return left;
	sandbox_sources_in(left);
	r = sandbox_new(run->loop, run->config, run->request->id, run->bundle, NULL, &listener,
			&run->sandbox, run->err);
	if (r == 0)
		r = catch_signals(run, run->err);
	if (r < 0)
		return r;
	co_cond_init(&run->changed);
	co_start(run->loop, run_sequence, run);
	loop_run(run->loop);
	order_template(run, left);
	return 0;
}

int run_container(struct config *config, const struct run_request *request, const char *bundle,
		  struct err *err)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct run run = {
		.config = config,
		.request = request,
		.bundle = bundle,
		.err = err,
		.status = RUN_FAILED,
	};
	int r = loop_new(&loop);

	if (r < 0) {
		err_set(err, r, "make an event loop");
		return RUN_FAILED;
	}
	run.loop = loop;
	run_loop(&run);
	for (size_t i = 0; i < ARRAY_SIZE(run.signals); i++)
		if (run.signals[i].source.loop)
			loop_signal_remove(&run.signals[i].source);
	sandbox_free(run.sandbox);
	oci_spec_free(run.spec);
	return run.status;
}
