/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The methods of the agent protocol (proto/agent.proto, proto/health.proto), each declared once and
 * put in the table of server.c. The rpc_*.c files and nothing else see both messages and the
 * agent's own types. Each is a ttrpc_method_fn: it runs in a coroutine and may wait.
 */

#include "agent.pb-c.h"
#include "agent/agent.h"
#include "wire/ttrpc/ttrpc.h"

#define RPC(name)                                                                      \
	int rpc_##name(struct ttrpc_call *call, const void *request_, void *response_, \
		       struct err *err)

static inline struct agent *rpc_agent(const struct ttrpc_call *call)
{
	return ttrpc_call_user(call);
}

/* server.c */
int rpc_unsupported(struct ttrpc_call *call, const void *request, void *response, struct err *err);
/* server_new: agent->server with all of the agent's services. */
int server_new(struct agent *agent, struct err *err);
/* server_serve: give it the endpoint at `address` (agent/channel.h). Waits in a coroutine. */
int server_serve(struct agent *agent, const char *address, uint64_t deadline, struct err *err);

/* rpc_container.c, rpc_stats.c */
RPC(create_container);
RPC(start_container);
RPC(remove_container);
RPC(update_container);
RPC(stats_container);
RPC(pause_container);
RPC(resume_container);
/* rpc_process.c */
RPC(exec_process);
RPC(signal_process);
RPC(wait_process);
RPC(tty_win_resize);
/* rpc_stream.c */
RPC(write_stdin);
RPC(read_stdout);
RPC(read_stderr);
RPC(close_stdin);
/* oom.c */
RPC(get_oom_event);

/* rpc_network.c */
RPC(update_interface);
RPC(update_routes);
RPC(list_interfaces);
RPC(list_routes);
RPC(add_arp_neighbors);
RPC(get_ip_tables);
RPC(set_ip_tables);
/* rpc_loopback.c */
RPC(dial_loopback);
RPC(read_loopback);
RPC(write_loopback);
RPC(close_loopback);
/* rpc_sandbox.c */
RPC(create_sandbox);
RPC(destroy_sandbox);
RPC(reset_sandbox);
RPC(update_ephemeral_mounts);
RPC(remove_stale_virtiofs_share_mounts);
/* rpc_guest.c */
RPC(online_cpu_mem);
RPC(reseed_random_dev);
RPC(get_guest_details);
RPC(mem_hotplug_by_probe);
RPC(set_guest_date_time);
RPC(get_diagnostic_data);
RPC(get_metrics);
/* rpc_file.c */
RPC(copy_file);
/* rpc_live_volume.c */
RPC(update_live_volume);
RPC(remove_live_volume);
RPC(read_copied_file);
/* rpc_template.c */
RPC(prepare_template);
/* rpc_volume.c */
RPC(add_swap);
RPC(add_swap_path);
RPC(get_volume_stats);
RPC(resize_volume);
/* server.c */
RPC(health_check);
RPC(health_version);

/*
 * containers_destroy (container.c): kill everything in every container, reap, unmount, forget. Used
 * by DestroySandbox; runs in a coroutine.
 */
int containers_destroy(struct agent *agent, struct err *err);
/*
 * sandbox_destroy (rpc_sandbox.c): the containers, then what the sandbox itself holds; nothing new
 * is made from here on. What goes wrong is logged. Runs in a coroutine.
 */
void sandbox_destroy(struct agent *agent);
