/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client of D-Bus for single calls (https://dbus.freedesktop.org/doc/dbus-specification.html):
 * enough to ask systemd for a unit. Little-endian, no descriptors, no signals. The functions of the
 * connection block until a deadline: they are for children.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define DBUS_MESSAGE_MAX (256U << 10) /* of an answer; the specification allows more */
#define DBUS_SYSTEM_BUS  "/run/dbus/system_bus_socket"

/* --- a body: values one after the other, each behind its padding --- */

void dbus_align(struct buf *b, size_t alignment);
void dbus_put_u32(struct buf *b, uint32_t value); /* also a boolean */
void dbus_put_string(struct buf *b, const char *s);
/* dbus_put_signature: what a variant begins with. */
void dbus_put_signature(struct buf *b, const char *signature);
/* dbus_begin_array: of elements with this alignment; dbus_end_array takes what it returned. */
size_t dbus_begin_array(struct buf *b, size_t alignment);
void dbus_end_array(struct buf *b, size_t array, size_t alignment);

/* --- messages --- */

struct dbus_call {
	const char *destination, *path, *interface, *member;
	const char *signature; /* of the body; NULL: none */
	const struct buf *body;
};

enum dbus_type { DBUS_CALL = 1, DBUS_RETURN = 2, DBUS_ERROR = 3, DBUS_SIGNAL = 4 };

/* What a client needs of a message; the strings are in the message itself, or NULL. */
struct dbus_message {
	uint8_t type;
	uint32_t reply_to;
	const char *error; /* its name */
	const char *text;  /* the body's first value, if that is a string */
};

/* dbus_format_call: the bytes of a call. */
void dbus_format_call(struct buf *out, const struct dbus_call *call, uint32_t serial);
/* dbus_parse: the first message of n bytes. Returns its size, 0 when it is not whole yet, -EBADMSG,
 * or -EMSGSIZE for one above DBUS_MESSAGE_MAX. */
int dbus_parse(const void *p, size_t n, struct dbus_message *ret);

/* --- a connection --- */

struct dbus {
	int fd;
	uint32_t serial;
};

/*
 * dbus_open: connect to the socket of a bus, or, when is_bus is false, to that of a single peer
 * which needs no greeting, as this user. Returns 0 or -errno (-EACCES: refused; -ETIMEDOUT).
 */
int dbus_open(struct dbus *bus, const char *path, bool is_bus, uint64_t deadline);
/* dbus_ask: call and wait for the answer. -EREMOTEIO: an error is the answer, *ret_error has "name:
 * text", which the caller frees. */
int dbus_ask(struct dbus *bus, const struct dbus_call *call, uint64_t deadline, char **ret_error);
void dbus_close(struct dbus *bus);
