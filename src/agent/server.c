/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/channel.h"
#include "agent/rpc.h"
#include "base/fd.h"
#include "base/log.h"
#include "health.pb-c.h"
#include "wire/serial.h"

/*
 * How it works: the names, requests and responses of the methods come from the .proto files; this
 * table gives each name its function. A method of the protocol that is missing here, or new in it,
 * answers UNIMPLEMENTED with its name.
 */

#define METHODS_MAX 64U

struct row {
	const char *name;
	ttrpc_method_fn fn;
};

/* The order of agent.proto. */
static const struct row agent_rows[] = {
	/* execution */
	{"CreateContainer", rpc_create_container},
	{"StartContainer", rpc_start_container},
	{"RemoveContainer", rpc_remove_container},
	{"ExecProcess", rpc_exec_process},
	{"SignalProcess", rpc_signal_process},
	{"WaitProcess", rpc_wait_process},
	{"UpdateContainer", rpc_update_container},
	{"UpdateEphemeralMounts", rpc_update_ephemeral_mounts},
	{"StatsContainer", rpc_stats_container},
	{"PauseContainer", rpc_pause_container},
	{"ResumeContainer", rpc_resume_container},
	{"RemoveStaleVirtiofsShareMounts", rpc_remove_stale_virtiofs_share_mounts},
	{"GetDiagnosticData", rpc_get_diagnostic_data},
	/* stdio */
	{"WriteStdin", rpc_write_stdin},
	{"ReadStdout", rpc_read_stdout},
	{"ReadStderr", rpc_read_stderr},
	{"CloseStdin", rpc_close_stdin},
	{"TtyWinResize", rpc_tty_win_resize},
	/* networking */
	{"UpdateInterface", rpc_update_interface},
	{"UpdateRoutes", rpc_update_routes},
	{"ListInterfaces", rpc_list_interfaces},
	{"ListRoutes", rpc_list_routes},
	{"AddARPNeighbors", rpc_add_arp_neighbors},
	{"GetIPTables", rpc_get_ip_tables},
	{"SetIPTables", rpc_set_ip_tables},
	/* observability */
	{"GetMetrics", rpc_get_metrics},
	{"GetOOMEvent", rpc_get_oom_event},
	/* sandbox and guest */
	{"CreateSandbox", rpc_create_sandbox},
	{"DestroySandbox", rpc_destroy_sandbox},
	{"OnlineCPUMem", rpc_online_cpu_mem},
	{"ReseedRandomDev", rpc_reseed_random_dev},
	{"GetGuestDetails", rpc_get_guest_details},
	{"MemHotplugByProbe", rpc_mem_hotplug_by_probe},
	{"SetGuestDateTime", rpc_set_guest_date_time},
	{"CopyFile", rpc_copy_file},
	{"AddSwap", rpc_add_swap},
	{"AddSwapPath", rpc_add_swap_path},
	{"GetVolumeStats", rpc_get_volume_stats},
	{"ResizeVolume", rpc_resize_volume},
	/* of our own */
	{"DialLoopback", rpc_dial_loopback},
	{"ReadLoopback", rpc_read_loopback},
	{"WriteLoopback", rpc_write_loopback},
	{"CloseLoopback", rpc_close_loopback},
	{"UpdateLiveVolume", rpc_update_live_volume},
	{"RemoveLiveVolume", rpc_remove_live_volume},
	{"ReadCopiedFile", rpc_read_copied_file},
	{"PrepareTemplate", rpc_prepare_template},
	{"ResetSandbox", rpc_reset_sandbox},
	/*
	 * Not here: SetPolicy (no policy engine), MemAgentMemcgSet and MemAgentCompactSet (no
	 * memory agent; no runtime calls them).
	 */
};

static const struct row health_rows[] = {
	{"Check", rpc_health_check},
	{"Version", rpc_health_version},
};

int rpc_unsupported(struct ttrpc_call *call, _unused_ const void *request, _unused_ void *response,
		    struct err *err)
{
	return err_setx(err, -ENOSYS, "%s is not supported by this agent", ttrpc_call_method(call));
}

RPC(health_check)
{
	Grpc__HealthCheckResponse *response = response_;

	(void)call;
	(void)request_;
	(void)err;
	response->status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return 0;
}

RPC(health_version)
{
	Grpc__VersionCheckResponse *response = response_;

	(void)call;
	(void)request_;
	(void)err;
	response->grpc_version = (char *)"0.0.1";
	response->agent_version = (char *)KATA_VERSION;
	return 0;
}

static ttrpc_method_fn find(const struct row *rows, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (streq(rows[i].name, name))
			return rows[i].fn;
	return rpc_unsupported;
}

static int add_service(struct ttrpc_server *server, const ProtobufCServiceDescriptor *descriptor,
		       const struct row *rows, size_t n_rows, struct ttrpc_method *methods,
		       struct ttrpc_service *service, struct err *err)
{
	if (descriptor->n_methods > METHODS_MAX)
		return err_setx(err, -E2BIG, "service %s has %u methods", descriptor->name,
				descriptor->n_methods);
	for (unsigned int i = 0; i < descriptor->n_methods; i++) {
		const ProtobufCMethodDescriptor *method = &descriptor->methods[i];

		methods[i] = (struct ttrpc_method){
			.name = method->name,
			.input = method->input,
			.output = method->output,
			.fn = find(rows, n_rows, method->name),
		};
	}
	*service = (struct ttrpc_service){
		.name = descriptor->name, .methods = methods, .n_methods = descriptor->n_methods};
	ttrpc_server_add(server, service);
	return 0;
}

static void observe(void *user, _unused_ const char *service, const char *method, int code,
		    uint64_t usec)
{
	struct agent *agent = user;

	if (code == TTRPC_OK) {
		log_debug("%s took %llu us", method, (unsigned long long)usec);
		return;
	}
	agent->rpc_errors++;
	log_warn("%s failed with code %d after %llu us", method, code, (unsigned long long)usec);
}

int server_new(struct agent *agent, struct err *err)
{
	static struct ttrpc_method agent_methods[METHODS_MAX], health_methods[METHODS_MAX];
	static struct ttrpc_service agent_service, health_service;
	int r;

	r = ttrpc_server_new(agent->loop, agent, &agent->server);
	if (r < 0)
		return err_set(err, r, "make the RPC server");
	r = add_service(agent->server, &grpc__agent_service__descriptor, agent_rows,
			ARRAY_SIZE(agent_rows), agent_methods, &agent_service, err);
	if (r == 0)
		r = add_service(agent->server, &grpc__health__descriptor, health_rows,
				ARRAY_SIZE(health_rows), health_methods, &health_service, err);
	if (r == 0)
		ttrpc_server_observe(agent->server, observe);
	return r;
}

/* --- endpoints --- */

struct serial_line {
	struct agent *agent;
	int fd;
};

/* A serial line has one session after the other; the line itself is never closed. */
static void serve_serial(void *arg)
{
	struct serial_line *line = arg;

	for (;;) {
		int r, fd;

		r = serial_accept(line->fd, USEC_NEVER);
		if (r < 0)
			agent_die("the line to the host failed: %s", strerror(-r));
		fd = fd_dup(line->fd);
		if (fd < 0)
			agent_die("duplicate the line to the host: %s", strerror(-fd));
		log_debug("the host begins a session");
		ttrpc_server_serve(line->agent->server, fd);
		log_debug("the session has ended");
	}
}

int server_serve(struct agent *agent, const char *address, uint64_t deadline, struct err *err)
{
	struct serial_line *line;
	enum channel_kind kind;
	int r, fd;

	r = channel_open(agent, address, deadline, &kind, &fd, err);
	if (r < 0)
		return r;
	if (kind == CHANNEL_LISTEN) {
		/* As an ordinary process it has no containers behind the same address. */
		ttrpc_server_admit(agent->server, agent->is_init ? channel_from_host : NULL);
		r = ttrpc_server_listen(agent->server, fd);
		return r < 0 ? err_set(err, r, "serve %s", address) : 0;
	}
	line = xnew(struct serial_line);
	*line = (struct serial_line){agent, fd};
	co_start(agent->loop, serve_serial, line);
	return 0;
}
