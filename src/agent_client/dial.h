/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reaching the agent. It waits as long as the VM shows signs of life (kata#1543: on a loaded host a
 * boot takes as long as it takes), never for a fixed time alone.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define AGENT_PORT     1024
#define AGENT_LOG_PORT 1025

enum agent_transport {
	AGENT_STREAM, /* a connected stream, used as it is */
	AGENT_SERIAL, /* our end of a virtio-serial port: needs the handshake of wire/serial.h */
	AGENT_UNIX,   /* a UNIX socket that the agent listens on */
	AGENT_HYBRID, /* a VMM's UNIX socket: "CONNECT <port>\n", "OK …\n" */
	AGENT_VSOCK,
};

struct agent_address {
	enum agent_transport transport;
	int fd;           /* STREAM, SERIAL: consumed by agent_dial(), also when it fails */
	bool reused;      /* SERIAL: bytes of an earlier session may be under way */
	const char *path; /* UNIX, HYBRID */
	uint32_t cid;     /* VSOCK */
	uint32_t port;    /* HYBRID, VSOCK */
};

/* How a dial knows whether waiting still makes sense. */
struct agent_life {
	bool (*alive)(void *arg);        /* false: give up; NULL: always */
	uint64_t (*progress)(void *arg); /* changes with every sign of life; NULL: never */
	void *arg;
	uint64_t patience; /* µs without a sign of life until the dial gives up */
};

/* agent_dial: from a coroutine. *ret is a connected stream, the caller's. -ETIMEDOUT: no sign of
 * life for that long; -ECONNABORTED: not alive any more. */
int agent_dial(const struct agent_address *address, const struct agent_life *life, int *ret,
	       struct err *err);
