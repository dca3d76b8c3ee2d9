/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/spawn.h"
#include "base/str.h"
#include "hypervisor/probe_cache.h"
#include "hypervisor/tail.h"
#include "loop/co.h"

/*
 * How it works: we make the listening socket, connect to it, and give the listening end to the
 * daemon and the connected one to QEMU, so nobody waits for anybody and the socket's name is gone
 * again before the daemon runs. Which of the two daemons it is shows in what --help offers; the two
 * flavours are rows of a table.
 *
 * The daemons sandbox themselves (namespaces, seccomp, capabilities), for which they need root. The
 * C one forks a child for that; both are one session, and are ended as one process group.
 */

#define SOCKET_FD  3
#define HELP_MAX   65536
#define HELP_USEC  (5 * USEC_PER_SEC)
#define STOP_USEC  USEC_PER_SEC
#define KILL_USEC  (5 * USEC_PER_SEC)
#define KILL_POLLS 2000
#define CACHE_NAME "virtiofsd-flavour"

/* The daemon ends when QEMU does, with status 0, and QEMU's end is the cause that people should
 * read: it is given the time to be heard first, also on a busy host. */
#define REPORT_USEC       (100 * USEC_PER_MSEC)
#define REPORT_CLEAN_USEC (2 * USEC_PER_SEC)

enum flavour { FLAVOUR_C, FLAVOUR_RUST, _FLAVOUR_MAX };

static const char *const flavour_names[] = {[FLAVOUR_C] = "c", [FLAVOUR_RUST] = "rust"};

struct virtiofsd {
	struct loop *loop;
	struct virtiofsd_listener listener;
	struct loop_child child;
	struct loop_timer report; /* tells the listener */
	char *reason;
	pid_t pid;
	bool stopping;
	struct tail messages;
	struct co_cond ended;
	unsigned users;
	bool freed;
};

/* The Rust daemon's words in the C daemon's language; a trailing "=" takes the value along. */
static const struct {
	const char *rust, *c;
} translations[] = {
	{"--announce-submounts", "announce_submounts"},
	{"--xattr", "xattr"},
	{"--xattrmap=", "xattrmap="},
	{"--posix-acl", "posix_acl"},
	{"--security-label", "security_label"},
	{"--writeback", "writeback"},
	{"--allow-direct-io", "allow_direct_io"},
	{"--no-readdirplus", "no_readdirplus"},
	{"--killpriv-v2", "killpriv_v2"},
	{"--no-killpriv-v2", "no_killpriv_v2"},
	{"--sandbox=", "sandbox="},
};

static void add_c_argument(struct strv *args, const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(translations); i++) {
		const char *rust = translations[i].rust;
		const char *rest = str_skip_prefix(word, rust);

		if (!rest || (*rest && !str_has_suffix(rust, "=")))
			continue;
		strv_add(args, "-o");
		strv_addf(args, "%s%s", translations[i].c, rest);
		return;
	}
	strv_add(args, word);
}

static void c_args(const struct virtiofsd_config *c, struct strv *args)
{
	strv_addf(args, "--fd=%d", SOCKET_FD);
	strv_add(args, "-f");
	strv_add(args, "-o");
	strv_addf(args, "source=%s", c->source);
	strv_add(args, "-o");
	strv_addf(args, "cache=%s",
		  str_empty(c->cache)        ? "auto"
		  : streq(c->cache, "never") ? "none"
					     : c->cache);
	if (c->timeout) {
		strv_add(args, "-o");
		strv_addf(args, "timeout=%u", c->timeout);
	}
	strv_add(args, "-o");
	strv_addf(args, "log_level=%s", c->debug ? "debug" : "warn");
	for (size_t i = 0; i < c->n_extra_args; i++)
		add_c_argument(args, c->extra_args[i]);
}

static void rust_args(const struct virtiofsd_config *c, struct strv *args)
{
	strv_addf(args, "--fd=%d", SOCKET_FD);
	strv_addf(args, "--shared-dir=%s", c->source);
	strv_addf(args, "--cache=%s", str_empty(c->cache) ? "auto" : c->cache);
	strv_addf(args, "--log-level=%s", c->debug ? "debug" : "warn");
	for (size_t i = 0; i < c->n_extra_args; i++)
		strv_add(args, c->extra_args[i]);
}

/* --- which one it is --- */

/* In a child process, so it may block: what --help prints. */
static int read_help(void *path, void *reply)
{
	char *argv[] = {path, "--help", NULL};
	char *text = reply;
	int pipe_fds[2];
	struct spawn spawn = {.path = path, .argv = argv, .in = -1};
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fds) < 0)
		return -errno;
	spawn.out = spawn.err = pipe_fds[1];
	spawn.die_with_parent = true;
	pid = spawn_start(&spawn);
	close(pipe_fds[1]);
	if (pid < 0)
		return pid;
	n = fd_read_full(pipe_fds[0], text, HELP_MAX - 1);
	text[MAX(n, 0)] = '\0';
	return n < 0 ? (int)n : 0;
}

static int ask_flavour(const char *path, enum flavour *ret, struct err *err)
{
	_cleanup_(freep) char *help = xcalloc(1, HELP_MAX);
	int r = co_run_child(read_help, (void *)path, help, HELP_MAX, clock_after(HELP_USEC));

	if (r < 0)
		return err_set(err, r, "run %s --help", path);
	if (strstr(help, "--shared-dir"))
		*ret = FLAVOUR_RUST;
	else if (strstr(help, "-o source="))
		*ret = FLAVOUR_C;
	else
		return err_setx(err, -ENOSYS,
				"%s is not a virtiofsd we know (its --help names neither "
				"--shared-dir nor -o source=)",
				path);
	return 0;
}

static int find_flavour(const char *path, enum flavour *ret, struct err *err)
{
	_cleanup_(freep) char *key = probe_cache_key(path);
	char answer[16];
	int r;

	if (probe_cache_read(CACHE_NAME, key, answer, sizeof(answer)))
		for (unsigned i = 0; i < _FLAVOUR_MAX; i++)
			if (streq(answer, flavour_names[i])) {
				*ret = (enum flavour)i;
				return 0;
			}
	r = ask_flavour(path, ret, err);
	if (r == 0)
		probe_cache_write(CACHE_NAME, key, flavour_names[*ret], USEC_NEVER);
	return r;
}

/* --- the process --- */

/* A listening socket and one that is connected to it. */
static int make_sockets(const char *run_dir, int *ret_listening, int *ret_connected)
{
	_cleanup_(freep) char *path = path_join(run_dir, "virtiofsd.sock");
	_cleanup_(closep) int listening = -1;
	int connected, r;

	listening = fd_unix_listen(path, 0600);
	if (listening < 0)
		return listening;
	connected = fd_unix_connect(path);
	unlink(path);
	if (connected < 0)
		return connected;
	r = fd_set_nonblock(listening, false);
	if (r < 0) {
		close(connected);
		return r;
	}
	*ret_listening = TAKE_FD(listening);
	*ret_connected = connected;
	return 0;
}

static void on_report(struct loop_timer *timer)
{
	struct virtiofsd *fs = container_of(timer, struct virtiofsd, report);

	fs->listener.exited(fs, fs->reason, fs->listener.arg);
}

static void on_child(struct loop_child *child, int status)
{
	struct virtiofsd *fs = container_of(child, struct virtiofsd, child);
	const char *words;

	fs->pid = 0;
	tail_drain(&fs->messages);
	words = tail_text(&fs->messages, 1);
	if (WIFSIGNALED(status))
		fs->reason = xasprintf("virtiofsd was killed by signal %d (%s)%s%s",
				       WTERMSIG(status), strsignal(WTERMSIG(status)),
				       *words ? ": " : "", words);
	else
		fs->reason = xasprintf("virtiofsd exited with status %d%s%s", WEXITSTATUS(status),
				       *words ? ": " : "", words);
	co_cond_wake_all(&fs->ended);
	if (!fs->stopping && fs->listener.exited)
		loop_timer_set(fs->loop, &fs->report,
			       clock_after(status ? REPORT_USEC : REPORT_CLEAN_USEC), on_report);
}

static int run(struct loop *loop, struct virtiofsd *fs, const char *path, const struct strv *args,
	       int listening, struct err *err)
{
	_cleanup_(closep) int write_end = -1;
	int pipe_fds[2], r;
	struct spawn_fd fd = {listening, SOCKET_FD};
	struct spawn spawn = {
		.path = path,
		.argv = args->v,
		.fds = &fd,
		.n_fds = 1,
		.in = -1,
		.no_new_privs = true,
		.die_with_parent = true,
		.new_session = true,
	};

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "make a pipe");
	write_end = pipe_fds[1];
	spawn.out = spawn.err = write_end;
	r = tail_open(&fs->messages, loop, pipe_fds[0]);
	if (r < 0)
		return err_set(err, r, "watch virtiofsd's output");
	r = spawn_start(&spawn);
	if (r < 0)
		return err_set(err, r, "run %s", path);
	fs->pid = r;
	r = loop_child_add(loop, &fs->child, fs->pid, on_child);
	return r < 0 ? err_set(err, r, "watch virtiofsd") : 0;
}

int virtiofsd_start(struct loop *loop, const struct virtiofsd_config *config,
		    const struct virtiofsd_listener *listener, struct virtiofsd **ret, int *ret_fd,
		    struct err *err)
{
	_cleanup_(virtiofsd_freep) struct virtiofsd *fs = NULL;
	_cleanup_(strv_fini) struct strv args = {0};
	_cleanup_(closep) int listening = -1;
	_cleanup_(closep) int connected = -1;
	enum flavour flavour = FLAVOUR_C;
	int r;

	r = find_flavour(config->path, &flavour, err);
	if (r < 0)
		return r;
	r = make_sockets(config->run_dir, &listening, &connected);
	if (r < 0)
		return err_set(err, r, "make virtiofsd's socket in %s", config->run_dir);
	strv_add(&args, config->path);
	(flavour == FLAVOUR_C ? c_args : rust_args)(config, &args);
	fs = xnew(struct virtiofsd);
	fs->loop = loop;
	tail_init(&fs->messages);
	co_cond_init(&fs->ended);
	if (listener)
		fs->listener = *listener;
	r = run(loop, fs, config->path, &args, listening, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(connected);
	*ret = TAKE_PTR(fs);
	return 0;
}

static int await_end(struct virtiofsd *fs, uint64_t deadline)
{
	int r = 0;

	while (fs->pid && r == 0)
		r = co_cond_wait(&fs->ended, deadline);
	return fs->pid ? -ETIMEDOUT : 0;
}

static void destroy(struct virtiofsd *fs)
{
	tail_fini(&fs->messages);
	free(fs->reason);
	free(fs);
}

int virtiofsd_stop(struct virtiofsd *fs, struct err *err)
{
	int r;

	fs->stopping = true;
	loop_timer_cancel(&fs->report);
	fs->users++;
	if (fs->pid)
		kill(-fs->pid, SIGTERM);
	r = await_end(fs, clock_after(STOP_USEC));
	if (r < 0) {
		kill(-fs->pid, SIGKILL);
		r = await_end(fs, clock_after(KILL_USEC));
	}
	if (r < 0)
		err_setx(err, r, "virtiofsd (process %d) does not end after SIGKILL", fs->pid);
	if (--fs->users == 0 && fs->freed)
		destroy(fs);
	return r;
}

void virtiofsd_free(struct virtiofsd *fs)
{
	if (!fs)
		return;
	loop_child_remove(&fs->child);
	loop_timer_cancel(&fs->report);
	if (fs->pid) {
		kill(-fs->pid, SIGKILL);
		for (int i = 0; i < KILL_POLLS && waitpid(fs->pid, NULL, WNOHANG) == 0; i++)
			usleep(1000);
	}
	fs->pid = 0;
	co_cond_wake_all(&fs->ended);
	fs->freed = true;
	if (!fs->users)
		destroy(fs);
}

pid_t virtiofsd_pid(const struct virtiofsd *fs)
{
	return fs->pid;
}
