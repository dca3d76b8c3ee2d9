/* SPDX-License-Identifier: Apache-2.0 */
#include "fakes/fake_agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/map.h"
#include "google/protobuf/empty.pb-c.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "wire/serial.h"
#include "wire/ttrpc/ttrpc.h"

static unsigned int n_alive;

struct fake_process {
	struct buf output, input;
	bool ended;
	int32_t status;
	struct co_cond changed;
};

struct fake_agent {
	struct loop *loop;
	struct ttrpc_server *server;
	int fd;
	bool serial, stopped;
	enum fake_mood mood;
	struct map processes; /* by exec id */
	struct map volumes;   /* live ones, by name: char *, as fake_agent_volume() gives it */
	struct buf log, last;
	char *sandbox; /* fake_agent_sandbox() */
	char *fail_method, *fail_text, *slow_method;
	int fail;
	uint64_t delay;
	unsigned int n_users; /* the owner and parked methods */
};

static void leave(struct fake_agent *agent);

/* Until the host begins a session. One that never does has closed its end, which is no end for a
 * port: then it is noticed between two attempts. */
static int accept_session(struct fake_agent *agent)
{
	int r;

	do
		r = serial_accept(agent->fd, clock_after(USEC_PER_SEC));
	while (r == -ETIMEDOUT && !agent->stopped);
	return r;
}

static void begin(void *arg)
{
	static const char garbage[] = "HTTP/1.1 400 Bad Request\r\n\r\n and so on and on and on";
	static const char absurd[] = {(char)0xff, (char)0xff, (char)0xff, (char)0xff, 0,
				      0,          0,          1,          2,          0};
	struct fake_agent *agent = arg;
	bool heard = !agent->serial || accept_session(agent) == 0;

	if (heard && !agent->stopped) {
		if (agent->mood == FAKE_GARBAGE)
			fd_write_all(agent->fd, garbage, sizeof(garbage));
		else if (agent->mood == FAKE_ABSURD)
			fd_write_all(agent->fd, absurd, sizeof(absurd));
		else if (agent->mood != FAKE_MUTE)
			ttrpc_server_attach(agent->server, TAKE_FD(agent->fd));
	}
	leave(agent);
}

static struct fake_process *process_of(struct fake_agent *agent, const char *exec_id)
{
	struct fake_process *p = map_get(&agent->processes, exec_id);

	if (!p) {
		p = xnew(struct fake_process);
		co_cond_init(&p->changed);
		map_put(&agent->processes, exec_id, p);
	}
	return p;
}

/* Every method calls this; the agent may be gone afterwards. */
static int note(struct ttrpc_call *call, struct err *err)
{
	struct fake_agent *agent = ttrpc_call_user(call);
	int r = 0;

	buf_addf(&agent->log, "%s%s", agent->log.len ? " " : "", ttrpc_call_method(call));
	if (agent->fail && streq(agent->fail_method, ttrpc_call_method(call)))
		r = err_setx(err, agent->fail, "%s", agent->fail_text);
	agent->n_users++;
	if (streq(agent->slow_method, ttrpc_call_method(call)))
		co_sleep(agent->delay);
	while (agent->mood == FAKE_FROZEN && !agent->stopped)
		co_sleep(20 * USEC_PER_MSEC);
	leave(agent);
	return r;
}

static int plain(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	(void)request;
	(void)response;
	return note(call, err);
}

/* The options of the storages, for the test to compare. */
static int create_sandbox(struct ttrpc_call *call, const void *request, void *response,
			  struct err *err)
{
	const Grpc__CreateSandboxRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	for (size_t i = 0; i < r->n_storages; i++)
		for (size_t k = 0; k < r->storages[i]->n_options; k++)
			buf_addf(&agent->log, " %s:%s", r->storages[i]->source,
				 r->storages[i]->options[k]);
	free(agent->sandbox);
	agent->sandbox = xasprintf("%s %s", r->sandbox_id, r->hostname);
	return note(call, err);
}

static int create_container(struct ttrpc_call *call, const void *request, void *response,
			    struct err *err)
{
	const Grpc__CreateContainerRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	agent->last.len = 0;
	buf_reserve(&agent->last, grpc__create_container_request__get_packed_size(r));
	agent->last.len = grpc__create_container_request__pack(r, (uint8_t *)agent->last.data);
	process_of(agent, r->container_id)->ended = false;
	return note(call, err);
}

/* See fake_agent.h. */
static void end_if_short(struct fake_agent *agent, const char *container_id, const char *exec_id)
{
	if (str_has_prefix(container_id, "warm-up") && agent->mood != FAKE_STUCK)
		fake_agent_exit(agent, exec_id, agent->mood == FAKE_FAILING);
}

static int start_container(struct ttrpc_call *call, const void *request, void *response,
			   struct err *err)
{
	const Grpc__StartContainerRequest *r = request;

	(void)response;
	end_if_short(ttrpc_call_user(call), r->container_id, r->container_id);
	return note(call, err);
}

static int exec_process(struct ttrpc_call *call, const void *request, void *response,
			struct err *err)
{
	const Grpc__ExecProcessRequest *r = request;

	(void)response;
	end_if_short(ttrpc_call_user(call), r->container_id, r->exec_id);
	return note(call, err);
}

static int signal_process(struct ttrpc_call *call, const void *request, void *response,
			  struct err *err)
{
	const Grpc__SignalProcessRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	/* One that fails is not sent. */
	if (agent->fail && streq(agent->fail_method, "SignalProcess"))
		return note(call, err);
	if (r->signal == 9 && agent->mood != FAKE_STUCK && agent->mood != FAKE_FROZEN)
		fake_agent_exit(agent, *r->exec_id ? r->exec_id : r->container_id, 137);
	return note(call, err);
}

static int wait_process(struct ttrpc_call *call, const void *request, void *response,
			struct err *err)
{
	const Grpc__WaitProcessRequest *r = request;
	Grpc__WaitProcessResponse *answer = response;
	struct fake_agent *agent = ttrpc_call_user(call);
	struct fake_process *p = process_of(agent, r->exec_id);
	int n;

	agent->n_users++;
	n = note(call, err);
	while (!p->ended && !agent->stopped)
		co_cond_wait(&p->changed, clock_after(100 * USEC_PER_MSEC));
	answer->status = agent->mood == FAKE_LIAR ? -77 : p->status;
	leave(agent);
	return n;
}

/* The network as it was told, for the test to compare. */
static int update_interface(struct ttrpc_call *call, const void *request, void *response,
			    struct err *err)
{
	const Grpc__UpdateInterfaceRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	buf_addf(&agent->log, " if:%s,%s,%llu", r->interface->name, r->interface->devicepath,
		 (unsigned long long)r->interface->mtu);
	for (size_t i = 0; i < r->interface->n_ipaddresses; i++)
		buf_addf(&agent->log, ",%s/%s", r->interface->ipaddresses[i]->address,
			 r->interface->ipaddresses[i]->mask);
	return note(call, err);
}

static int update_routes(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Grpc__UpdateRoutesRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	for (size_t i = 0; i < r->routes->n_routes; i++)
		buf_addf(&agent->log, " route:%s,%s,%s", r->routes->routes[i]->dest,
			 r->routes->routes[i]->gateway, r->routes->routes[i]->device);
	return note(call, err);
}

static int add_neighbors(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Grpc__AddARPNeighborsRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	for (size_t i = 0; i < r->neighbors->n_arpneighbors; i++)
		buf_addf(&agent->log, " neigh:%s,%s,%s",
			 r->neighbors->arpneighbors[i]->toipaddress->address,
			 r->neighbors->arpneighbors[i]->lladdr,
			 r->neighbors->arpneighbors[i]->device);
	return note(call, err);
}

static int read_output(struct ttrpc_call *call, const char *exec_id, size_t n,
		       Grpc__ReadStreamResponse *answer, struct err *err)
{
	struct fake_agent *agent = ttrpc_call_user(call);
	struct fake_process *p = process_of(agent, exec_id);
	int r_note;

	agent->n_users++;
	while (!p->output.len && !p->ended && !agent->stopped)
		co_cond_wait(&p->changed, clock_after(100 * USEC_PER_MSEC));
	n = agent->mood == FAKE_LIAR ? 2 * n : MIN(n, p->output.len);
	answer->data.len = n;
	answer->data.data = ttrpc_call_alloc(call, n + 1);
	if (n && n <= p->output.len) {
		memcpy(answer->data.data, p->output.data, n);
		buf_consume(&p->output, n);
	}
	r_note = note(call, err);
	leave(agent);
	return r_note;
}

static int read_stream(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err)
{
	const Grpc__ReadStreamRequest *r = request;

	return read_output(call, r->exec_id, r->len, response, err);
}

static int write_stream(struct ttrpc_call *call, const void *request, void *response,
			struct err *err)
{
	const Grpc__WriteStreamRequest *r = request;
	Grpc__WriteStreamResponse *answer = response;
	struct fake_agent *agent = ttrpc_call_user(call);
	/* Half of it, as a full pipe would do. */
	size_t n = (r->data.len + 1) / 2;

	buf_add(&process_of(agent, r->exec_id)->input, r->data.data, n);
	answer->len = agent->mood == FAKE_LIAR ? UINT32_MAX : (uint32_t)n;
	return note(call, err);
}

/* A connection is a process "loopback-ID", which ends when it is closed. */
static const char *loopback_name(uint32_t id)
{
	static char name[32];

	snprintf(name, sizeof(name), "loopback-%u", id);
	return name;
}

static int dial_loopback(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Grpc__DialLoopbackRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);
	char address[INET6_ADDRSTRLEN] = "?";

	(void)response;
	inet_ntop(r->address.len == 4 ? AF_INET : AF_INET6, r->address.data, address,
		  sizeof(address));
	buf_addf(&agent->log, " dial:%u,%s,%u", r->id, address, r->port);
	process_of(agent, loopback_name(r->id));
	return note(call, err);
}

static int read_loopback(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	const Grpc__ReadLoopbackRequest *r = request;

	return read_output(call, loopback_name(r->id), r->len, response, err);
}

static int write_loopback(struct ttrpc_call *call, const void *request, void *response,
			  struct err *err)
{
	const Grpc__WriteLoopbackRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	buf_add(&process_of(agent, loopback_name(r->id))->input, r->data.data, r->data.len);
	if (!r->data.len)
		buf_addf(&agent->log, " end:%u", r->id);
	((Grpc__WriteStreamResponse *)response)->len = (uint32_t)r->data.len +
						       (agent->mood == FAKE_LIAR);
	return note(call, err);
}

static int close_loopback(struct ttrpc_call *call, const void *request, void *response,
			  struct err *err)
{
	const Grpc__CloseLoopbackRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	buf_addf(&agent->log, " close:%u", r->id);
	fake_agent_exit(agent, loopback_name(r->id), 0);
	return note(call, err);
}

static int guest_details(struct ttrpc_call *call, const void *request, void *response,
			 struct err *err)
{
	static Grpc__AgentDetails details = GRPC__AGENT_DETAILS__INIT;
	static char *features[] = {(char *)"kata-c.seccomp-bpf",  (char *)"kata-c.loopback",
				   (char *)"kata-c.live-volumes", (char *)"kata-c.template",
				   (char *)"kata-c.spare",        (char *)"kata-c.copied-files"};
	struct fake_agent *agent = ttrpc_call_user(call);
	Grpc__GuestDetailsResponse *answer = response;

	(void)request;
	details.version = (char *)"fake";
	details.n_extra_features = agent->mood == FAKE_FOREIGN ? 0 : ARRAY_SIZE(features);
	details.extra_features = features;
	answer->agent_details = &details;
	return note(call, err);
}

static int update_live_volume(struct ttrpc_call *call, const void *request, void *response,
			      struct err *err)
{
	const Grpc__UpdateLiveVolumeRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);
	const char *before = r->first ? "" : fake_agent_volume(agent, r->name);
	struct buf text = {0};

	(void)response;
	if (agent->fail && streq(agent->fail_method, "UpdateLiveVolume"))
		return note(call, err);
	buf_adds(&text, before);
	for (size_t i = 0; i < r->n_entries; i++) {
		const Grpc__LiveVolumeEntry *e = r->entries[i];

		buf_addf(&text, "%s%s", text.len ? " " : "", e->path);
		if (e->uid || e->gid)
			buf_addf(&text, "@%u:%u", e->uid, e->gid);
		buf_addf(&text, "=%.*s", (int)e->data.len, (char *)e->data.data);
	}
	free(map_put(&agent->volumes, r->name, buf_take(&text)));
	return note(call, err);
}

static int remove_live_volume(struct ttrpc_call *call, const void *request, void *response,
			      struct err *err)
{
	const Grpc__RemoveLiveVolumeRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)response;
	free(map_remove(&agent->volumes, r->name));
	return note(call, err);
}

/* What a test says that a container has written. */
static int read_copied_file(struct ttrpc_call *call, const void *request, void *response,
			    struct err *err)
{
	const Grpc__ReadCopiedFileRequest *r = request;
	struct fake_agent *agent = ttrpc_call_user(call);
	Grpc__ReadCopiedFileResponse *answer = response;
	const char *text = map_get(&agent->volumes, r->name);

	if (!text)
		return err_setx(err, -ENOENT, "fake: no volume %s", r->name);
	text = str_skip_prefix(text, "= file=") ?: text;
	answer->data.data = (uint8_t *)ttrpc_call_strdup(call, text);
	answer->data.len = strlen(text);
	return note(call, err);
}

static int get_metrics(struct ttrpc_call *call, const void *request, void *response,
		       struct err *err)
{
	(void)request;
	((Grpc__Metrics *)response)->metrics =
		(char *)"# HELP kata_agent_total_rss x\nkata_agent_total_rss 1\n"
			"kata_shim_threads 666\n"
			"kata_agent_nonsense{666\n";
	return note(call, err);
}

static int park(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	struct fake_agent *agent = ttrpc_call_user(call);

	(void)request;
	(void)response;
	agent->n_users++;
	while (!agent->stopped)
		co_sleep(50 * USEC_PER_MSEC);
	leave(agent);
	return err_setx(err, -ESHUTDOWN, "over");
}

static int check(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	(void)request;
	((Grpc__HealthCheckResponse *)response)->status =
		GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return note(call, err);
}

static int remove_container(struct ttrpc_call *call, const void *request, void *response,
			    struct err *err)
{
	struct fake_agent *agent = ttrpc_call_user(call);

	return agent->mood == FAKE_STUCK ? park(call, request, response, err) : note(call, err);
}

#define METHOD(name, input, output, fn)                                                \
	{                                                                              \
#name, &grpc__##input##__descriptor, &grpc__##output##__descriptor, fn \
	}
#define PLAIN(name, input)                                                                       \
	{                                                                                        \
#name, &grpc__##input##__descriptor, &google__protobuf__empty__descriptor, plain \
	}

static const struct ttrpc_method agent_methods[] = {
	{"CreateSandbox", &grpc__create_sandbox_request__descriptor,
	 &google__protobuf__empty__descriptor, create_sandbox},
	PLAIN(DestroySandbox, destroy_sandbox_request),
	PLAIN(ResetSandbox, reset_sandbox_request),
	{"CreateContainer", &grpc__create_container_request__descriptor,
	 &google__protobuf__empty__descriptor, create_container},
	{"StartContainer", &grpc__start_container_request__descriptor,
	 &google__protobuf__empty__descriptor, start_container},
	{"RemoveContainer", &grpc__remove_container_request__descriptor,
	 &google__protobuf__empty__descriptor, remove_container},
	{"ExecProcess", &grpc__exec_process_request__descriptor,
	 &google__protobuf__empty__descriptor, exec_process},
	{"SignalProcess", &grpc__signal_process_request__descriptor,
	 &google__protobuf__empty__descriptor, signal_process},
	METHOD(ReadCopiedFile, read_copied_file_request, read_copied_file_response,
	       read_copied_file),
	PLAIN(UpdateContainer, update_container_request),
	PLAIN(PauseContainer, pause_container_request),
	PLAIN(ResumeContainer, resume_container_request),
	PLAIN(CloseStdin, close_stdin_request),
	PLAIN(TtyWinResize, tty_win_resize_request),
	PLAIN(OnlineCPUMem, online_cpumem_request),
	{"UpdateLiveVolume", &grpc__update_live_volume_request__descriptor,
	 &google__protobuf__empty__descriptor, update_live_volume},
	{"RemoveLiveVolume", &grpc__remove_live_volume_request__descriptor,
	 &google__protobuf__empty__descriptor, remove_live_volume},
	{"ReseedRandomDev", &grpc__reseed_random_dev_request__descriptor,
	 &google__protobuf__empty__descriptor, plain},
	{"SetGuestDateTime", &grpc__set_guest_date_time_request__descriptor,
	 &google__protobuf__empty__descriptor, plain},
	{"PrepareTemplate", &grpc__prepare_template_request__descriptor,
	 &google__protobuf__empty__descriptor, plain},
	{"UpdateInterface", &grpc__update_interface_request__descriptor,
	 &types__interface__descriptor, update_interface},
	{"UpdateRoutes", &grpc__update_routes_request__descriptor, &grpc__routes__descriptor,
	 update_routes},
	{"AddARPNeighbors", &grpc__add_arpneighbors_request__descriptor,
	 &google__protobuf__empty__descriptor, add_neighbors},
	METHOD(WaitProcess, wait_process_request, wait_process_response, wait_process),
	METHOD(ReadStdout, read_stream_request, read_stream_response, read_stream),
	METHOD(ReadStderr, read_stream_request, read_stream_response, read_stream),
	METHOD(WriteStdin, write_stream_request, write_stream_response, write_stream),
	{"DialLoopback", &grpc__dial_loopback_request__descriptor,
	 &google__protobuf__empty__descriptor, dial_loopback},
	METHOD(ReadLoopback, read_loopback_request, read_stream_response, read_loopback),
	METHOD(WriteLoopback, write_loopback_request, write_stream_response, write_loopback),
	{"CloseLoopback", &grpc__close_loopback_request__descriptor,
	 &google__protobuf__empty__descriptor, close_loopback},
	METHOD(StatsContainer, stats_container_request, stats_container_response, plain),
	METHOD(GetGuestDetails, guest_details_request, guest_details_response, guest_details),
	METHOD(GetMetrics, get_metrics_request, metrics, get_metrics),
	METHOD(GetOOMEvent, get_oomevent_request, oomevent, park),
};
static const struct ttrpc_service agent_service = {"grpc.AgentService", agent_methods,
						   ARRAY_SIZE(agent_methods)};
static const struct ttrpc_method health_methods[] = {
	METHOD(Check, check_request, health_check_response, check),
};
static const struct ttrpc_service health_service = {"grpc.Health", health_methods,
						    ARRAY_SIZE(health_methods)};

struct fake_agent *fake_agent_new(struct loop *loop, int fd, bool serial, enum fake_mood mood)
{
	struct fake_agent *agent = xnew(struct fake_agent);

	agent->loop = loop;
	agent->fd = fd;
	agent->serial = serial;
	agent->mood = mood;
	agent->n_users = 2; /* the owner and begin() */
	n_alive++;
	if (ttrpc_server_new(loop, agent, &agent->server) < 0)
		abort();
	ttrpc_server_add(agent->server, &agent_service);
	ttrpc_server_add(agent->server, &health_service);
	co_start(loop, begin, agent);
	return agent;
}

/* Parked methods look at `stopped` within 100 ms; the last one out turns off the light. */
static void leave(struct fake_agent *agent)
{
	if (--agent->n_users)
		return;
	map_for_each (e, &agent->processes) {
		struct fake_process *p = e->value;

		buf_fini(&p->output);
		buf_fini(&p->input);
		free(p);
	}
	map_fini(&agent->processes);
	map_for_each (e, &agent->volumes)
		free(e->value);
	map_fini(&agent->volumes);
	buf_fini(&agent->log);
	buf_fini(&agent->last);
	free(agent->sandbox);
	free(agent->fail_method);
	free(agent->fail_text);
	free(agent->slow_method);
	fd_close(agent->fd);
	free(agent);
	n_alive--;
}

bool fake_agent_any(void)
{
	return n_alive;
}

void fake_agent_free(struct fake_agent *agent)
{
	if (!agent)
		return;
	agent->stopped = true;
	/* begin() may wait on it. */
	if (agent->fd >= 0)
		shutdown(agent->fd, SHUT_RDWR);
	/* From here on nobody hears them. */
	ttrpc_server_free(TAKE_PTR(agent->server));
	leave(agent);
}

void fake_agent_fail(struct fake_agent *agent, const char *method, int r, const char *text)
{
	free(agent->fail_method);
	free(agent->fail_text);
	agent->fail_method = xstrdup(method);
	agent->fail_text = xstrdup(text);
	agent->fail = r;
}

void fake_agent_become(struct fake_agent *agent, enum fake_mood mood)
{
	agent->mood = mood;
}

void fake_agent_delay(struct fake_agent *agent, const char *method, uint64_t usec)
{
	free(agent->slow_method);
	agent->slow_method = xstrdup(method);
	agent->delay = usec;
}

void fake_agent_exit(struct fake_agent *agent, const char *exec_id, int32_t status)
{
	struct fake_process *p = process_of(agent, exec_id);

	p->ended = true;
	p->status = status;
	co_cond_wake_all(&p->changed);
}

void fake_agent_say(struct fake_agent *agent, const char *exec_id, const char *text)
{
	struct fake_process *p = process_of(agent, exec_id);

	buf_adds(&p->output, text);
	co_cond_wake_all(&p->changed);
}

const char *fake_agent_log(const struct fake_agent *agent)
{
	return agent->log.data ? agent->log.data : "";
}

const struct buf *fake_agent_last(const struct fake_agent *agent)
{
	return &agent->last;
}

const char *fake_agent_sandbox(const struct fake_agent *agent)
{
	return agent->sandbox ? agent->sandbox : "";
}

void fake_agent_set_volume(struct fake_agent *agent, const char *name, const char *text)
{
	free(map_put(&agent->volumes, name, xstrdup(text)));
}

const char *fake_agent_volume(const struct fake_agent *agent, const char *name)
{
	const char *text = map_get(&agent->volumes, name);

	return text ? text : "";
}

const char *fake_agent_stdin(struct fake_agent *agent, const char *exec_id)
{
	struct fake_process *p = process_of(agent, exec_id);

	return p->input.data ? p->input.data : "";
}
