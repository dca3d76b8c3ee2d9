/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>

#include "wire/dbus/dbus.h"

/*
 * How it works: a message is 16 fixed bytes (byte order, type, flags, version, length of the body,
 * serial, length of the fields), the fields, which are an array of (code, variant), padding to 8
 * bytes, the body. Every value stands at a multiple of its size, counted from the message's start;
 * a body begins at a multiple of 8, so it can be made on its own.
 */

#define ORDER    'l'
#define VERSION  1
#define FIXED    16U
#define BODY_LEN 4U /* where things are in the fixed part */
#define SERIAL   8U
#define FIELDS   12U

enum field {
	FIELD_PATH = 1,
	FIELD_INTERFACE,
	FIELD_MEMBER,
	FIELD_ERROR,
	FIELD_REPLY_TO,
	FIELD_DESTINATION,
	FIELD_SENDER,
	FIELD_SIGNATURE,
};

static size_t padded(size_t n, size_t alignment)
{
	return (n + alignment - 1) / alignment * alignment;
}

void dbus_align(struct buf *b, size_t alignment)
{
	while (b->len % alignment)
		buf_addc(b, '\0');
}

void dbus_put_u32(struct buf *b, uint32_t value)
{
	uint32_t le = htole32(value);

	dbus_align(b, sizeof(le));
	buf_add(b, &le, sizeof(le));
}

void dbus_put_string(struct buf *b, const char *s)
{
	dbus_put_u32(b, (uint32_t)strlen(s));
	buf_add(b, s, strlen(s) + 1);
}

void dbus_put_signature(struct buf *b, const char *signature)
{
	buf_addc(b, (char)strlen(signature));
	buf_add(b, signature, strlen(signature) + 1);
}

static void patch_u32(struct buf *b, size_t at, size_t value)
{
	uint32_t le = htole32((uint32_t)value);

	memcpy(b->data + at, &le, sizeof(le));
}

size_t dbus_begin_array(struct buf *b, size_t alignment)
{
	size_t at;

	dbus_align(b, sizeof(uint32_t));
	at = b->len;
	dbus_put_u32(b, 0);
	dbus_align(b, alignment);
	return at;
}

void dbus_end_array(struct buf *b, size_t array, size_t alignment)
{
	/* The padding before the first element does not count. */
	patch_u32(b, array, b->len - padded(array + sizeof(uint32_t), alignment));
}

static void put_field(struct buf *out, enum field code, const char *type, const char *value)
{
	if (!value)
		return;
	dbus_align(out, 8);
	buf_addc(out, (char)code);
	dbus_put_signature(out, type);
	if (*type == 'g')
		dbus_put_signature(out, value);
	else
		dbus_put_string(out, value);
}

void dbus_format_call(struct buf *out, const struct dbus_call *call, uint32_t serial)
{
	static const char fixed[] = {ORDER, DBUS_CALL, 0, VERSION};
	size_t n = call->body ? call->body->len : 0, array;

	buf_add(out, fixed, sizeof(fixed));
	dbus_put_u32(out, (uint32_t)n);
	dbus_put_u32(out, serial);
	array = dbus_begin_array(out, 8);
	put_field(out, FIELD_PATH, "o", call->path);
	put_field(out, FIELD_DESTINATION, "s", call->destination);
	put_field(out, FIELD_INTERFACE, "s", call->interface);
	put_field(out, FIELD_MEMBER, "s", call->member);
	put_field(out, FIELD_SIGNATURE, "g", call->signature);
	dbus_end_array(out, array, 8);
	dbus_align(out, 8);
	if (n)
		buf_add(out, call->body->data, n);
}

/* --- reading --- */

/* A part of a message, up to end; `at` counts from the message's start. */
struct reader {
	const char *p;
	size_t at, end;
};

static int get_u32(struct reader *r, uint32_t *ret)
{
	size_t at = padded(r->at, sizeof(*ret));

	if (at > r->end || r->end - at < sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, r->p + at, sizeof(*ret));
	*ret = le32toh(*ret);
	r->at = at + sizeof(*ret);
	return 0;
}

/* n bytes and a NUL, which is the only one. */
static int get_text(struct reader *r, size_t n, const char **ret)
{
	const char *s = r->p + r->at;

	if (r->end - r->at <= n || s[n] || memchr(s, '\0', n))
		return -EBADMSG;
	r->at += n + 1;
	*ret = s;
	return 0;
}

static int get_string(struct reader *r, const char **ret)
{
	uint32_t n;

	return get_u32(r, &n) < 0 ? -EBADMSG : get_text(r, n, ret);
}

static int get_signature(struct reader *r, const char **ret)
{
	uint8_t n;

	if (r->at >= r->end)
		return -EBADMSG;
	n = (uint8_t)r->p[r->at++];
	return get_text(r, n, ret);
}

/* One field; *ret_signature is the body's. Fields of a message have one of these four types. */
static int parse_field(struct reader *r, struct dbus_message *m, const char **ret_signature)
{
	const char *type, *text = NULL;
	uint32_t number = 0;
	uint8_t code;
	int e;

	r->at = padded(r->at, 8);
	if (r->at >= r->end)
		return -EBADMSG;
	code = (uint8_t)r->p[r->at++];
	if (get_signature(r, &type) < 0)
		return -EBADMSG;
	if (streq(type, "s") || streq(type, "o"))
		e = get_string(r, &text);
	else if (streq(type, "g"))
		e = get_signature(r, &text);
	else if (streq(type, "u"))
		e = get_u32(r, &number);
	else
		e = -EBADMSG;
	if (e < 0)
		return e;
	if (code == FIELD_REPLY_TO)
		m->reply_to = number;
	else if (code == FIELD_ERROR)
		m->error = text;
	else if (code == FIELD_SIGNATURE)
		*ret_signature = text;
	return 0;
}

static uint32_t fixed_u32(const char *p, size_t at)
{
	uint32_t le;

	memcpy(&le, p + at, sizeof(le));
	return le32toh(le);
}

int dbus_parse(const void *p, size_t n, struct dbus_message *ret)
{
	const char *bytes = p, *signature = NULL;
	struct dbus_message m = {0};
	uint32_t n_fields, n_body;
	struct reader r;
	size_t body;

	if (n < FIXED)
		return 0;
	n_body = fixed_u32(bytes, BODY_LEN);
	n_fields = fixed_u32(bytes, FIELDS);
	if (bytes[0] != ORDER || bytes[3] != VERSION || !bytes[1] || !fixed_u32(bytes, SERIAL))
		return -EBADMSG;
	if (n_body > DBUS_MESSAGE_MAX || n_fields > DBUS_MESSAGE_MAX)
		return -EMSGSIZE;
	body = padded(FIXED + n_fields, 8);
	if (body + n_body > DBUS_MESSAGE_MAX)
		return -EMSGSIZE;
	if (n < body + n_body)
		return 0;
	m.type = (uint8_t)bytes[1];
	r = (struct reader){.p = bytes, .at = FIXED, .end = FIXED + n_fields};
	while (r.at < r.end)
		if (parse_field(&r, &m, &signature) < 0)
			return -EBADMSG;
	r = (struct reader){.p = bytes, .at = body, .end = body + n_body};
	if (signature && *signature == 's' && get_string(&r, &m.text) < 0)
		return -EBADMSG;
	*ret = m;
	return (int)(body + n_body);
}
