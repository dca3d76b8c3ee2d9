/* SPDX-License-Identifier: Apache-2.0 */
/* kata-agent: PID 1 of the guest, or an ordinary process for tests and foreign clients. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/channel.h"
#include "agent/console.h"
#include "agent/container.h"
#include "agent/modules.h"
#include "agent/rpc.h"
#include "agent/uevents.h"
#include "base/fd.h"
#include "base/log.h"

/*
 * How it works: three programs in one. As PID 1: boot (blocking steps, boot.c), then the loop, in
 * which everything else happens, first of all the wait for the channel to the host. As an ordinary
 * process: the same without the boot. And as the kernel's modprobe ("-q -- NAME").
 */

#define CONSOLE_TIME (300 * USEC_PER_MSEC)
#define SYNC_TIME    (2 * USEC_PER_SEC)
#define SYNC_POLL    (1 * USEC_PER_MSEC)
#define REMOVAL_POLL (10 * USEC_PER_MSEC)

static struct agent agent = {.sandbox.pidns_fd = -1, .sandbox.user = POD_USER_NONE};

/* In a child, and not for ever: a file server that has died would hold sync(2) back. */
static void sync_bounded(void)
{
	uint64_t deadline = clock_after(SYNC_TIME);
	pid_t pid = fork();

	if (pid == 0) {
		sync();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0 && clock_now() < deadline)
		usleep(SYNC_POLL);
}

_noreturn_ static void end(bool is_init, int code)
{
	if (!is_init)
		exit(code);
	sync_bounded();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void agent_die(const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	log_error("%s", text);
	/* The kernel shows it on its console, which may be about to appear. */
	if (agent.is_init) {
		_cleanup_(freep) char *line = xasprintf("<2>kata-agent: %s\n", text);
		_cleanup_(closep) int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

		fd_write_all(kmsg, line, strlen(line));
		usleep(CONSOLE_TIME);
	}
	end(agent.is_init, EXIT_FAILURE);
}

void agent_power_off(struct agent *a)
{
	if (a->is_init)
		end(true, 0);
	loop_quit(a->loop, 0);
}

static void mark(enum agent_mark which)
{
	agent.marks[which] = clock_boottime();
}

static unsigned long long marked(enum agent_mark which)
{
	return agent.marks[which] / USEC_PER_MSEC;
}

/* --- the loop's first coroutine --- */

static void serve(void *arg)
{
	_cleanup_(freep) char *address = arg ? xstrdup(arg) : channel_default(&agent);
	_cleanup_err_ struct err err = {0};

	if (server_serve(&agent, address, USEC_NEVER, &err) < 0)
		agent_die("%s", err_text(&err));
	mark(MARK_CHANNEL);
	console_start(&agent);
	log_info("kata-agent %s serves %s; started at %llu ms, root at %llu, modules at %llu, "
		 "settings at %llu, channel at %llu",
		 KATA_VERSION, address, marked(MARK_START), marked(MARK_ROOT), marked(MARK_MODULES),
		 marked(MARK_SETTINGS), marked(MARK_CHANNEL));
}

static void load_drivers(_unused_ void *arg)
{
	uevents_load_present(&agent);
}

/* An ordinary process leaves nothing running on the machine that it shares with others. What a call
 * removes at this moment is left to it. */
static void end_sandbox(_unused_ void *arg)
{
	uint64_t deadline = clock_after(CONTAINER_KILL_USEC);

	sandbox_destroy(&agent);
	while (agent.containers.n && clock_now() < deadline)
		co_sleep(REMOVAL_POLL);
	agent_power_off(&agent);
}

static void on_end_signal(_unused_ struct loop_signal *source, int signo)
{
	static bool ending;

	log_info("%s: ending", strsignal(signo));
	/* A machine that goes takes everything along; so does who asks twice. */
	if (agent.is_init || ending)
		agent_power_off(&agent);
	else
		co_start(agent.loop, end_sandbox, NULL);
	ending = true;
}

/* A child that works for the agent would keep containers' pipes open as long as it lives: the end
 * of a standard input would not get through. */
static void after_fork(void)
{
	containers_close_streams(&agent);
}

static int run(char *address)
{
	static struct loop_signal ends[2];
	_cleanup_err_ struct err err = {0};
	int r;

	r = loop_new(&agent.loop);
	if (r < 0)
		agent_die("make the event loop: %s", strerror(-r));
	list_init(&agent.sandbox.storages);
	list_init(&agent.loopback);
	if (pthread_atfork(NULL, NULL, after_fork) != 0)
		agent_die("prepare for children: no memory");
	agent.has_cgroup = boot_cgroup(agent.is_init);
	uevents_open(&agent);
	if (server_new(&agent, &err) < 0)
		agent_die("%s", err_text(&err));
	if (loop_signal_add(agent.loop, &ends[0], SIGTERM, on_end_signal) < 0 ||
	    loop_signal_add(agent.loop, &ends[1], SIGINT, on_end_signal) < 0)
		agent_die("watch signals: %s", strerror(errno));
	co_start(agent.loop, serve, address);
	if (agent.is_init)
		co_start(agent.loop, load_drivers, NULL);
	r = loop_run(agent.loop);
	if (r < 0)
		agent_die("the event loop failed: %s", strerror(-r));
	return r;
}

/* --- programs --- */

_noreturn_ static void run_init(void)
{
	_cleanup_err_ struct err err = {0};

	agent.is_init = true;
	fd_null_stdio();
	log_open("kata-agent", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
	if (boot_disk(&err) < 0 || boot_root(&err) < 0)
		agent_die("%s", err_text(&err));
	mark(MARK_ROOT);
	/* Until there is a line for the log. */
	log_open("kata-agent", open("/dev/kmsg", O_WRONLY | O_CLOEXEC), LOG_FORMAT_LOGFMT,
		 LOG_LEVEL_WARN);
	boot_modules();
	mark(MARK_MODULES);
	boot_config(&agent.config);
	log_set_level(agent.config.log_level);
	if (agent.config.bad)
		log_warn("%u agent parameters on the kernel command line have bad values",
			 agent.config.bad);
	if (boot_settings(&err) < 0)
		agent_die("%s", err_text(&err));
	mark(MARK_SETTINGS);
	run(NULL);
	end(true, 0);
}

static int run_modprobe(const char *name)
{
	fd_null_stdio();
	log_open("kata-agent", STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
	return modules_load(name) > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void print_help(void)
{
	puts("Usage: kata-agent --listen ADDRESS [--log LEVEL]\n"
	     "The agent of Kata Containers: runs containers on behalf of the runtime. Inside a VM\n"
	     "it is the first process and takes its options from the kernel command line.\n"
	     "\n"
	     "  -l, --listen ADDRESS  unix:///PATH, vsock://CID:PORT, serial:PATH or port:NAME\n"
	     "      --log LEVEL       error, warn, info (default) or debug\n"
	     "  -V, --version         print the version\n"
	     "  -h, --help            print this help");
}

static const struct option options[] = {
	{"help", no_argument, NULL, 'h'},
	{"listen", required_argument, NULL, 'l'},
	{"log", required_argument, NULL, 'L'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

int main(int argc, char **argv)
{
	char *address = NULL;
	int option;

	mark(MARK_START);
	/* The kernel gives its first process the words of its command line that it does not know.
	 */
	if (getpid() == 1 && (argc < 2 || argv[1][0] != '-'))
		run_init();
	if (argc == 4 && streq(argv[1], "-q") && streq(argv[2], "--"))
		return run_modprobe(argv[3]);
	cmdline_defaults(&agent.config);
	while ((option = getopt_long(argc, argv, "hl:V", options, NULL)) >= 0) {
		_cleanup_(freep) char *parameter = NULL;

		switch (option) {
		case 'h':
			print_help();
			return EXIT_SUCCESS;
		case 'V':
			puts("kata-agent " KATA_VERSION);
			return EXIT_SUCCESS;
		case 'l':
			address = optarg;
			break;
		case 'L':
			parameter = xasprintf("agent.log=%s", optarg);
			cmdline_parse(&agent.config, parameter, strlen(parameter));
			if (agent.config.bad) {
				fprintf(stderr, "kata-agent: --log %s: not a level\n", optarg);
				return EXIT_FAILURE;
			}
			break;
		default:
			fputs("Try kata-agent --help.\n", stderr);
			return EXIT_FAILURE;
		}
	}
	if (optind < argc || !address) {
		fputs(optind < argc ? "kata-agent: too many arguments\n"
				    : "kata-agent: --listen is missing\n",
		      stderr);
		fputs("Try kata-agent --help.\n", stderr);
		return EXIT_FAILURE;
	}
	log_open("kata-agent", STDERR_FILENO, LOG_FORMAT_LOGFMT, agent.config.log_level);
	return run(address);
}
