/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/path.h"
#include "cli/commands.h"
#include "cli/run.h"
#include "runtime/sandbox.h"

#define BUNDLE_ROOT "/run/kata-containers/run"

/* What the options say of the virtual machine. */
static int change_config(const struct cli *cli, struct config *config, struct err *err)
{
	struct config_hypervisor *h = &config->hypervisor;
	const char *memory = cli_value(cli, "memory", NULL), *cpus = cli_value(cli, "cpus", NULL);
	uint32_t n;

	if (memory && (run_parse_memory(memory, &h->default_memory) < 0 || h->default_memory < 64))
		return err_setx(err, -EINVAL, "--memory must be at least 64 (MiB), not \"%s\"",
				memory);
	h->default_maxmemory = MAX(h->default_maxmemory, (uint64_t)h->default_memory);
	if (cpus) {
		if (parse_u32(cpus, &n) < 0 || n < 1 || n > h->default_maxvcpus)
			return err_setx(err, -EINVAL, "--cpus must be between 1 and %u, not \"%s\"",
					h->default_maxvcpus, cpus);
		h->default_vcpus = n;
	}
	if (cli_has(cli, "allow-emulation"))
		h->allow_emulation = true;
	free(config->runtime.internetworking_model);
	config->runtime.internetworking_model = xstrdup("none");
	return 0;
}

static int check_env(const struct strv *env, struct err *err)
{
	for (size_t i = 0; i < env->n; i++)
		if (!strchr(env->v[i], '=') || env->v[i][0] == '=')
			return err_setx(err, -EINVAL, "--env must be NAME=VALUE, not \"%s\"",
					env->v[i]);
	return 0;
}

static int find_rootfs(const struct cli *cli, char **ret, struct err *err)
{
	const char *path = cli_value(cli, "rootfs", NULL);
	struct stat st;

	if (!path)
		return err_setx(err, -EINVAL, "run needs --rootfs DIR");
	*ret = realpath(path, NULL);
	if (!*ret || stat(*ret, &st) < 0)
		return err_set(err, -errno, "root file system %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "root file system %s", path);
	return 0;
}

static int make_request(const struct cli *cli, struct run_request *request, char **rootfs,
			char **id, struct err *err)
{
	const char *user = cli_value(cli, "user", "0");
	int r;

	r = find_rootfs(cli, rootfs, err);
	if (r < 0)
		return r;
	*id = cli_has(cli, "id") ? xstrdup(cli_value(cli, "id", "")) : path_new_id("run");
	if (!path_is_id(*id))
		return err_setx(err, -EINVAL, "--id may have letters, digits and _.-, not \"%s\"",
				*id);
	if (run_parse_user(user, &request->uid, &request->gid) < 0)
		return err_setx(err, -EINVAL, "--user must be UID or UID:GID, not \"%s\"", user);
	request->rootfs = *rootfs;
	request->id = *id;
	request->hostname = cli_value(cli, "hostname", *id);
	request->cwd = cli_value(cli, "workdir", "/");
	request->args = cli->args;
	request->env = cli_given(cli, "env")->values;
	request->terminal = cli_has(cli, "tty");
	request->read_only = cli_has(cli, "read-only");
	if (*request->cwd != '/')
		return err_setx(err, -EINVAL, "--workdir must be an absolute path");
	if (request->terminal && !isatty(STDIN_FILENO))
		return err_setx(err, -ENOTTY, "--tty: standard input is not a terminal");
	return check_env(&request->env, err);
}

static void pass_log_options(const struct cli *cli, struct strv *ret)
{
	const char *log = cli_value(cli, "log", NULL), *format = cli_value(cli, "log-format", NULL);
	/* It exists by now. */
	_cleanup_(freep) char *path = log ? realpath(log, NULL) : NULL;

	if (path)
		strv_addf(ret, "--log=%s", path);
	if (format)
		strv_addf(ret, "--log-format=%s", format);
}

/* Lock a folder; the lock ends with the process. Returns the descriptor, or -errno. */
static int lock_folder(const char *path, int operation)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || flock(fd, operation) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* What earlier runs left that were killed: their bundles are there, and nobody holds the lock. */
static void remove_leftovers(void)
{
	_cleanup_(closedirp) DIR *dir = opendir(BUNDLE_ROOT);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		_cleanup_(freep) char *bundle = path_join(BUNDLE_ROOT, entry->d_name);
		_cleanup_(closep) int lock = -1;

		if (!path_is_id(entry->d_name))
			continue;
		lock = lock_folder(bundle, LOCK_EX | LOCK_NB);
		if (lock < 0)
			continue;
		log_info("removing what the killed sandbox %s has left", entry->d_name);
		if (sandbox_cleanup(entry->d_name, bundle, 0, NULL) == 0)
			fs_remove_all(bundle);
	}
}

/* Our own folder, locked, so that it is known to be in use. */
static int make_bundle(const char *path, int *ret_lock, struct err *err)
{
	_cleanup_(closep) int all = -1;
	int r = fs_mkdir_all(BUNDLE_ROOT, 0711);

	if (r < 0)
		return err_set(err, r, "make folder %s", BUNDLE_ROOT);
	all = lock_folder(BUNDLE_ROOT, LOCK_EX);
	if (all < 0)
		return err_set(err, all, "lock %s", BUNDLE_ROOT);
	remove_leftovers();
	if (mkdir(path, 0700) < 0 && errno == EEXIST)
		return err_setx(err, -EEXIST, "a sandbox of that id runs already: %s exists", path);
	r = lock_folder(path, LOCK_EX | LOCK_NB);
	if (r < 0)
		return err_set(err, r, "make folder %s", path);
	*ret_lock = r;
	return 0;
}

static int run_in_bundle(struct config *config, const struct run_request *request, struct err *err)
{
	_cleanup_(freep) char *bundle = path_join(BUNDLE_ROOT, request->id);
	_cleanup_(closep) int lock = -1;
	int status;

	if (make_bundle(bundle, &lock, err) < 0)
		return RUN_FAILED;
	status = run_container(config, request, bundle, err);
	fs_remove_all(bundle);
	return status;
}

static int run_run(struct cli *cli, struct err *err)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *rootfs = NULL, *id = NULL;
	struct run_request request = {0};
	int status;

	if (make_request(cli, &request, &rootfs, &id, err) < 0)
		return RUN_FAILED;
	if (geteuid() != 0) {
		err_setx(err, -EPERM, "run needs root: it makes mounts and a virtual machine");
		return RUN_FAILED;
	}
	if (load_config(cli, &config, err) < 0 || change_config(cli, config, err) < 0)
		return RUN_FAILED;
	pass_log_options(cli, &request.log_options);
	status = run_in_bundle(config, &request, err);
	strv_fini(&request.log_options);
	return status;
}

static const struct cli_option options[] = {
	{.name = "rootfs", .value = "DIR", .help = "the container's root file system; needed"},
	{.name = "tty", .letter = 't', .help = "give the command a terminal: ours"},
	{.name = "env",
	 .letter = 'e',
	 .value = "NAME=VALUE",
	 .repeated = true,
	 .help = "an environment variable; may be repeated"},
	{.name = "workdir", .letter = 'w', .value = "DIR", .help = "where it starts; default: /"},
	{.name = "user",
	 .letter = 'u',
	 .value = "UID[:GID]",
	 .help = "who it runs as; default: 0:0"},
	{.name = "hostname", .value = "NAME", .help = "the guest's host name; default: the id"},
	{.name = "read-only", .help = "the root file system cannot be written"},
	{.name = "memory",
	 .letter = 'm',
	 .value = "SIZE",
	 .help = "the virtual machine's memory: MiB, or with suffix M or G"},
	{.name = "cpus", .value = "N", .help = "the virtual machine's CPUs"},
	{.name = "net",
	 .value = "NETWORK",
	 .choices = "none",
	 .help = "the network: none, which is also the default"},
	{.name = "id", .value = "NAME", .help = "the sandbox's id; default: a random one"},
	{.name = "allow-emulation",
	 .help = "go on without KVM, emulated: without isolation guarantee"},
	{.name = NULL},
};

const struct cli_command cmd_run = {
	.name = "run",
	.arguments = "-- COMMAND [ARG]...",
	.summary = "Run a command in a container in a virtual machine of its own",
	.details =
		"No daemon is involved. Input, output and signals are passed on. The second "
		"SIGINT or\n"
		"SIGTERM ends the command for good. The exit status is the command's, 128 + N "
		"when signal\n"
		"N ended it, 127 when it does not exist, 126 when it cannot be executed, and 125 "
		"when the\n"
		"sandbox could not be made.",
	.options = options,
	.min_args = 1,
	.max_args = -1,
	.rest = true,
	.run = run_run,
};
