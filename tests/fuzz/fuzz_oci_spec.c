/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an OCI document of each kind: either an error with a text and nothing else, or a
 * message that survives the way to the agent.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/annotations.h"
#include "oci/spec_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void travel(const struct oci_spec *spec)
{
	const ProtobufCMessageDescriptor *type = spec->message->descriptor;
	size_t n = protobuf_c_message_get_packed_size(spec->message);
	_cleanup_(freep) uint8_t *packed = xmalloc(n + 1), *again = xmalloc(n + 1);
	ProtobufCMessage *copy;

	if (protobuf_c_message_pack(spec->message, packed) != n)
		abort();
	copy = protobuf_c_message_unpack(type, NULL, n, packed);
	if (!copy || protobuf_c_message_pack(copy, again) != n || memcmp(packed, again, n) != 0)
		abort();
	protobuf_c_message_free_unpacked(copy, NULL);
}

static void use_spec(const Grpc__Spec *spec)
{
	struct oci_sandbox_size size;
	enum oci_kind kind;

	if (oci_kind(spec, &kind, NULL) == 0 && kind == OCI_KIND_CONTAINER && !oci_sandbox_id(spec))
		abort();
	oci_sandbox_size(spec, &size, NULL);
	for (size_t i = 0; i < spec->n_mounts; i++)
		if (*spec->mounts[i]->destination != '/' ||
		    strstr(spec->mounts[i]->destination, "/../"))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int (*const parsers[])(const char *, size_t, struct oci_spec **, struct err *) = {
		oci_spec_parse, oci_process_parse, oci_resources_parse};

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
		_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
		_cleanup_err_ struct err err = {0};
		int r = parsers[i]((const char *)data, size, &spec, &err);

		if ((r < 0) == (spec != NULL) || (r < 0) != (err.msg != NULL))
			abort();
		if (!spec)
			continue;
		travel(spec);
		if (i == 0)
			use_spec(spec->spec);
	}
	return 0;
}
