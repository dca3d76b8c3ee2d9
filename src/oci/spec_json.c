/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spec_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "oci/json_scan.h"
#include "oci/spec_check.h"

/*
 * How it works: one walker for every type. It goes over a JSON object and the descriptor of the
 * message side by side; a field's type says what the value must be. Maps are objects, whose pairs
 * become entries. Two tables hold what does not follow from the names: keys that differ, and
 * defaults that are not zero. Everything lies in one arena, so that the whole is freed at once.
 *
 * The document comes from a container manager, so its size and depth are bounded (json_scan.c) and
 * a key given twice, in whatever case, is an error: two readers might take different ones.
 */

#define SPEC_MEMORY_MAX ((size_t)64 << 20)

/* Where we are, from the inside out; index < 0: a key. */
struct place {
	const struct place *parent;
	const char *key;
	ssize_t index;
};

struct walk {
	struct oci_spec *spec;
	struct err *err;
};

/* Keys that are not the field's name in other case. NULL: the field is never read from JSON. */
static const struct {
	const ProtobufCMessageDescriptor *type;
	const char *field, *key;
} renamed[] = {
	{&grpc__spec__descriptor, "Version", "ociVersion"},
	{&grpc__spec__descriptor, "Solaris", NULL},
	{&grpc__spec__descriptor, "Windows", NULL},
	{&grpc__linux_seccomp__descriptor, "bpf", NULL},
};

/* Fields that are not zero when they are absent. */
static const struct {
	const ProtobufCMessageDescriptor *type;
	const char *field;
	int64_t value;
} defaults[] = {
	/* Absent: every number. */
	{&grpc__linux_device_cgroup__descriptor, "Major", -1},
	{&grpc__linux_device_cgroup__descriptor, "Minor", -1},
};

/* Keys of the specification that concern other systems. */
static const char *const foreign[] = {"windows", "solaris", "vm", "zos", "commandLine", "freebsd"};

/* --- places --- */

static void place_text(struct buf *b, const struct place *place)
{
	if (!place)
		return;
	place_text(b, place->parent);
	if (place->index >= 0)
		buf_addf(b, "[%zd]", place->index);
	else
		buf_addf(b, "%s%.80s", b->len ? "." : "", place->key);
}

static int bad(struct walk *w, const struct place *place, const char *expected, const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
		[JSON_REAL] = "a fraction",  [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};
	struct buf b = {0};

	place_text(&b, place);
	err_setx(w->err, -EINVAL, "%s: expected %s, found %s", b.len ? b.data : "the document",
		 expected, names[json_typeof(value)]);
	buf_fini(&b);
	return -EINVAL;
}

static int range(struct walk *w, const struct place *place, const char *what)
{
	struct buf b = {0};

	place_text(&b, place);
	err_setx(w->err, -EINVAL, "%s: %s", b.data, what);
	buf_fini(&b);
	return -EINVAL;
}

/* A key that we do not know. Below process and linux it may be a restriction. */
static void unknown(struct walk *w, const struct place *place)
{
	const struct place *top = place;
	_cleanup_(buf_fini) struct buf b = {0};

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (streq(place->key, foreign[i]))
			return;
	while (top->parent)
		top = top->parent;
	if (w->spec->message->descriptor == &grpc__spec__descriptor &&
	    strcasecmp(top->key, "process") != 0 && strcasecmp(top->key, "linux") != 0)
		return;
	place_text(&b, place);
	strv_addf(&w->spec->warnings, "%s: unknown, ignored", b.data);
}

/* --- memory --- */

static int take(struct walk *w, size_t size, void *ret)
{
	void *p = arena_try(&w->spec->arena, size);

	if (!p) {
		err_setx(w->err, -EFBIG, "the document needs more than %zu bytes of memory",
			 SPEC_MEMORY_MAX);
		return -EFBIG;
	}
	memset(p, 0, size);
	memcpy(ret, &p, sizeof(p));
	return 0;
}

/* Makes a message of zeroed memory, with our defaults. */
static ProtobufCMessage *init_message(const ProtobufCMessageDescriptor *type, void *memory)
{
	protobuf_c_message_init(type, memory);
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		if (defaults[i].type == type) {
			const ProtobufCFieldDescriptor *field =
				protobuf_c_message_descriptor_get_field_by_name(type,
										defaults[i].field);

			memcpy((char *)memory + field->offset, &defaults[i].value,
			       sizeof(defaults[i].value));
		}
	return memory;
}

static int new_message(struct walk *w, const ProtobufCMessageDescriptor *type,
		       ProtobufCMessage **ret)
{
	void *memory = NULL;
	int r;

	r = take(w, type->sizeof_message, &memory);
	if (r == 0)
		*ret = init_message(type, memory);
	return r;
}

/* --- values --- */

static int walk_object(struct walk *w, const struct place *place, json_t *object,
		       ProtobufCMessage *message);

static int get_string(struct walk *w, const char *s, char **ret)
{
	size_t n = strlen(s) + 1;
	char *copy;
	int r;

	r = take(w, n, &copy);
	if (r == 0)
		*ret = memcpy(copy, s, n);
	return r;
}

/* An unsigned number: an integer, or one that json_scan has put in quotes since it needs 64 bits.
 */
static int get_unsigned(struct walk *w, const struct place *place, const json_t *value,
			uint64_t max, uint64_t *ret)
{
	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return range(w, place, "may not be negative");
		*ret = (uint64_t)json_integer_value(value);
	} else if (!json_is_string(value) || json_scan_u64(json_string_value(value), ret) < 0) {
		return bad(w, place, "an integer", value);
	}
	if (*ret > max)
		return range(w, place, "is too large");
	return 0;
}

static int get_signed(struct walk *w, const struct place *place, const json_t *value, int64_t min,
		      int64_t max, int64_t *ret)
{
	uint64_t huge;

	if (json_is_string(value) && json_scan_u64(json_string_value(value), &huge) == 0)
		return range(w, place, "is too large");
	if (!json_is_integer(value))
		return bad(w, place, "an integer", value);
	*ret = json_integer_value(value);
	if (*ret < min || *ret > max)
		return range(w, place, *ret < min ? "is too small" : "is too large");
	return 0;
}

static int get_message(struct walk *w, const struct place *place, json_t *value,
		       const ProtobufCMessageDescriptor *type, void *member)
{
	ProtobufCMessage *message;
	int r;

	if (!json_is_object(value))
		return bad(w, place, "an object", value);
	r = new_message(w, type, &message);
	if (r == 0)
		r = walk_object(w, place, value, message);
	if (r == 0)
		memcpy(member, &message, sizeof(void *));
	return r;
}

/* One value of the field's type, stored at member. */
static int get_value(struct walk *w, const struct place *place, json_t *value,
		     const ProtobufCFieldDescriptor *field, void *member)
{
	uint64_t u;
	int64_t i;
	int r;

	/* The types that proto/oci.proto has; a new one shows up in test_spec_json.c. */
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		if (!json_is_string(value) || json_scan_u64(json_string_value(value), &u) == 0)
			return bad(w, place, "a string", value);
		return get_string(w, json_string_value(value), member);
	}
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return get_message(w, place, value, field->descriptor, member);
	if (field->type == PROTOBUF_C_TYPE_BOOL) {
		if (!json_is_boolean(value))
			return bad(w, place, "true or false", value);
		*(protobuf_c_boolean *)member = json_is_true(value);
		return 0;
	}
	if (field->type == PROTOBUF_C_TYPE_UINT32) {
		r = get_unsigned(w, place, value, UINT32_MAX, &u);
		if (r == 0)
			*(uint32_t *)member = (uint32_t)u;
		return r;
	}
	if (field->type == PROTOBUF_C_TYPE_UINT64)
		return get_unsigned(w, place, value, UINT64_MAX, member);
	if (field->type == PROTOBUF_C_TYPE_INT32) {
		r = get_signed(w, place, value, INT32_MIN, INT32_MAX, &i);
		if (r == 0)
			*(int32_t *)member = (int32_t)i;
		return r;
	}
	if (field->type == PROTOBUF_C_TYPE_INT64)
		return get_signed(w, place, value, INT64_MIN, INT64_MAX, member);
	return range(w, place, "cannot be given in JSON");
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
	if (field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_INT32)
		return 4;
	return field->type == PROTOBUF_C_TYPE_BOOL ? sizeof(protobuf_c_boolean) : 8;
}

static bool is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;

	return field->label == PROTOBUF_C_LABEL_REPEATED &&
	       field->type == PROTOBUF_C_TYPE_MESSAGE && str_has_suffix(entry->name, "Entry") &&
	       entry->n_fields == 2 && streq(entry->fields[0].name, "key");
}

static int get_array(struct walk *w, const struct place *place, json_t *array,
		     const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	size_t n = json_array_size(array), size = size_of(field);
	char *items;
	int r;

	if (!json_is_array(array))
		return bad(w, place, "an array", array);
	r = take(w, n * size, &items);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct place at = {place, NULL, (ssize_t)i};

		r = get_value(w, &at, json_array_get(array, i), field, items + i * size);
		if (r < 0)
			return r;
	}
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	memcpy((char *)message + field->offset, &items, sizeof(void *));
	return 0;
}

static int get_map(struct walk *w, const struct place *place, json_t *object,
		   const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = field->descriptor;
	ProtobufCMessage **entries;
	const char *key;
	json_t *value;
	size_t n = 0;
	int r;

	if (!json_is_object(object))
		return bad(w, place, "an object", object);
	r = take(w, json_object_size(object) * sizeof(void *), &entries);
	if (r < 0)
		return r;
	json_object_foreach(object, key, value)
	{
		struct place at = {place, key, -1};

		r = new_message(w, type, &entries[n]);
		if (r == 0)
			r = get_string(w, key,
				       (char **)((char *)entries[n] + type->fields[0].offset));
		if (r == 0)
			r = get_value(w, &at, value, &type->fields[1],
				      (char *)entries[n] + type->fields[1].offset);
		if (r < 0)
			return r;
		n++;
	}
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	memcpy((char *)message + field->offset, &entries, sizeof(void *));
	return 0;
}

/* --- objects --- */

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
						  const char *key)
{
	const ProtobufCFieldDescriptor *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(renamed); i++)
		if (renamed[i].type == type && renamed[i].key &&
		    strcasecmp(renamed[i].key, key) == 0)
			return protobuf_c_message_descriptor_get_field_by_name(type,
									       renamed[i].field);
	for (unsigned int i = 0; i < type->n_fields && !found; i++)
		if (strcasecmp(type->fields[i].name, key) == 0)
			found = &type->fields[i];
	for (size_t i = 0; found && i < ARRAY_SIZE(renamed); i++)
		if (renamed[i].type == type && streq(renamed[i].field, found->name))
			return NULL;
	return found;
}

static int get_field(struct walk *w, const struct place *place, json_t *value,
		     const ProtobufCFieldDescriptor *field, ProtobufCMessage *message)
{
	int r;

	if (is_map(field))
		return get_map(w, place, value, field, message);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return get_array(w, place, value, field, message);
	r = get_value(w, place, value, field, (char *)message + field->offset);
	if (r == 0 && field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(int *)((char *)message + field->quantifier_offset) = (int)field->id;
	return r;
}

/* null is as good as absent, as for Go. */
static int walk_object(struct walk *w, const struct place *place, json_t *object,
		       ProtobufCMessage *message)
{
	uint64_t seen = 0; /* no type has more than 64 fields */
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		const ProtobufCMessageDescriptor *type = message->descriptor;
		const ProtobufCFieldDescriptor *field = find_field(type, key);
		struct place at = {place, key, -1};
		uint64_t bit;
		int r;

		if (!field) {
			unknown(w, &at);
			continue;
		}
		bit = (uint64_t)1 << (field - type->fields);
		if (seen & bit)
			return range(w, &at, "is given twice, in different case");
		seen |= bit;
		if (json_is_null(value))
			continue;
		r = get_field(w, &at, value, field, message);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- documents --- */

static void json_free(json_t **value)
{
	json_decref(*value);
}

static int parse(const char *json, size_t n, const ProtobufCMessageDescriptor *type,
		 struct oci_spec **ret, struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = xnew(struct oci_spec);
	_cleanup_(json_free) json_t *root = NULL;
	_cleanup_(freep) char *text = NULL;
	struct walk w = {spec, err};
	json_error_t error;
	int r;

	arena_init(&spec->arena, NULL, 0, SPEC_MEMORY_MAX);
	r = json_scan(json, n, OCI_JSON_MAX, OCI_JSON_DEPTH_MAX, &text, err);
	if (r < 0)
		return r;
	root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		err_setx(err, -EINVAL, "line %d: %s", error.line, error.text);
		return -EINVAL;
	}
	if (!json_is_object(root))
		return bad(&w, NULL, "an object", root);
	r = new_message(&w, type, &spec->message);
	if (r == 0)
		r = walk_object(&w, NULL, root, spec->message);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(spec);
	return 0;
}

int oci_spec_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r;

	r = parse(json, n, &grpc__spec__descriptor, &spec, err);
	if (r == 0)
		r = oci_spec_check(spec, err);
	if (r == 0)
		*ret = TAKE_PTR(spec);
	return r;
}

int oci_spec_load(const char *path, struct oci_spec **ret, struct err *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t n;
	int r;

	r = fs_read(path, OCI_JSON_MAX, &text, &n);
	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = oci_spec_parse(text, n, ret, err);
	return r < 0 ? err_wrap(err, r, "%s", path) : 0;
}

int oci_process_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r;

	r = parse(json, n, &grpc__process__descriptor, &spec, err);
	if (r == 0)
		r = oci_process_check(spec, spec->process, "process", err);
	if (r == 0)
		*ret = TAKE_PTR(spec);
	return r;
}

int oci_resources_parse(const char *json, size_t n, struct oci_spec **ret, struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	int r;

	r = parse(json, n, &grpc__linux_resources__descriptor, &spec, err);
	if (r == 0)
		r = oci_resources_check(spec->resources, err);
	if (r == 0)
		*ret = TAKE_PTR(spec);
	return r;
}

void oci_spec_free(struct oci_spec *spec)
{
	if (!spec)
		return;
	strv_fini(&spec->warnings);
	arena_fini(&spec->arena);
	free(spec);
}

/* --- changes --- */

void *oci_spec_alloc(struct oci_spec *spec, size_t size)
{
	return arena_alloc(&spec->arena, size);
}

char *oci_spec_strdup(struct oci_spec *spec, const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(arena_alloc(&spec->arena, n), s, n);
}

char *oci_spec_printf(struct oci_spec *spec, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	return oci_spec_strdup(spec, text);
}

void *oci_spec_new_message(struct oci_spec *spec, const ProtobufCMessageDescriptor *type)
{
	return init_message(type, arena_alloc(&spec->arena, type->sizeof_message));
}

/* Room for one more pointer than the n of list; elements are few, so a copy each time is fine. */
void *oci_spec_grow(struct oci_spec *spec, void *list, size_t n)
{
	void **copy = arena_alloc(&spec->arena, (n + 1) * sizeof(void *));

	if (n)
		memcpy(copy, list, n * sizeof(void *));
	return copy;
}
