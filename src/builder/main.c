/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "builder/recipe.h"

/* kata-guest-image: the options, and what is said about the outcome. */

#define PROGRAM    "kata-guest-image"
#define EXIT_USAGE 2

/* Where the agent is, relative to our own program: installed, beside us, in a build tree. */
static const char *const agent_places[] = {
	"../libexec/kata-containers/kata-agent",
	"../lib/kata-containers/kata-agent",
	"kata-agent",
	"../agent/kata-agent",
};

enum option_id {
	OPTION_HELP = 'h',
	OPTION_VERSION = 'V',
	OPTION_KERNEL = 256,
	OPTION_MODULES,
	OPTION_ADD_MODULE,
	OPTION_AGENT,
	OPTION_OUTPUT,
	OPTION_FORMAT,
	OPTION_COMPRESS,
	OPTION_DEBUG_SHELL,
	OPTION_DRY_RUN,
	OPTION_FORCE,
	OPTION_QUIET,
};

static const struct {
	const char *name;
	enum option_id id;
	const char *argument; /* NULL: takes none; in brackets: optional */
	const char *help;
} option_table[] = {
	{"kernel", OPTION_KERNEL, "FILE",
	 "use this kernel (bzImage or ELF) instead of the host's own"},
	{"modules", OPTION_MODULES, "DIR", "its modules; default: /lib/modules/<its release>"},
	{"add-module", OPTION_ADD_MODULE, "NAME",
	 "also pack this module, loaded on demand; may be repeated"},
	{"agent", OPTION_AGENT, "FILE", "the static kata-agent; default: the installed one"},
	{"output", OPTION_OUTPUT, "DIR", "where the image goes; default: " RECIPE_OUTPUT_DEFAULT},
	{"format", OPTION_FORMAT, "erofs|ext4", "make a disk image as well"},
	{"compress", OPTION_COMPRESS, NULL, "compress the initrd (smaller, boots slower)"},
	{"debug-shell", OPTION_DEBUG_SHELL, "[BUSYBOX]",
	 "add a static busybox for the debug console; default: " RECIPE_BUSYBOX_DEFAULT},
	{"dry-run", OPTION_DRY_RUN, NULL, "say what would be done and write nothing"},
	{"force", OPTION_FORCE, NULL, "build although nothing has changed"},
	{"quiet", OPTION_QUIET, NULL, "print errors only"},
	{"help", OPTION_HELP, NULL, "print this help"},
	{"version", OPTION_VERSION, NULL, "print the version"},
};

struct options {
	struct recipe recipe;
	bool dry_run, quiet;
	char *self, *agent;
};

static void print_help(void)
{
	printf("Usage: " PROGRAM " [OPTION]...\n"
	       "Make the image that Kata sandboxes boot: the host's kernel, and an initrd with\n"
	       "kata-agent and the modules it needs. Does nothing when nothing has changed.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(option_table); i++) {
		const char *argument = option_table[i].argument;
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", option_table[i].name,
			 !argument            ? ""
			 : argument[0] == '[' ? "[="
					      : " ",
			 !argument            ? ""
			 : argument[0] == '[' ? argument + 1
					      : argument);
		printf("  %-24s %s\n", left, option_table[i].help);
	}
	printf("\nSOURCE_DATE_EPOCH in the environment is the time of every file in the image\n"
	       "(default 0). Exit status: 0 success, 1 failure, 2 wrong use.\n");
}

static bool progress_shown;

static void show_progress(const char *text)
{
	fprintf(stderr, "\r\033[K%s …", text);
	progress_shown = true;
}

static void end_progress(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

static int usage_error(const char *format, const char *value)
{
	fprintf(stderr, PROGRAM ": ");
	fprintf(stderr, "%s", format);
	fprintf(stderr, "%s\nTry '" PROGRAM " --help'.\n", value);
	return EXIT_USAGE;
}

/* Returns 0, or 1 + the exit status when the program is to end. */
static int apply_option(struct options *o, int id, const char *value)
{
	struct recipe *recipe = &o->recipe;

	switch (id) {
	case OPTION_HELP:
		print_help();
		return 1 + EXIT_SUCCESS;
	case OPTION_VERSION:
		puts(PROGRAM " " KATA_VERSION);
		return 1 + EXIT_SUCCESS;
	case OPTION_KERNEL:
		recipe->kernel = value;
		return 0;
	case OPTION_MODULES:
		recipe->modules_dir = value;
		return 0;
	case OPTION_ADD_MODULE:
		strv_add(&recipe->extra_modules, value);
		return 0;
	case OPTION_AGENT:
		recipe->agent = value;
		return 0;
	case OPTION_OUTPUT:
		recipe->output = value;
		return 0;
	case OPTION_FORMAT:
		if (disk_format_parse(value, &recipe->disk) < 0)
			return 1 + usage_error("--format is erofs or ext4, not ", value);
		return 0;
	case OPTION_COMPRESS:
		recipe->compress = true;
		return 0;
	case OPTION_DEBUG_SHELL:
		recipe->busybox = value ? value : RECIPE_BUSYBOX_DEFAULT;
		return 0;
	case OPTION_DRY_RUN:
		o->dry_run = true;
		return 0;
	case OPTION_FORCE:
		recipe->force = true;
		return 0;
	case OPTION_QUIET:
		o->quiet = true;
		return 0;
	default:
		fprintf(stderr, "Try '" PROGRAM " --help'.\n");
		return 1 + EXIT_USAGE;
	}
}

static int parse_options(struct options *o, int argc, char **argv)
{
	struct option longopts[ARRAY_SIZE(option_table) + 1] = {0};
	int id, r;

	for (size_t i = 0; i < ARRAY_SIZE(option_table); i++) {
		const char *argument = option_table[i].argument;

		longopts[i] = (struct option){
			.name = option_table[i].name,
			.has_arg = !argument            ? no_argument
				   : argument[0] == '[' ? optional_argument
							: required_argument,
			.val = (int)option_table[i].id,
		};
	}
	while ((id = getopt_long(argc, argv, "hV", longopts, NULL)) != -1) {
		r = apply_option(o, id, optarg);
		if (r != 0)
			return r;
	}
	if (optind < argc)
		return 1 + usage_error("unexpected argument: ", argv[optind]);
	return 0;
}

static int parse_epoch(int64_t *ret)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");

	if (str_empty(text))
		return 0;
	if (parse_i64(text, ret) < 0 || *ret < 0 || *ret > UINT32_MAX)
		return usage_error("SOURCE_DATE_EPOCH: not a time: ", text);
	return 0;
}

static void find_programs(struct options *o)
{
	_cleanup_(freep) char *dir = NULL;

	o->self = realpath("/proc/self/exe", NULL);
	o->recipe.self = o->self;
	if (o->recipe.agent || !o->self)
		return;
	dir = path_dir(o->self);
	for (size_t i = 0; i < ARRAY_SIZE(agent_places) && !o->agent; i++) {
		_cleanup_(freep) char *path = path_join(dir, agent_places[i]);

		o->agent = realpath(path, NULL);
	}
	o->recipe.agent = o->agent;
}

static double mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void print_plan(const struct recipe *recipe, const struct recipe_report *report)
{
	const struct modules *m = &report->modules;
	struct {
		const char *title;
		const struct strv *list;
	} lists[] = {
		{"loaded at boot", &m->eager},
		{"built in", &m->built_in},
		{"not in this kernel", &m->missing},
	};

	printf("kernel:   %s\nmodules:  %s\nagent:    %s\noutput:   %s\n", report->kernel.path,
	       report->kernel.modules_dir, recipe->agent, recipe->output);
	if (recipe->busybox)
		printf("shell:    %s\n", recipe->busybox);
	if (recipe->disk != DISK_NONE)
		printf("disk:     %s\n", disk_format_name(recipe->disk));
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		printf("%s:\n", lists[i].title);
		for (size_t k = 0; k < lists[i].list->n; k++)
			printf("  %s\n", lists[i].list->v[k]);
	}
	printf("loaded on demand:\n");
	for (size_t i = 0; i < m->n_ondemand; i++)
		printf("  %s (%zu files)\n", m->ondemand[i].name, m->ondemand[i].files.n);
	if (report->outcome == RECIPE_UNCHANGED)
		printf("would do nothing: %s is up to date\n", report->generation);
	else
		printf("would build: %s\n", report->reason);
}

static void print_report(const struct recipe_report *report, uint64_t usec)
{
	double ms = (double)usec / USEC_PER_MSEC;

	if (report->outcome == RECIPE_UNCHANGED) {
		printf("%s is up to date (%.0f ms)\n", report->generation, ms);
		return;
	}
	printf("%s: kernel %.1f MiB%s, initrd %.1f MiB", report->generation,
	       mebibytes(report->kernel_size),
	       report->kernel_reused ? " (as before)"
	       : report->pvh         ? " (uncompressed, PVH)"
				     : "",
	       mebibytes(report->initrd_size));
	if (report->disk_size)
		printf(", disk image %.1f MiB", mebibytes(report->disk_size));
	if (report->disk_initrd_size)
		printf(" with an initrd of %.1f MiB that mounts it",
		       mebibytes(report->disk_initrd_size));
	printf(" (%.0f ms; %s)\n", ms, report->reason);
	if (report->kernel_why)
		printf("the kernel boots compressed: %s\n", report->kernel_why);
}

static int run(struct options *o)
{
	_cleanup_(recipe_report_fini) struct recipe_report report = {0};
	uint64_t start = clock_now();
	_cleanup_err_ struct err err = {0};
	int r;

	find_programs(o);
	if (!o->recipe.agent)
		r = err_setx(&err, -ENOENT,
			     "kata-agent is not installed beside this program; name it with "
			     "--agent FILE");
	else if (o->dry_run)
		r = recipe_plan(&o->recipe, &report, &err);
	else
		r = recipe_build(&o->recipe, &report, &err);
	end_progress();
	if (r < 0) {
		fprintf(stderr, PROGRAM ": %s\n", err_text(&err));
		return EXIT_FAILURE;
	}
	if (report.kernel.note && !o->quiet)
		fprintf(stderr, PROGRAM ": note: %s\n", report.kernel.note);
	if (o->dry_run)
		print_plan(&o->recipe, &report);
	else if (!o->quiet)
		print_report(&report, clock_now() - start);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options o = {.recipe.output = RECIPE_OUTPUT_DEFAULT};
	int ended = parse_options(&o, argc, argv);
	int r = ended ? ended - 1 : parse_epoch(&o.recipe.mtime);

	if (!ended && r == 0) {
		umask(022);
		signal(SIGXFSZ, SIG_IGN);
		if (isatty(STDERR_FILENO) && !o.quiet)
			o.recipe.progress = show_progress;
		r = run(&o);
	}
	strv_fini(&o.recipe.extra_modules);
	free(o.self);
	free(o.agent);
	return r;
}
