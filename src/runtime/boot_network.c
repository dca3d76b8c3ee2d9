/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "runtime/boot.h"
#include "runtime/port_forward.h"

/* A document without a network namespace asks for the host's. */
static bool wants_host_network(const Grpc__Spec *spec)
{
	if (!spec || !spec->linux)
		return false;
	for (size_t i = 0; i < spec->linux->n_namespaces; i++)
		if (streq(spec->linux->namespaces[i]->type, "network"))
			return false;
	return true;
}

int boot_open_network(void *context, struct err *err)
{
	struct sandbox *s = context;
	const struct config_runtime *config = &s->config->runtime;
	int r;

	if (streq(config->internetworking_model, "none"))
		return 0;
	if (str_empty(s->netns) && wants_host_network(s->spec))
		return network_refuse_host(err);
	r = network_plan(&s->network, s->netns, s->deadline, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < s->network.n_endpoints; i++)
		strv_add(&s->disk.endpoints, s->network.endpoints[i].name);
	/* A namespace may outlive us: a redirect that nobody knew of would swallow its traffic. */
	r = persist_save(&s->disk, err);
	return r < 0 ? r : network_join(&s->network, s->netns, s->deadline, err);
}

int boot_attach_network(void *context, struct err *err)
{
	struct sandbox *s = context;

	return network_attach(&s->network, s->vm, !s->config->hypervisor.disable_vhost_net, err);
}

void boot_close_network(void *context)
{
	struct sandbox *s = context;

	network_close(&s->network, s->disk.netns, &s->disk.endpoints);
	strv_fini(&s->disk.endpoints);
}

int boot_tell_network(void *context, struct err *err)
{
	struct sandbox *s = context;

	return network_tell_guest(&s->network, s->agent, clock_after(s->patience), err);
}

static void log_refused(const char *why)
{
	log_warn("connections to the pod's loopback (kubectl port-forward) are refused: %s", why);
}

/* It fails without loss where the host cannot do it: who dials is told, by a refusal. */
int boot_open_port_forward(void *context, _unused_ struct err *err)
{
	struct sandbox *s = context;
	_cleanup_err_ struct err why = {0};

	if (str_empty(s->netns) || streq(s->config->runtime.internetworking_model, "none"))
		return 0;
	if (port_forward_open(s->netns, s->deadline, &s->port_forward, &why) < 0)
		log_refused(err_text(&why));
	return 0;
}

int boot_start_port_forward(void *context, struct err *err)
{
	struct sandbox *s = context;

	if (!s->port_forward)
		return 0;
	if (agent_has(s->agent, PORT_FORWARD_FEATURE))
		return port_forward_start(s->port_forward, s->loop, s->agent, err);
	log_refused("the agent has no feature " PORT_FORWARD_FEATURE);
	boot_close_port_forward(s);
	return 0;
}

void boot_close_port_forward(void *context)
{
	struct sandbox *s = context;

	port_forward_free(TAKE_PTR(s->port_forward));
}
