/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The OCI documents that a container manager hands us as JSON (runtime-spec 1.2): config.json, the
 * process of an exec, the resources of an update. They become the messages of proto/oci.proto,
 * which is what the runtime works on and the agent gets.
 *
 * Keys match fields whatever their case, as Go's encoding/json does it. Values are strict: a number
 * where a string belongs is an error that names the place. An unknown key is ignored; below
 * `process` and `linux`, where it may be a restriction that we do not know, it is also reported in
 * `warnings`.
 */

#include "base/err.h"
#include "base/str.h"
#include "oci.pb-c.h"
#include "wire/ttrpc/arena.h"

#define OCI_JSON_MAX       ((size_t)4 << 20) /* bytes of a document; it must fit a ttRPC frame */
#define OCI_JSON_DEPTH_MAX 32U

struct oci_spec {
	union {
		ProtobufCMessage *message;
		Grpc__Spec *spec;                /* of oci_spec_load and oci_spec_parse */
		Grpc__Process *process;          /* of oci_process_parse */
		Grpc__LinuxResources *resources; /* of oci_resources_parse */
	};
	struct strv warnings; /* "linux.newKey: unknown, ignored" */
	struct arena arena;   /* owns the message and everything in it */
};

/*
 * oci_spec_load: read and check (oci_spec_check) a config.json. *ret is the caller's. Errors:
 * -ENOENT and so on of the file, -EFBIG over OCI_JSON_MAX, -EINVAL with the place otherwise.
 */
int oci_spec_load(const char *path, struct oci_spec **ret, struct err *err);
/* oci_spec_parse: the same of n bytes in memory. */
int oci_spec_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err);
/* oci_process_parse: the `spec` of containerd's ExecProcessRequest; checked (oci_process_check). */
int oci_process_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err);
/* oci_resources_parse: the `resources` of containerd's UpdateTaskRequest; checked
 * (oci_resources_check). */
int oci_resources_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err);
void oci_spec_free(struct oci_spec *spec);
DEFINE_CLEANUP(struct oci_spec *, oci_spec_free)

/* oci_spec_alloc, oci_spec_strdup, oci_spec_printf: memory for changes to the message; zeroed,
 * freed with it. */
void *oci_spec_alloc(struct oci_spec *spec, size_t size);
char *oci_spec_strdup(struct oci_spec *spec, const char *s);
char *oci_spec_printf(struct oci_spec *spec, const char *fmt, ...) _printf_(2, 3);
/* oci_spec_new_message: a message of the given type with its defaults, in the same memory. */
void *oci_spec_new_message(struct oci_spec *spec, const ProtobufCMessageDescriptor *type);
/*
 * oci_spec_append: one more element at the end of a repeated message or string field: `list` and
 * `n` are the field and its count, `oci_spec_append(s, &spec->mounts, &spec->n_mounts, mount)`.
 */
#define oci_spec_append(s, list, n, item) \
	(*(list) = oci_spec_grow((s), *(list), *(n)), (*(list))[*(n)] = (item), (void)++*(n))
void *oci_spec_grow(struct oci_spec *spec, void *list, size_t n);
