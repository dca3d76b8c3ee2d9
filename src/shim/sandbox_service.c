/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "oci/spec_json.h"
#include "sandbox.pb-c.h"
#include "shim/caller.h"
#include "shim/messages.h"
#include "shim/shim.h"
#include "shim/task_service.h"

/*
 * containerd 2.x's sandbox API: the VM without a container of its own. CreateSandbox keeps what
 * StartSandbox boots with; containers then come through the task service as ever.
 */

#define PING_USEC (5 * USEC_PER_SEC)

/* What CRI looks for in a status (its sandbox store's words). */
#define STATE_READY     "SANDBOX_READY"
#define STATE_NOT_READY "SANDBOX_NOTREADY"

static int check_id(const struct shim *shim, const char *id, struct err *err)
{
	if (streq(id, shim->id))
		return 0;
	return err_setx(err, -ENOENT, "this shim serves sandbox %s, not %s", shim->id, id);
}

/* The bundle's config.json where the client made one, or else a specification with nothing but the
 * annotations. */
static int load_spec(const char *bundle, struct oci_spec **ret, struct err *err)
{
	static const char none[] =
		"{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"args\":[\"/pause\"],"
		"\"user\":{\"uid\":0,\"gid\":0}},\"root\":{\"path\":\"rootfs\"},\"linux\":{}}";
	_cleanup_(freep) char *path = path_join(bundle, "config.json");
	int r = oci_spec_load(path, ret, err);

	if (r != -ENOENT)
		return r;
	err_clear(err);
	return oci_spec_parse(none, sizeof(none) - 1, ret, err);
}

static void add_annotations(struct oci_spec *spec,
			    const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *req)
{
	Grpc__Spec *s = spec->spec;

	for (size_t i = 0; i < req->n_annotations; i++) {
		Grpc__Spec__AnnotationsEntry *entry = oci_spec_new_message(
			spec, &grpc__spec__annotations_entry__descriptor);

		entry->key = oci_spec_strdup(spec, req->annotations[i]->key);
		entry->value = oci_spec_strdup(spec, req->annotations[i]->value);
		oci_spec_append(spec, &s->annotations, &s->n_annotations, entry);
	}
}

static int create_sandbox(struct ttrpc_call *call, const void *request, _unused_ void *response,
			  struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	if (shim->pending_spec || shim->sandbox)
		return err_setx(err, -EEXIST, "sandbox %s exists already", shim->id);
	r = load_spec(req->bundle_path, &spec, err);
	if (r < 0)
		return r;
	add_annotations(spec, req);
	if (req->options)
		shim->pending_config_path = runtime_options_path(
			req->options->type_url, req->options->value.data, req->options->value.len);
	shim->pending_netns = str_empty(req->netns_path) ? NULL : xstrdup(req->netns_path);
	shim->pending_spec = TAKE_PTR(spec);
	shim->by_sandbox_api = true;
	shim_touch(shim);
	return 0;
}

static int start_sandbox(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__StartSandboxRequest *req = request;
	Containerd__Runtime__Sandbox__V1__StartSandboxResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	if (!shim->pending_spec)
		return err_setx(err, -EBUSY, "sandbox %s has not been created", shim->id);
	r = shim_boot(shim,
		      &(struct shim_boot){.spec = shim->pending_spec->spec,
					  .netns = shim->pending_netns,
					  .config_path = shim->pending_config_path,
					  .by_sandbox_api = true},
		      err);
	if (r < 0)
		return r;
	res->pid = (uint32_t)shim_vm_pid(shim);
	res->created_at = message_time(call, clock_realtime());
	return 0;
}

static int platform(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	static const char *const names[][2] = {{"x86_64", "amd64"},    {"aarch64", "arm64"},
					       {"ppc64le", "ppc64le"}, {"s390x", "s390x"},
					       {"riscv64", "riscv64"}, {"i686", "386"}};
	const Containerd__Runtime__Sandbox__V1__PlatformRequest *req = request;
	Containerd__Runtime__Sandbox__V1__PlatformResponse *res = response;
	Containerd__Types__Platform *p = ttrpc_call_alloc(call, sizeof(*p));
	struct utsname host;
	int r = check_id(ttrpc_call_user(call), req->sandbox_id, err);

	if (r < 0)
		return r;
	(void)uname(&host);
	containerd__types__platform__init(p);
	p->os = (char *)"linux";
	p->architecture = ttrpc_call_strdup(call, host.machine);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(host.machine, names[i][0]))
			p->architecture = (char *)names[i][1];
	res->platform = p;
	return 0;
}

static int stop_sandbox(struct ttrpc_call *call, const void *request, _unused_ void *response,
			struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__StopSandboxRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	int r = check_id(shim, req->sandbox_id, err);

	return r < 0 ? r : shim_stop(shim, err);
}

static int wait_sandbox(struct ttrpc_call *call, const void *request, _unused_ void *response,
			struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__WaitSandboxRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	int r = check_id(shim, req->sandbox_id, err);

	return r < 0 ? r : shim_wait(shim, call);
}

static void add_info(struct ttrpc_call *call,
		     Containerd__Runtime__Sandbox__V1__SandboxStatusResponse *res, const char *key,
		     const char *value)
{
	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse__InfoEntry *entry =
		ttrpc_call_alloc(call, sizeof(*entry));

	containerd__runtime__sandbox__v1__sandbox_status_response__info_entry__init(entry);
	entry->key = (char *)key;
	entry->value = ttrpc_call_strdup(call, value);
	res->info[res->n_info++] = entry;
}

static int sandbox_state(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__SandboxStatusRequest *req = request;
	Containerd__Runtime__Sandbox__V1__SandboxStatusResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	struct sandbox_status status = {0};
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	if (shim->sandbox)
		sandbox_status(shim->sandbox, &status);
	res->sandbox_id = ttrpc_call_strdup(call, shim->id);
	res->pid = (uint32_t)status.vm_pid;
	res->state = (char *)(shim_running(shim) ? STATE_READY : STATE_NOT_READY);
	res->created_at = message_time(call, status.started_at);
	res->exited_at = message_time(call, shim->ended_at);
	if (!req->verbose)
		return 0;
	res->info = ttrpc_call_alloc(call, 3 * sizeof(*res->info));
	add_info(call, res, "isolation", status.emulated ? "emulated: no guarantee" : "kvm");
	add_info(call, res, "containers", ttrpc_call_printf(call, "%u", status.n_containers));
	if (status.reason)
		add_info(call, res, "reason", status.reason);
	return 0;
}

static int ping_sandbox(struct ttrpc_call *call, const void *request, _unused_ void *response,
			struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__PingRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	if (!shim_running(shim))
		return err_setx(err, -EBUSY, "sandbox %s does not run", shim->id);
	return sandbox_ping(shim->sandbox, PING_USEC, err);
}

static int shutdown_sandbox(struct ttrpc_call *call, const void *request, _unused_ void *response,
			    struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__ShutdownSandboxRequest *req = request;
	struct shim *shim = ttrpc_call_user(call);
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	r = shim_stop(shim, err);
	shim_end(shim);
	return r;
}

/* What the sandbox costs the host: QEMU and virtiofsd are ours, and so are we. */
static int sandbox_usage(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Containerd__Runtime__Sandbox__V1__SandboxMetricsRequest *req = request;
	Containerd__Runtime__Sandbox__V1__SandboxMetricsResponse *res = response;
	struct shim *shim = ttrpc_call_user(call);
	Containerd__Types__Metric *metric = ttrpc_call_alloc(call, sizeof(*metric));
	int r = check_id(shim, req->sandbox_id, err);

	if (r < 0)
		return r;
	if (!shim_running(shim))
		return err_setx(err, -EBUSY, "sandbox %s does not run", shim->id);
	containerd__types__metric__init(metric);
	metric->timestamp = message_time(call, clock_realtime());
	metric->id = ttrpc_call_strdup(call, shim->id);
	r = message_host_metrics(call, getpid(), &metric->data);
	if (r < 0)
		return err_set(err, r, "read the figures of our processes");
	res->metrics = metric;
	return 0;
}

#define METHOD(name, request, response, fn)                                             \
	{                                                                               \
		name, &containerd__runtime__sandbox__v1__##request##__descriptor,       \
			&containerd__runtime__sandbox__v1__##response##__descriptor, fn \
	}
static const struct ttrpc_method methods[] = {
	METHOD("CreateSandbox", create_sandbox_request, create_sandbox_response, create_sandbox),
	METHOD("StartSandbox", start_sandbox_request, start_sandbox_response, start_sandbox),
	METHOD("Platform", platform_request, platform_response, platform),
	METHOD("StopSandbox", stop_sandbox_request, stop_sandbox_response, stop_sandbox),
	METHOD("WaitSandbox", wait_sandbox_request, wait_sandbox_response, wait_sandbox),
	METHOD("SandboxStatus", sandbox_status_request, sandbox_status_response, sandbox_state),
	METHOD("PingSandbox", ping_request, ping_response, ping_sandbox),
	METHOD("ShutdownSandbox", shutdown_sandbox_request, shutdown_sandbox_response,
	       shutdown_sandbox),
	METHOD("SandboxMetrics", sandbox_metrics_request, sandbox_metrics_response, sandbox_usage),
};

const struct ttrpc_service sandbox_service = {"containerd.runtime.sandbox.v1.Sandbox", methods,
					      ARRAY_SIZE(methods)};
