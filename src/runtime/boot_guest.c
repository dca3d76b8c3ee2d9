/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/fs.h"
#include "runtime/boot.h"
#include "runtime/volume.h"

#define DNS_MAX            65536
#define DNS_LINES_MAX      64
#define KERNEL_MODULES_MAX 64
#define SHM_DEFAULT        (64ULL << 20)

/* --- the sandbox in the guest --- */

/* The pod's resolv.conf, for the guest itself. */
static void read_dns(const Grpc__Spec *spec, struct strv *ret)
{
	for (size_t i = 0; spec && i < spec->n_mounts; i++) {
		_cleanup_(freep) char *text = NULL;

		if (!streq(spec->mounts[i]->destination, "/etc/resolv.conf") ||
		    fs_read(spec->mounts[i]->source, DNS_MAX, &text, NULL) < 0)
			continue;
		strv_split(ret, text, "\n");
		return;
	}
}

static bool shares_pids(const Grpc__Spec *spec)
{
	for (size_t i = 0; spec && spec->linux && i < spec->linux->n_namespaces; i++)
		if (streq(spec->linux->namespaces[i]->type, "pid") &&
		    !str_empty(spec->linux->namespaces[i]->path))
			return true;
	return false;
}

/* "name option=value …" of the configuration. */
static void fill_module(Grpc__KernelModule *module, const char *text, struct strv *words)
{
	grpc__kernel_module__init(module);
	strv_split(words, text, " ");
	if (!words->n)
		return;
	module->name = words->v[0];
	module->n_parameters = words->n - 1;
	module->parameters = words->v + 1;
}

struct modules {
	Grpc__KernelModule items[KERNEL_MODULES_MAX], *list[KERNEL_MODULES_MAX];
	struct strv words[KERNEL_MODULES_MAX];
	size_t n;
};

static void modules_free(struct modules *m)
{
	for (size_t i = 0; i < m->n; i++)
		strv_fini(&m->words[i]);
	free(m);
}
DEFINE_CLEANUP(struct modules *, modules_free)

static int fill_modules(const struct config *config, Grpc__CreateSandboxRequest *request,
			struct modules *m, struct err *err)
{
	const struct strv *names = &config->agent.kernel_modules;

	if (names->n > KERNEL_MODULES_MAX)
		return err_setx(err, -E2BIG, "kernel_modules: more than %d", KERNEL_MODULES_MAX);
	for (size_t i = 0; i < names->n; i++) {
		fill_module(&m->items[i], names->v[i], &m->words[i]);
		m->list[m->n++] = &m->items[i];
	}
	request->n_kernel_modules = m->n;
	request->kernel_modules = m->list;
	return 0;
}

/* As large as the host's, but not larger than the memory that the VM may ever have. */
static uint64_t shm_size(const struct sandbox *s)
{
	uint64_t size = volumes_shm_size(s->spec, clock_after(BOOT_GUEST_TIMEOUT));
	uint64_t most = MAX(s->memory_mib, s->config->hypervisor.default_maxmemory) << 20;

	return size ? MIN(size, most) : SHM_DEFAULT;
}

int boot_create_in_guest(void *context, struct err *err)
{
	struct sandbox *s = context;
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage shared[_SHARE_MAX], *storages[1 + _SHARE_MAX];
	Grpc__Storage *shm = volume_shm_storage(shm_size(s));
	_cleanup_(modules_freep) struct modules *modules = xnew(struct modules);
	_cleanup_(strv_fini) struct strv dns = {0};
	char hostname[HOST_NAME_MAX + 1] = "";
	size_t n = boot_share_storages(s, shared);
	int r;

	read_dns(s->spec, &dns);
	storages[request.n_storages++] = shm;
	for (size_t i = 0; i < n; i++)
		storages[request.n_storages++] = &shared[i];
	request.storages = storages;
	request.sandbox_id = s->id;
	/* Without a name of its own a container shows its host's, as under runc. */
	if (s->spec && !str_empty(s->spec->hostname))
		request.hostname = s->spec->hostname;
	else if (gethostname(hostname, sizeof(hostname) - 1) == 0)
		request.hostname = hostname;
	request.n_dns = MIN(dns.n, (size_t)DNS_LINES_MAX);
	request.dns = dns.v;
	request.sandbox_pidns = shares_pids(s->spec);
	request.guest_hook_path = s->config->hypervisor.guest_hook_path;
	r = fill_modules(s->config, &request, modules, err);
	if (r >= 0)
		r = agent_create_sandbox(s->agent, &request, clock_after(s->patience), err);
	grpc__storage__free_unpacked(shm, NULL);
	return r;
}
