/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One connection as a sequence of frames (containerd/ttrpc PROTOCOL.md, "Message Frame"): what the
 * client and the server have in common. Knows nothing of calls.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

#define TTRPC_HEADER_SIZE 10

enum { TTRPC_FRAME_REQUEST = 1, TTRPC_FRAME_RESPONSE = 2, TTRPC_FRAME_DATA = 3 };
enum { TTRPC_REMOTE_CLOSED = 1, TTRPC_REMOTE_OPEN = 2, TTRPC_NO_DATA = 4 };

struct ttrpc_header {
	uint32_t length, stream;
	uint8_t type, flags;
};

void ttrpc_header_encode(const struct ttrpc_header *header, uint8_t out[TTRPC_HEADER_SIZE]);
void ttrpc_header_decode(const uint8_t in[TTRPC_HEADER_SIZE], struct ttrpc_header *ret);

/*
 * What the owner hears. Any of them may free the connection.
 * frame: one whole frame; data is valid during the call. oversize: a frame of more than
 * TTRPC_FRAME_MAX bytes begins, its data are skipped. closed: the last thing ever heard. drained
 * (may be NULL): unsent bytes have become fewer.
 */
struct ttrpc_conn_ops {
	void (*frame)(void *arg, const struct ttrpc_header *header, const uint8_t *data);
	void (*oversize)(void *arg, const struct ttrpc_header *header);
	void (*closed)(void *arg, const char *reason);
	void (*drained)(void *arg);
	/* Stop reading while more than TTRPC_BACKLOG_MAX bytes are unsent. Only one side of a
	 * connection may: two that wait for each other wait for ever. */
	bool read_waits;
};

struct ttrpc_conn;

/* ttrpc_conn_new: fd becomes the connection's, also on failure. Returns 0 or -errno. */
int ttrpc_conn_new(struct loop *loop, int fd, const struct ttrpc_conn_ops *ops, void *arg,
		   struct ttrpc_conn **ret);
/* ttrpc_conn_free: closes at once; unsent bytes are lost; no more is heard of it. */
void ttrpc_conn_free(struct ttrpc_conn *conn);
DEFINE_CLEANUP(struct ttrpc_conn *, ttrpc_conn_free)

/*
 * Sending a frame: ttrpc_conn_begin() gives room for length bytes of data, which the caller fills;
 * ttrpc_conn_commit() puts the header before them and writes what the descriptor takes now, the
 * rest later. Nothing else may be called on the connection in between.
 */
uint8_t *ttrpc_conn_begin(struct ttrpc_conn *conn, size_t length);
void ttrpc_conn_commit(struct ttrpc_conn *conn, const struct ttrpc_header *header);
/* ttrpc_conn_backlog: unsent bytes. */
size_t ttrpc_conn_backlog(const struct ttrpc_conn *conn);

/* Parts of a protobuf message, for the two envelopes that are written without a copy. */
size_t pb_varint_size(uint64_t value);
uint8_t *pb_varint(uint8_t *out, uint64_t value);
/* A length-delimited field: its size with tag and length; its tag and length (the bytes are the
 * caller's to add). field < 16. */
size_t pb_bytes_size(size_t length);
uint8_t *pb_bytes(uint8_t *out, unsigned int field, size_t length);
