/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/device/device.h"
#include "agent/modules.h"
#include "agent/rpc.h"
#include "agent/storage/storage.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "kernel/mount.h"

/* CreateSandbox, DestroySandbox and ResetSandbox: the one sandbox of this guest. */

#define DNS_MAX            64U
#define DNS_LINE_MAX       1024U
#define MODULES_MAX        256U
#define MODULE_TIME        (30 * USEC_PER_SEC)
#define LOOK_TIME          (5 * USEC_PER_SEC)
#define RESET_TIME         (30 * USEC_PER_SEC)
#define POWER_OFF_DELAY    (50 * USEC_PER_MSEC)
#define RESOLV_CONF        "/etc/resolv.conf"
#define SANDBOX_RESOLVCONF AGENT_SANDBOX_DIR "/resolv.conf"

/* --- kernel modules --- */

struct module_request {
	const char *name;
	char *parameters;
};

static int load_module(void *arg, _unused_ void *reply)
{
	const struct module_request *request = arg;
	int r = modules_load_parameters(request->name, request->parameters);

	if (r != 0)
		return MIN(r, 0);
	/* Not in the image: fine if the kernel has it built in. */
	_cleanup_(freep) char *sys = xasprintf("/sys/module/%s", request->name);

	for (char *c = sys; *c; c++)
		if (*c == '-')
			*c = '_';
	return fs_exists(sys) ? 0 : -ENOENT;
}

static int load_modules(Grpc__KernelModule *const *modules, size_t n, struct err *err)
{
	if (n > MODULES_MAX)
		return err_setx(err, -E2BIG, "%zu kernel modules, at most %u", n, MODULES_MAX);
	for (size_t i = 0; i < n; i++) {
		struct strv words = {.v = modules[i]->parameters, .n = modules[i]->n_parameters};
		_cleanup_(freep) char *parameters = strv_join(&words, " ");
		struct module_request request = {modules[i]->name, parameters};
		int r;

		if (!path_is_id(modules[i]->name))
			return err_setx(err, -EINVAL, "kernel module \"%s\": not a name",
					modules[i]->name);
		r = co_run_child(load_module, &request, NULL, 0, clock_after(MODULE_TIME));
		if (r < 0)
			return err_set(err, r,
				       "kernel module %s (is it in the guest image? see "
				       "kata-guest-image --add-module)",
				       modules[i]->name);
	}
	return 0;
}

/* --- names --- */

static int set_hostname(struct agent *agent, const char *hostname, struct err *err)
{
	char former[HOST_NAME_MAX + 1] = "";

	if (str_empty(hostname))
		return 0;
	(void)gethostname(former, sizeof(former) - 1);
	if (sethostname(hostname, strlen(hostname)) < 0)
		return err_set(err, -errno, "set the host name \"%s\"", hostname);
	agent->sandbox.hostname = xstrdup(hostname);
	agent->sandbox.former_hostname = xstrdup(former);
	return 0;
}

static void give_up_hostname(struct agent_sandbox *sandbox)
{
	const char *former = sandbox->former_hostname;

	if (former && sethostname(former, strlen(former)) < 0)
		log_warn("give the guest its host name back: %s", strerror(errno));
	free(sandbox->hostname);
	free(sandbox->former_hostname);
	sandbox->hostname = sandbox->former_hostname = NULL;
}

/*
 * Containers get the runtime's resolv.conf as a mount; the guest's own is for what runs in the
 * guest itself (guest pull, debug console), so that failing to write it is no error.
 */
static int set_dns(struct agent *agent, char *const *lines, size_t n, struct err *err)
{
	_cleanup_(buf_fini) struct buf text = {0};
	int r;

	if (n > DNS_MAX)
		return err_setx(err, -E2BIG, "%zu lines of DNS, at most %u", n, DNS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (strlen(lines[i]) > DNS_LINE_MAX || strchr(lines[i], '\n'))
			return err_setx(err, -EINVAL, "line %zu of DNS is not one line", i + 1);
		strv_add(&agent->sandbox.dns, lines[i]);
		buf_addf(&text, "%s\n", lines[i]);
	}
	if (n == 0)
		return 0;
	r = fs_replace(SANDBOX_RESOLVCONF, text.data, text.len, 0644, false);
	if (r == 0 && agent->is_init)
		r = fs_replace(RESOLV_CONF, text.data, text.len, 0644, false);
	/* The root of a disk image, which has a link to the first of the two. */
	if (r < 0 && r != -EROFS)
		log_warn("write resolv.conf: %s", strerror(-r));
	return 0;
}

/* --- methods --- */

static int check_request(const struct agent *agent, const Grpc__CreateSandboxRequest *request,
			 struct err *err)
{
	if (agent->sandbox.created)
		return err_setx(err, -EEXIST, "this guest has a sandbox already: %s",
				agent->sandbox.id);
	if (!path_is_id(request->sandbox_id))
		return err_setx(err, -EINVAL, "sandbox id \"%s\": not an id", request->sandbox_id);
	if (request->n_storages > STORAGE_PER_REQUEST_MAX)
		return err_setx(err, -E2BIG, "%zu storages, at most %u", request->n_storages,
				STORAGE_PER_REQUEST_MAX);
	if (!str_empty(request->guest_hook_path) && !path_is_clean(request->guest_hook_path))
		return err_setx(err, -EINVAL, "guest hook path \"%s\": not an absolute, plain path",
				request->guest_hook_path);
	return 0;
}

static void forget(struct agent_sandbox *sandbox)
{
	give_up_hostname(sandbox);
	free(sandbox->id);
	free(sandbox->guest_hook_path);
	sandbox->id = sandbox->guest_hook_path = NULL;
	strv_fini(&sandbox->dns);
	sandbox->pidns_fd = fd_close(sandbox->pidns_fd);
	pod_user_fini(&sandbox->user);
	sandbox->created = sandbox->destroying = false;
}

RPC(create_sandbox)
{
	const Grpc__CreateSandboxRequest *request = request_;
	struct agent *agent = rpc_agent(call);
	struct agent_sandbox *sandbox = &agent->sandbox;
	int r;

	(void)response_;
	r = check_request(agent, request, err);
	if (r < 0)
		return r;
	/* From here on a second call is refused, also while this one waits. */
	sandbox->created = true;
	sandbox->id = xstrdup(request->sandbox_id);
	sandbox->shared_pidns = request->sandbox_pidns;
	if (!str_empty(request->guest_hook_path))
		sandbox->guest_hook_path = xstrdup(request->guest_hook_path);
	r = fs_mkdir_all(AGENT_STORAGE_DIR, 0755);
	if (r < 0)
		err_set(err, r, "make %s", AGENT_STORAGE_DIR);
	if (r == 0)
		r = set_hostname(agent, request->hostname, err);
	if (r == 0)
		r = set_dns(agent, request->dns, request->n_dns, err);
	if (r == 0)
		r = load_modules(request->kernel_modules, request->n_kernel_modules, err);
	if (r == 0)
		r = storage_add_all(agent, &sandbox->storages, request->storages,
				    request->n_storages, err);
	if (r < 0) {
		forget(sandbox);
		return err_wrap(err, r, "create sandbox");
	}
	log_set_field("sandbox", sandbox->id);
	log_info("sandbox created");
	return 0;
}

/* After the answer has gone out. */
static void power_off(void *arg)
{
	co_sleep(POWER_OFF_DELAY);
	agent_power_off(arg);
}

static int check_destroy(const struct agent *agent, struct err *err)
{
	if (!agent->sandbox.created)
		return err_setx(err, -ENOENT, "there is no sandbox");
	if (agent->sandbox.destroying)
		return err_setx(err, -EBUSY, "sandbox %s is being destroyed", agent->sandbox.id);
	return 0;
}

void sandbox_destroy(struct agent *agent)
{
	_cleanup_err_ struct err failure = {0};

	agent->sandbox.destroying = true;
	if (containers_destroy(agent, &failure) < 0)
		log_warn("destroy sandbox: %s", err_text(&failure));
	err_clear(&failure);
	if (storage_remove_all(agent, &agent->sandbox.storages, &failure) < 0)
		log_warn("destroy sandbox: %s", err_text(&failure));
	log_info("sandbox destroyed");
	forget(&agent->sandbox);
}

/* Takes everything down and always ends with the power off: a guest that cannot stop a process
 * would otherwise stay for ever. */
RPC(destroy_sandbox)
{
	struct agent *agent = rpc_agent(call);
	int r = check_destroy(agent, err);

	(void)request_;
	(void)response_;
	if (r < 0)
		return r;
	sandbox_destroy(agent);
	co_start(agent->loop, power_off, agent);
	return 0;
}

/* --- a guest that goes on without it --- */

/* What somebody holds still, or could not be unmounted, would be the next sandbox's. */
static int check_nothing_left(const struct agent *agent, struct err *err)
{
	if (agent->containers.n)
		return err_setx(err, -EBUSY, "%zu containers are there still", agent->containers.n);
	if (agent->storages.n)
		return err_setx(err, -EBUSY, "%zu storages are mounted still", agent->storages.n);
	if (agent->n_loopback)
		return err_setx(err, -EBUSY, "%zu connections to the loopback are open",
				agent->n_loopback);
	return 0;
}

/* The folders of a sandbox. A mount that nobody knows of would lose what it has. */
static int remove_folders(_unused_ void *arg, void *reply)
{
	static const char *const dirs[] = {AGENT_SANDBOX_DIR, AGENT_SHARED_DIR};
	struct mountinfo *mounts;
	size_t n;
	int r = mountinfo_read(0, &mounts, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		for (size_t k = 0; k < n && r == 0; k++) {
			const char *below = str_skip_prefix(mounts[k].point, dirs[i]);

			if (!below || (*below && *below != '/'))
				continue;
			snprintf(reply, PATH_MAX, "%s", mounts[k].point);
			r = -EBUSY;
		}
	mountinfo_free(mounts, n);
	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r == 0; i++)
		r = fs_remove_all(dirs[i]);
	return r;
}

static int remove_files(const struct agent *agent, struct err *err)
{
	_cleanup_(freep) char *mount = xcalloc(1, PATH_MAX);
	int r = co_run_child(remove_folders, NULL, mount, PATH_MAX, clock_after(RESET_TIME));

	if (r < 0 && *mount)
		return err_setx(err, r, "%s is mounted still", mount);
	if (r < 0)
		return err_set(err, r, "remove " AGENT_SANDBOX_DIR " and " AGENT_SHARED_DIR);
	/* That of a read-only disk is a link to what was removed. */
	if (agent->is_init && agent->sandbox.dns.n && unlink(RESOLV_CONF) < 0 && errno != ENOENT &&
	    errno != EROFS)
		return err_set(err, -errno, "remove " RESOLV_CONF);
	return 0;
}

static int reset(struct agent *agent, struct err *err)
{
	int r = containers_destroy(agent, err);

	if (r == 0)
		r = storage_remove_all(agent, &agent->sandbox.storages, err);
	if (r == 0)
		r = check_nothing_left(agent, err);
	if (r == 0)
		r = remove_files(agent, err);
	/* Shared memory, semaphores and queues, which containers have made in the guest's. */
	if (r == 0 && unshare(CLONE_NEWIPC) < 0)
		r = err_set(err, -errno, "make a new IPC namespace");
	return r;
}

/* One that fails can be tried again. */
RPC(reset_sandbox)
{
	struct agent *agent = rpc_agent(call);
	int r = check_destroy(agent, err);

	(void)request_;
	(void)response_;
	if (r < 0)
		return r;
	agent->sandbox.destroying = true;
	r = reset(agent, err);
	agent->sandbox.destroying = false;
	if (r < 0)
		return err_wrap(err, r, "reset sandbox %s", agent->sandbox.id);
	log_info("sandbox reset");
	log_set_field("sandbox", NULL);
	forget(&agent->sandbox);
	/* It waits for a pod now, and has time for what that may need. */
	device_want_scsi(agent);
	return 0;
}

static int look_at_shares(_unused_ void *arg, _unused_ void *reply)
{
	struct mountinfo *mounts;
	size_t n;
	int r;

	r = mountinfo_read(0, &mounts, &n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct stat st;

		if (str_has_prefix(mounts[i].point, AGENT_SHARED_DIR))
			(void)!stat(mounts[i].point, &st);
	}
	return r;
}

/*
 * Looking at each mount of the share lets virtiofsd forget those whose source is gone and close
 * their descriptors (kata-containers#6455).
 */
RPC(remove_stale_virtiofs_share_mounts)
{
	int r;

	(void)call;
	(void)request_;
	(void)response_;
	r = co_run_child(look_at_shares, NULL, NULL, 0, clock_after(LOOK_TIME));
	return r < 0 ? err_set(err, r, "look at the mounts of the share") : 0;
}

RPC(update_ephemeral_mounts)
{
	const Grpc__UpdateEphemeralMountsRequest *request = request_;

	(void)response_;
	if (request->n_storages > STORAGE_PER_REQUEST_MAX)
		return err_setx(err, -E2BIG, "%zu storages, at most %u", request->n_storages,
				STORAGE_PER_REQUEST_MAX);
	for (size_t i = 0; i < request->n_storages; i++) {
		int r = storage_update(rpc_agent(call), request->storages[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}
