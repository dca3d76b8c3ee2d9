/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of tests/interop: a server at a UNIX socket with
 * - grpc.Health as the agent has it; Version does what its argument says,
 * - interop.Recode, whose method "T" unpacks a message of type T and sends it back packed again,
 * and fails when T has a field that we do not know,
 * - interop.Describe, whose method "T" lists the fields of T.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/str.h"
#include "descriptors.inc"
#include "health.pb-c.h"
#include "loop/co.h"
#include "wire/ttrpc/ttrpc.h"

static int check(_unused_ struct ttrpc_call *call, _unused_ const void *request, void *response,
		 _unused_ struct err *err)
{
	Grpc__HealthCheckResponse *out = response;

	out->status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return 0;
}

static char *bytes(struct ttrpc_call *call, uint64_t n)
{
	char *text = ttrpc_call_alloc(call, n + 1);

	memset(text, 'x', n);
	return text;
}

/* "sleep:MS", "size:N", "metadata:KEY", "error:ERRNO" and "long:N" (an error of so many bytes) do
 * that, "bytes" fails with some that are no text, other text comes back. */
static int version(struct ttrpc_call *call, const void *request, void *response, struct err *err)
{
	const Grpc__CheckRequest *in = request;
	Grpc__VersionCheckResponse *out = response;
	const char *argument;
	uint64_t n;

	out->agent_version = in->service;
	if ((argument = str_skip_prefix(in->service, "metadata:"))) {
		const char *value = ttrpc_call_metadata(call, argument);

		out->agent_version = value ? (char *)value : "";
		return 0;
	}
	if (streq(in->service, "bytes"))
		return err_setx(err, -ENOENT, "no \xff and no \xc3\xbc");
	if (!(argument = strchr(in->service, ':')) || parse_u64(argument + 1, &n) < 0)
		return 0;
	if (str_has_prefix(in->service, "sleep:"))
		co_sleep(n * USEC_PER_MSEC);
	else if (str_has_prefix(in->service, "size:"))
		out->agent_version = bytes(call, n);
	else if (str_has_prefix(in->service, "error:"))
		return err_setx(err, -(int)n, "as you wish: %d", (int)n);
	else if (str_has_prefix(in->service, "long:"))
		return err_setx(err, -ENOENT, "%s\xe2\x82\xac", bytes(call, n));
	return 0;
}

static const struct ttrpc_method health_methods[] = {
	{"Check", &grpc__check_request__descriptor, &grpc__health_check_response__descriptor,
	 check},
	{"Version", &grpc__check_request__descriptor, &grpc__version_check_response__descriptor,
	 version},
};
static const struct ttrpc_service health = {"grpc.Health", health_methods,
					    ARRAY_SIZE(health_methods)};

/* --- messages --- */

/* The first unknown field in a message or below it: its number, 0 for none. */
static uint32_t unknown_field(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	if (message->n_unknown_fields)
		return message->unknown_fields[0].tag;
	for (unsigned int i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		const char *member = (const char *)message + field->offset;
		const char *quantifier = (const char *)message + field->quantifier_offset;
		ProtobufCMessage *const *messages = (void *)member;
		size_t n = 1;

		if (field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			messages = *(ProtobufCMessage ***)member;
			n = *(const size_t *)quantifier;
		} else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
			n = *(const uint32_t *)quantifier == field->id;
		}
		for (size_t k = 0; k < n; k++)
			if (messages[k] && unknown_field(messages[k]))
				return unknown_field(messages[k]);
	}
	return 0;
}

static int recode(_unused_ struct ttrpc_call *call, const void *request, void *response,
		  struct err *err)
{
	const ProtobufCMessage *message = request;
	uint32_t unknown = unknown_field(message);

	if (unknown)
		return err_setx(err, -EINVAL, "%s: field %u is unknown", message->descriptor->name,
				unknown);
	memcpy(response, message, message->descriptor->sizeof_message);
	return 0;
}

static const char *type_name(const ProtobufCFieldDescriptor *field)
{
	static const char *const names[] = {
		"int32",  "sint32",  "sfixed32", "int64",   "sint64",  "sfixed64",
		"uint32", "fixed32", "uint64",   "fixed64", "float",   "double",
		"bool",   "enum",    "string",   "bytes",   "message",
	};

	return names[field->type];
}

static int describe(struct ttrpc_call *call, _unused_ const void *request, void *response,
		    _unused_ struct err *err)
{
	const char *name = ttrpc_call_method(call);
	Grpc__VersionCheckResponse *out = response;
	_cleanup_(buf_fini) struct buf b = {0};

	for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
		if (!streq(descriptors[i]->name, name))
			continue;
		for (unsigned int f = 0; f < descriptors[i]->n_fields; f++) {
			const ProtobufCFieldDescriptor *field = &descriptors[i]->fields[f];

			buf_addf(&b, "%u %s %s%s\n", field->id, field->name, type_name(field),
				 field->label == PROTOBUF_C_LABEL_REPEATED ? "[]" : "");
		}
	}
	out->agent_version = ttrpc_call_strdup(call, b.data ? b.data : "");
	return 0;
}

/* A method for every message that there is. Lives as long as the program. */
static void add_messages(struct ttrpc_server *server)
{
	static struct ttrpc_method recoders[ARRAY_SIZE(descriptors)];
	static struct ttrpc_method describers[ARRAY_SIZE(descriptors)];
	static const struct ttrpc_service services[] = {
		{"interop.Recode", recoders, ARRAY_SIZE(descriptors)},
		{"interop.Describe", describers, ARRAY_SIZE(descriptors)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
		recoders[i] = (struct ttrpc_method){descriptors[i]->name, descriptors[i],
						    descriptors[i], recode};
		describers[i] = (struct ttrpc_method){
			descriptors[i]->name, &grpc__check_request__descriptor,
			&grpc__version_check_response__descriptor, describe};
	}
	ttrpc_server_add(server, &services[0]);
	ttrpc_server_add(server, &services[1]);
}

int main(int argc, char **argv)
{
	struct ttrpc_server *server;
	struct loop *loop;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: %s SOCKET\n", argv[0]);
		return 2;
	}
	fd = fd_unix_listen(argv[1], 0600);
	if (fd < 0 || loop_new(&loop) < 0 || ttrpc_server_new(loop, NULL, &server) < 0 ||
	    ttrpc_server_listen(server, fd) < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-fd));
		return 1;
	}
	ttrpc_server_add(server, &health);
	add_messages(server);
	return loop_run(loop) < 0;
}
