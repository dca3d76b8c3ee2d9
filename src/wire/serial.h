/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sessions over a byte stream that has no connections (a virtio-serial port). Both ends agree where
 * a session begins, whatever is still under way from one before: a frame cut in half, answers that
 * nobody waits for, the restart of either end, a port that a template's clone has inherited.
 *
 * The host begins. It sends "synchronise" with a random generation, again from time to time, until
 * the guest says "acknowledged" with that generation; then it sends "go", and the session's bytes
 * follow. The guest answers the newest "synchronise" it sees, and hears the session from behind the
 * "go" of the generation it has acknowledged last. Each drops all other bytes.
 *
 * A marker is SERIAL_MARKER bytes: 15 of magic, one for the kind (S, A or G), 8 of generation. Its
 * first byte is not zero, so a ttRPC session of before takes it for what it is, no frame, and ends.
 * One that waits for the rest of a long frame would swallow it: after SERIAL_FLUSH_AFTER without an
 * answer the host sends more 0xff bytes than a frame can have.
 */

#include <stdint.h>

#define SERIAL_MARKER      24
#define SERIAL_FLUSH_AFTER 1000000ULL /* µs */

/*
 * serial_open: the host's part, in a coroutine; fd becomes non-blocking and stays the caller's.
 * Returns 0 when the session has begun, -ETIMEDOUT (the monotonic deadline: the guest does not
 * answer), -EPIPE (end of stream), -EPROTO (the guest speaks before its turn) or -errno.
 */
int serial_open(int fd, uint64_t deadline);
/*
 * serial_accept: the guest's part, in a coroutine; fd becomes non-blocking and stays the caller's.
 * Returns 0 when a session has begun: not one of its bytes has been read. While the host is not
 * connected (end of stream) it waits. -ETIMEDOUT or -errno otherwise; call it again only with
 * USEC_NEVER or after the port was closed, since a late answer of the host would find nobody.
 */
int serial_accept(int fd, uint64_t deadline);
