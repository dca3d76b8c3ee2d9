/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved virtual machines ("templates"), from which sandboxes are restored instead of booting.
 * Kata's name for what makes them is the factory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/commands.h"
#include "cli/factory_status.h"
#include "runtime/spare.h"
#include "runtime/template_build.h"

/* --- init --- */

static void says(_unused_ void *arg, const char *what)
{
	fprintf(stderr, "%s\n", what);
}

static void print_ready(const struct template *t, bool made, uint64_t usec)
{
	printf("template %.*s %s: %" PRIu64 " of %" PRIu64 " MiB", KEY_SHOWN, t->key,
	       made ? "is ready" : "was there", t->memory_used >> 20, t->memory_size >> 20);
	if (made)
		printf(", made in %.1f s", (double)usec / (double)USEC_PER_SEC);
	putchar('\n');
}

static int run_init(struct config *config, struct err *err)
{
	const struct template_wish wish = {.says = says};
	_cleanup_(template_fini) struct template t;
	uint64_t began = clock_now();
	int r;

	template_init(&t);
	r = template_build_alone(config, &wish, &t, err);
	if (r >= 0)
		print_ready(&t, r > 0, clock_now() - began);
	return r;
}

/* What `run` has started (run_template.h). */
static int run_background(struct config *config, const char *key, struct err *err)
{
	/* It is "exe" so far. */
	(void)prctl(PR_SET_NAME, CLI_PROGRAM);
	return template_build_in_background(config, key, err);
}

/* --- destroy: status is in factory_status.c --- */

static int run_destroy(const struct config *config, struct err *err)
{
	const char *root = config->factory.template_path;
	_cleanup_(closep) int lock = template_lock(root, false, err);

	(void)spare_dismiss(config->file);
	return lock < 0 ? lock : template_remove(root, NULL, err);
}

/* --- the command --- */

static int run_factory(struct cli *cli, struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	const char *what = cli->args.v[0];
	int r;

	r = load_config(cli, &config, err);
	if (r < 0)
		return CLI_FAILED;
	if (cli_has(cli, "if-enabled") && !config->factory.enable_template)
		return CLI_OK;
	if (cli_has(cli, "allow-emulation"))
		config->hypervisor.allow_emulation = true;
	if (streq(what, "init") && cli_has(cli, "background"))
		r = run_background(config, cli_value(cli, "background", ""), err);
	else if (streq(what, "init"))
		r = run_init(config, err);
	else if (streq(what, "status"))
		r = factory_status(config, streq(cli_value(cli, "format", "table"), "json"), err);
	else if (streq(what, "destroy"))
		r = run_destroy(config, err);
	else {
		err_setx(err, -EINVAL, "factory: \"%s\" is not init, status or destroy", what);
		return CLI_USAGE;
	}
	return r < 0 ? CLI_FAILED : CLI_OK;
}

static const struct cli_option options[] = {
	{.name = "if-enabled", .help = "do nothing where enable_template is false"},
	{.name = "allow-emulation",
	 .help = "init, status: go on without KVM, emulated: without isolation guarantee"},
	{.name = "format",
	 .value = "FORMAT",
	 .choices = "table|json",
	 .help = "status: table (default) or json"},
	{.name = "background", .value = "KEY", .hidden = true, .help = "init: for run"},
	{.name = NULL},
};

const struct cli_command cmd_factory = {
	.name = "factory",
	.arguments = "init|status|destroy",
	.summary = "Make, list or remove the saved virtual machine that sandboxes start from",
	.details =
		"init boots a virtual machine as the configuration describes it, saves it, and "
		"publishes it\n"
		"when a clone of it has passed. Sandboxes of the same shape are restored from it "
		"instead of\n"
		"booting, if enable_template is true. status lists all, and says which one this "
		"configuration\n"
		"uses. destroy ends this configuration's spares, too, and leaves running "
		"sandboxes alone.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run_factory,
};
