/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/check.h"
#include "cli/commands.h"
#include "loop/co.h"

struct check_job {
	struct loop *loop;
	const struct config *config;
	struct check_report report;
};

static void run_job(void *arg)
{
	const struct check_env env = {
		.accel = &accel_host,
		.vhost_vsock = "/dev/vhost-vsock",
		.vhost_net = "/dev/vhost-net",
		.tun = "/dev/net/tun",
		.meminfo = "/proc/meminfo",
		.uid = geteuid(),
	};
	struct check_job *job = arg;

	check_host(&env, job->config, &job->report);
	loop_quit(job->loop, 0);
}

static void print_verdict(const struct check_report *report, bool failed)
{
	if (report->emulated)
		puts("note:    sandboxes run emulated (TCG), without an isolation guarantee: "
		     "allow_emulation is set\n"
		     "         and KVM does not work here or is not wanted");
	puts("note:    never tried by this project's own tests: KVM, vhost-vsock, vhost-net, "
	     "sandboxes under\n"
	     "         cgroup v2, OpenShift, CRI-O; in an emulated host only: systemd");
	puts(report->capable ? "System is capable of running Kata Containers"
			     : "System is not capable of running Kata Containers");
	puts(failed ? "System cannot currently create Kata Containers"
		    : "System can currently create Kata Containers");
}

static int run_check(struct cli *cli, struct err *err)
{
	static const char *const network[] = {"check-version-only", "include-all-releases",
					      "only-list-releases"};
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct check_job job = {0};
	bool failed;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(network); i++)
		if (cli_has(cli, network[i])) {
			err_setx(err, -ENOSYS,
				 "--%s is not supported: nothing is asked over the "
				 "network",
				 network[i]);
			return CLI_FAILED;
		}
	job.report.verbose = cli_has(cli, "verbose");
	if (load_config(cli, &config, err) < 0) {
		check_say(&job.report, CHECK_PROBLEM, NULL, "%s", err_text(err));
		err_clear(err);
		config = config_default();
	} else {
		check_say(&job.report, CHECK_OK, NULL, "the configuration is %s",
			  *config->file ? config->file : "the built-in default");
	}
	r = loop_new(&loop);
	if (r < 0) {
		err_set(err, r, "make an event loop");
		return CLI_FAILED;
	}
	job.loop = loop;
	job.config = config;
	co_start(loop, run_job, &job);
	loop_run(loop);
	failed = job.report.n_problems > 0 || (cli_has(cli, "strict") && job.report.n_notes > 0);
	print_verdict(&job.report, failed);
	return failed ? CLI_FAILED : CLI_OK;
}

static const struct cli_option options[] = {
	{.name = "verbose", .letter = 'v', .help = "say what is in order, too"},
	{.name = "strict", .letter = 's', .help = "take notes for problems"},
	{.name = "no-network-checks",
	 .letter = 'n',
	 .help = "accepted for Kata's sake: the network is never asked"},
	{.name = "check-version-only", .hidden = true, .help = "not supported"},
	{.name = "include-all-releases", .hidden = true, .help = "not supported"},
	{.name = "only-list-releases", .hidden = true, .help = "not supported"},
	{.name = NULL},
};

const struct cli_command cmd_check = {
	.name = "check",
	.alias = "kata-check",
	.arguments = "",
	.summary = "Check whether this host can run Kata Containers",
	.details = "A virtual machine of a few instructions is really run to find out whether KVM "
		   "works.\n"
		   "What is missing is printed with its remedy. Exit status 0: a sandbox can be "
		   "made now;\n"
		   "1: it cannot.",
	.options = options,
	.run = run_check,
};
