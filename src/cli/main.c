/* SPDX-License-Identifier: Apache-2.0 */
/* kata-runtime: see kata-runtime(1). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "cli/commands.h"
#include "config/resolve.h"

static void print_config_paths(void)
{
	_cleanup_(freep) char *own = path_join(config_prefix(),
					       "share/defaults/kata-containers/configuration.toml");
	bool said = false;

	for (const char *const *p = config_search_path; *p; p++) {
		puts(*p);
		said |= streq(*p, own);
	}
	if (!said)
		puts(own);
}

static int open_log(const struct cli *cli, struct err *err)
{
	const char *path = cli_value(cli, "log", NULL);
	const char *wanted = cli_value(cli, "log-format", getenv("KATA_LOG_FORMAT"));
	enum log_format format;
	int fd = STDERR_FILENO;

	if (log_format_parse(wanted, &format) < 0)
		return err_setx(err, -EINVAL, "KATA_LOG_FORMAT is text or json, not \"%s\"",
				wanted);

	if (path) {
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0)
			return err_set(err, -errno, "open log %s", path);
	}
	/* A terminal has the command's own output; what is worth a warning goes there too. */
	log_open(CLI_PROGRAM, fd, format, path ? LOG_LEVEL_INFO : LOG_LEVEL_WARN);
	log_use_system("");
	return 0;
}

/* Parsed: do it. Returns the exit status. */
static int dispatch(struct cli *cli, struct err *err)
{
	if (cli_has(cli, "help")) {
		cli_print_help(cli->command);
		return CLI_OK;
	}
	if (cli_has(cli, "version")) {
		print_version();
		return CLI_OK;
	}
	if (cli_has(cli, "show-default-config-paths")) {
		print_config_paths();
		return CLI_OK;
	}
	if (!cli->command) {
		cli_print_help(NULL);
		return CLI_USAGE;
	}
	if (streq(cli_value(cli, "rootless", "auto"), "true")) {
		err_setx(err, -ENOSYS, "--rootless true: sandboxes need root on this host");
		return CLI_FAILED;
	}
	if (open_log(cli, err) < 0)
		return CLI_FAILED;
	return cli->command->run(cli, err);
}

/* "help [COMMAND]" is "[COMMAND] --help". */
static void translate_help(int argc, char **argv)
{
	static char option[] = "--help";

	if (argc < 2 || argc > 3 || !streq(argv[1], "help"))
		return;
	argv[1] = argv[argc - 1];
	argv[argc - 1] = option;
}

int main(int argc, char **argv)
{
	_cleanup_(cli_fini) struct cli cli = {0};
	_cleanup_err_ struct err err = {0};
	int status;

	fd_null_stdio();
	translate_help(argc, argv);
	if (cli_parse(&cli, argc, argv, &err) < 0)
		status = CLI_USAGE;
	else
		status = dispatch(&cli, &err);
	if (err.code)
		fprintf(stderr, CLI_PROGRAM ": %s\n", err_text(&err));
	if (fflush(stdout) != 0 && status == CLI_OK) {
		fprintf(stderr, CLI_PROGRAM ": write to standard output: %s\n", strerror(errno));
		status = CLI_FAILED;
	}
	return status;
}
