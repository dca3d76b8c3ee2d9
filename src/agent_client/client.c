/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/client.h"

#include <errno.h>
#include <google/protobuf/empty.pb-c.h>

#include "base/utf8.h"
#include "loop/co.h"
#include "wire/ttrpc/ttrpc.h"

#define AGENT_SERVICE  "grpc.AgentService"
#define HEALTH_SERVICE "grpc.Health"
#define FEATURES_MAX   64 /* an agent that names more is lying */

struct agent_client {
	struct loop *loop;
	struct ttrpc_client *ttrpc; /* NULL: closed */
	agent_closed_fn closed;
	void *arg;
	char *reason; /* why it is closed */
	struct strv features;
	char *version;
	uint64_t memory_block;
	struct loop_defer reap;
	unsigned int n_calls; /* coroutines in call() */
	bool freed;
};

static void destroy(struct agent_client *agent)
{
	loop_defer_cancel(&agent->reap);
	strv_fini(&agent->features);
	free(agent->version);
	free(agent->reason);
	free(agent);
}

/* ttRPC's own callback is on the stack when the connection ends: free its client a moment later. */
static void reap(struct loop_defer *defer)
{
	struct agent_client *agent = container_of(defer, struct agent_client, reap);

	ttrpc_client_free(TAKE_PTR(agent->ttrpc));
}

static void on_closed(void *arg, const char *reason)
{
	struct agent_client *agent = arg;

	if (agent->reason)
		return;
	agent->reason = xstrdup(reason);
	loop_defer(agent->loop, &agent->reap, reap);
	if (agent->closed)
		agent->closed(agent->arg, agent->reason);
}

int agent_open(struct loop *loop, int fd, agent_closed_fn closed, void *arg,
	       struct agent_client **ret, struct err *err)
{
	_cleanup_(agent_freep) struct agent_client *agent = xnew(struct agent_client);
	int r;

	agent->loop = loop;
	agent->closed = closed;
	agent->arg = arg;
	r = ttrpc_client_new(loop, fd, on_closed, agent, &agent->ttrpc);
	if (r < 0)
		return err_set(err, r, "speak to the agent");
	*ret = TAKE_PTR(agent);
	return 0;
}

void agent_close(struct agent_client *agent, const char *reason)
{
	agent->closed = NULL;
	if (!agent->reason)
		agent->reason = xstrdup(reason);
	loop_defer_cancel(&agent->reap);
	ttrpc_client_free(TAKE_PTR(agent->ttrpc));
}

bool agent_connected(const struct agent_client *agent)
{
	return agent && !agent->reason;
}

const char *agent_reason(const struct agent_client *agent)
{
	return agent->reason;
}

void agent_free(struct agent_client *agent)
{
	if (!agent)
		return;
	agent_close(agent, "no longer needed");
	agent->freed = true;
	if (!agent->n_calls)
		destroy(agent);
}

/* --- what the agent says --- */

static void clean_error(struct err *err)
{
	if (!err || !err->msg)
		return;
	if (strlen(err->msg) > AGENT_ERROR_MAX)
		memcpy(err->msg + AGENT_ERROR_MAX - 3, "...", sizeof("..."));
	utf8_clean(err->msg);
	for (char *s = err->msg; (s = strchr(s, '\n'));)
		*s = ' ';
}

static void clean_message(const ProtobufCMessage *message);

static void clean_value(const ProtobufCFieldDescriptor *field, void *value)
{
	if (!value || value == field->default_value)
		return;
	if (field->type == PROTOBUF_C_TYPE_STRING)
		utf8_clean(value);
	else
		clean_message(value);
}

/* Every string of a message and of those in it; its answers do not nest in themselves. */
static void clean_message(const ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const char *base = (const char *)message;
		void *const *at = (void *const *)(base + field->offset);

		if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(const size_t *)(base + field->quantifier_offset);

			for (size_t j = 0; j < n; j++)
				clean_value(field, (*(void *const *const *)at)[j]);
		} else if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
			   *(const uint32_t *)(base + field->quantifier_offset) == field->id) {
			clean_value(field, *at);
		}
	}
}

static int call(struct agent_client *agent, const char *service, const char *method,
		const ProtobufCMessage *request, const ProtobufCMessageDescriptor *output,
		uint64_t deadline, ProtobufCMessage **ret, struct err *err)
{
	int r;

	if (agent->reason)
		return err_setx(err, -ESHUTDOWN, "the agent is gone: %s", agent->reason);
	agent->n_calls++;
	r = ttrpc_client_call(agent->ttrpc, service, method, request, output, deadline, ret, err);
	agent->n_calls--;
	if (r < 0)
		clean_error(err);
	else if (ret)
		clean_message(*ret);
	if (r < 0 && agent->reason)
		r = err_setx(err, -ESHUTDOWN, "the agent is gone: %s", agent->reason);
	else if (r == -ETIMEDOUT)
		err_setx(err, r, "the agent did not answer %s in time", method);
	if (!agent->freed)
		return r;
	if (r >= 0) {
		/* Freed in the very round of the answer: the caller may not touch it any more. */
		if (ret)
			protobuf_c_message_free_unpacked(TAKE_PTR(*ret), NULL);
		r = err_setx(err, -ESHUTDOWN, "the agent is gone: %s", agent->reason);
	}
	if (!agent->n_calls)
		destroy(agent);
	return r;
}

/* A null pointer where a response was asked for would be a bug of the layer below. */
#define DEFINE_CALL(name, method, type)                                                 \
	int agent_##name(struct agent_client *agent, const Grpc__##type *request,       \
			 uint64_t deadline, struct err *err)                            \
	{                                                                               \
		return call(agent, AGENT_SERVICE, #method, &request->base,              \
			    &google__protobuf__empty__descriptor, deadline, NULL, err); \
	}
AGENT_CALLS(DEFINE_CALL)

#define DEFINE_QUERY(name, method, type, answer, descriptor)                                       \
	int agent_##name(struct agent_client *agent, const Grpc__##type *request,                  \
			 uint64_t deadline, answer **ret, struct err *err)                         \
	{                                                                                          \
		ProtobufCMessage *message = NULL;                                                  \
		int r = call(agent, AGENT_SERVICE, #method, &request->base, &descriptor, deadline, \
			     &message, err);                                                       \
                                                                                                   \
		if (r >= 0)                                                                        \
			*ret = (answer *)message;                                                  \
		return r;                                                                          \
	}
AGENT_QUERIES(DEFINE_QUERY)

int agent_check(struct agent_client *agent, uint64_t deadline, struct err *err)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	int r, status;

	r = call(agent, HEALTH_SERVICE, "Check", &request.base,
		 &grpc__health_check_response__descriptor, deadline, &message, err);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set when the call succeeds */
	status = (int)((Grpc__HealthCheckResponse *)message)->status;
	protobuf_c_message_free_unpacked(message, NULL);
	if (status != GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
		return err_setx(err, -EAGAIN, "the agent does not serve (status %d)", status);
	return 0;
}

int agent_learn(struct agent_client *agent, uint64_t deadline, struct err *err)
{
	Grpc__GuestDetailsRequest request = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *details = NULL;
	int r;

	request.mem_block_size = 1;
	r = agent_get_guest_details(agent, &request, deadline, &details, err);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): a call on a freed agent fails */
	agent->memory_block = details->mem_block_size_bytes;
	if (details->agent_details) {
		const Grpc__AgentDetails *a = details->agent_details;

		free(agent->version);
		agent->version = xstrdup(a->version);
		strv_fini(&agent->features);
		for (size_t i = 0; i < MIN(a->n_extra_features, (size_t)FEATURES_MAX); i++)
			strv_add(&agent->features, a->extra_features[i]);
	}
	protobuf_c_message_free_unpacked(&details->base, NULL);
	return 0;
}

bool agent_has(const struct agent_client *agent, const char *feature)
{
	return strv_contains(&agent->features, feature);
}

const char *agent_version(const struct agent_client *agent)
{
	return agent->version ? agent->version : "";
}

uint64_t agent_memory_block(const struct agent_client *agent)
{
	return agent->memory_block;
}
