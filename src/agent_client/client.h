/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent as the runtime sees it: one function per call of proto/agent.proto (Kata's agent
 * protocol). All of them wait, in a coroutine, and return 0 or -errno with the agent's own words in
 * err. What the agent sends is hostile: it is bounded by ttRPC's limits, and checked by whoever
 * uses it. Its text alone is made harmless here, all of it: every string is UTF-8 without control
 * characters (base/utf8.h), and an error one line of AGENT_ERROR_MAX bytes at most.
 *
 * A client outlives its connection: after agent_close(), or when the peer has gone, every call
 * (those under way too) answers -ESHUTDOWN with the reason. It is freed when nobody is in a call.
 */

#include "agent.pb-c.h"
#include "base/err.h"
#include "base/str.h"
#include "health.pb-c.h"
#include "loop/loop.h"

#define AGENT_ERROR_MAX 4096U

struct agent_client;

/* Called once, from the loop, when the connection ends by itself. */
typedef void (*agent_closed_fn)(void *arg, const char *reason);

/* agent_open: speak over a connected stream (see dial.h), which becomes the client's. */
int agent_open(struct loop *loop, int fd, agent_closed_fn closed, void *arg,
	       struct agent_client **ret, struct err *err);
/* agent_close: end the connection for a reason of our own; `closed` is not called. */
void agent_close(struct agent_client *agent, const char *reason);
bool agent_connected(const struct agent_client *agent);
/* agent_reason: why it is not connected, NULL while it is; lives as long as the client. */
const char *agent_reason(const struct agent_client *agent);
/* agent_free: closes; may be called while calls are under way, they end first. NULL is fine. */
void agent_free(struct agent_client *agent);
DEFINE_CLEANUP(struct agent_client *, agent_free)

/* agent_learn: ask GetGuestDetails for version and features. agent_has: is this
 * "kata-c.<name>" among them? false before agent_learn(). */
int agent_learn(struct agent_client *agent, uint64_t deadline, struct err *err);
bool agent_has(const struct agent_client *agent, const char *feature);
const char *agent_version(const struct agent_client *agent);
/* agent_memory_block: bytes of a block of hot-plugged memory in the guest, 0: unknown. */
uint64_t agent_memory_block(const struct agent_client *agent);

/* --- calls that answer nothing; `deadline` is a monotonic instant --- */

#define AGENT_CALLS(CALL)                                                                  \
	CALL(create_sandbox, CreateSandbox, CreateSandboxRequest)                          \
	CALL(destroy_sandbox, DestroySandbox, DestroySandboxRequest)                       \
	CALL(create_container, CreateContainer, CreateContainerRequest)                    \
	CALL(start_container, StartContainer, StartContainerRequest)                       \
	CALL(remove_container, RemoveContainer, RemoveContainerRequest)                    \
	CALL(exec_process, ExecProcess, ExecProcessRequest)                                \
	CALL(signal_process, SignalProcess, SignalProcessRequest)                          \
	CALL(update_container, UpdateContainer, UpdateContainerRequest)                    \
	CALL(pause_container, PauseContainer, PauseContainerRequest)                       \
	CALL(resume_container, ResumeContainer, ResumeContainerRequest)                    \
	CALL(close_stdin, CloseStdin, CloseStdinRequest)                                   \
	CALL(resize_tty, TtyWinResize, TtyWinResizeRequest)                                \
	CALL(add_neighbors, AddARPNeighbors, AddARPNeighborsRequest)                       \
	CALL(online_cpu_mem, OnlineCPUMem, OnlineCPUMemRequest)                            \
	CALL(reseed_random, ReseedRandomDev, ReseedRandomDevRequest)                       \
	CALL(set_date_time, SetGuestDateTime, SetGuestDateTimeRequest)                     \
	CALL(copy_file, CopyFile, CopyFileRequest)                                         \
	CALL(dial_loopback, DialLoopback, DialLoopbackRequest)                             \
	CALL(close_loopback, CloseLoopback, CloseLoopbackRequest)                          \
	CALL(update_ephemeral_mounts, UpdateEphemeralMounts, UpdateEphemeralMountsRequest) \
	CALL(update_live_volume, UpdateLiveVolume, UpdateLiveVolumeRequest)                \
	CALL(remove_live_volume, RemoveLiveVolume, RemoveLiveVolumeRequest)                \
	CALL(prepare_template, PrepareTemplate, PrepareTemplateRequest)                    \
	CALL(reset_sandbox, ResetSandbox, ResetSandboxRequest)

#define AGENT_DECLARE_CALL(name, method, type)                                    \
	int agent_##name(struct agent_client *agent, const Grpc__##type *request, \
			 uint64_t deadline, struct err *err);
AGENT_CALLS(AGENT_DECLARE_CALL)

/* --- calls with an answer; free *ret with protobuf_c_message_free_unpacked(&(*ret)->base, NULL)
 * --- */

#define AGENT_QUERIES(QUERY)                                                                       \
	QUERY(wait_process, WaitProcess, WaitProcessRequest, Grpc__WaitProcessResponse,            \
	      grpc__wait_process_response__descriptor)                                             \
	QUERY(write_stdin, WriteStdin, WriteStreamRequest, Grpc__WriteStreamResponse,              \
	      grpc__write_stream_response__descriptor)                                             \
	QUERY(read_stdout, ReadStdout, ReadStreamRequest, Grpc__ReadStreamResponse,                \
	      grpc__read_stream_response__descriptor)                                              \
	QUERY(read_stderr, ReadStderr, ReadStreamRequest, Grpc__ReadStreamResponse,                \
	      grpc__read_stream_response__descriptor)                                              \
	QUERY(read_loopback, ReadLoopback, ReadLoopbackRequest, Grpc__ReadStreamResponse,          \
	      grpc__read_stream_response__descriptor)                                              \
	QUERY(write_loopback, WriteLoopback, WriteLoopbackRequest, Grpc__WriteStreamResponse,      \
	      grpc__write_stream_response__descriptor)                                             \
	QUERY(read_copied_file, ReadCopiedFile, ReadCopiedFileRequest,                             \
	      Grpc__ReadCopiedFileResponse, grpc__read_copied_file_response__descriptor)           \
	QUERY(stats_container, StatsContainer, StatsContainerRequest,                              \
	      Grpc__StatsContainerResponse, grpc__stats_container_response__descriptor)            \
	QUERY(update_interface, UpdateInterface, UpdateInterfaceRequest, Types__Interface,         \
	      types__interface__descriptor)                                                        \
	QUERY(update_routes, UpdateRoutes, UpdateRoutesRequest, Grpc__Routes,                      \
	      grpc__routes__descriptor)                                                            \
	QUERY(list_interfaces, ListInterfaces, ListInterfacesRequest, Grpc__Interfaces,            \
	      grpc__interfaces__descriptor)                                                        \
	QUERY(list_routes, ListRoutes, ListRoutesRequest, Grpc__Routes, grpc__routes__descriptor)  \
	QUERY(get_metrics, GetMetrics, GetMetricsRequest, Grpc__Metrics,                           \
	      grpc__metrics__descriptor)                                                           \
	QUERY(get_oom_event, GetOOMEvent, GetOOMEventRequest, Grpc__OOMEvent,                      \
	      grpc__oomevent__descriptor)                                                          \
	QUERY(get_guest_details, GetGuestDetails, GuestDetailsRequest, Grpc__GuestDetailsResponse, \
	      grpc__guest_details_response__descriptor)                                            \
	QUERY(get_volume_stats, GetVolumeStats, VolumeStatsRequest, Grpc__VolumeStatsResponse,     \
	      grpc__volume_stats_response__descriptor)

#define AGENT_DECLARE_QUERY(name, method, type, answer, descriptor)               \
	int agent_##name(struct agent_client *agent, const Grpc__##type *request, \
			 uint64_t deadline, answer **ret, struct err *err);
AGENT_QUERIES(AGENT_DECLARE_QUERY)

/* agent_check: Health.Check; 0 when it serves. */
int agent_check(struct agent_client *agent, uint64_t deadline, struct err *err);
