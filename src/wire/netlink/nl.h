/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Netlink (RFC 3549, linux/netlink.h): requests, acknowledgements, dumps, attributes. The socket
 * is blocking with a receive time-out: rtnetlink answers from within sendmsg(2), so that a request
 * costs some ten µs and needs neither loop nor coroutine.
 *
 * Replies are parsed as if they came from a stranger: every length is checked, what does not fit is
 * -EBADMSG.
 */

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define NL_REQUEST_MAX 8192U
#define NL_REPLY_MAX   65536U

struct nl {
	int fd; /* -1: closed */
	uint32_t seq;
	uint32_t port;
};

#define NL_CLOSED        \
	{                \
		.fd = -1 \
	}

/* nl_open: a socket of `protocol` (NETLINK_ROUTE …) in the caller's network namespace. */
int nl_open(struct nl *nl, int protocol);
/* nl_open_at: the same in the namespace of netns_fd; the caller's own is restored (CAP_SYS_ADMIN).
 */
int nl_open_at(struct nl *nl, int protocol, int netns_fd);
/* nl_close: closing twice is fine; usable with _cleanup_. */
void nl_close(struct nl *nl);

/* --- requests --- */

struct nl_msg {
	size_t len;
	bool overflow; /* something did not fit: sending gives -EMSGSIZE */
	_Alignas(4) uint8_t data[NL_REQUEST_MAX];
};

/* nl_msg_init: a request of `type` with NLM_F_REQUEST | flags and the family's header behind. */
void nl_msg_init(struct nl_msg *msg, uint16_t type, uint16_t flags, const void *header, size_t n);
void nl_put(struct nl_msg *msg, uint16_t type, const void *p, size_t n);
void nl_put_u8(struct nl_msg *msg, uint16_t type, uint8_t value);
void nl_put_u32(struct nl_msg *msg, uint16_t type, uint32_t value);
/* nl_put_str: with its terminating NUL. */
void nl_put_str(struct nl_msg *msg, uint16_t type, const char *s);
/* nl_nest, nl_nest_end: attributes put between the two are inside of one of `type`. */
size_t nl_nest(struct nl_msg *msg, uint16_t type);
void nl_nest_end(struct nl_msg *msg, size_t nest);

/* nl_ack: send and wait for the acknowledgement. Returns 0 or the kernel's -errno. */
int nl_ack(struct nl *nl, struct nl_msg *msg);

/* A reply: the family's message. Returning a negative number ends the walk with it. */
typedef int (*nl_reply_fn)(const struct nlmsghdr *reply, void *arg);
/*
 * nl_request: send, and call fn for each reply until the end of the dump (NLM_F_DUMP in the
 * request's flags) or the acknowledgement. Returns 0 or -errno; -EAGAIN when the kernel says that
 * the dump was interrupted by a change (ask again).
 */
int nl_request(struct nl *nl, struct nl_msg *msg, nl_reply_fn fn, void *arg);
/*
 * nl_parse: one datagram of replies to request `seq`; what nl_request does with what it receives.
 * Returns 1 when more is to come, 0 at the end, or -errno. Public for the fuzzer.
 */
int nl_parse(const void *p, size_t n, uint32_t seq, nl_reply_fn fn, void *arg);

/* --- attributes --- */

struct nl_attr {
	uint16_t type; /* without NLA_F_ flags */
	const uint8_t *data;
	size_t len;
};

/* A walk over attributes. */
struct nl_iter {
	const uint8_t *p;
	size_t left;
};

/*
 * nl_iter_init: over the attributes of `reply` behind a family header of n bytes. -EBADMSG when
 * the message is too short for it; *ret_header is the header.
 */
int nl_iter_init(struct nl_iter *it, const struct nlmsghdr *reply, size_t n,
		 const void **ret_header);
/* nl_iter_nested: over the attributes within `attr`. */
void nl_iter_nested(struct nl_iter *it, const struct nl_attr *attr);
/* nl_iter_next: false at the end or where the rest makes no sense. */
bool nl_iter_next(struct nl_iter *it, struct nl_attr *ret);

/* The value, or 0 / false when the attribute has not that size. */
uint32_t nl_attr_u32(const struct nl_attr *attr);
uint8_t nl_attr_u8(const struct nl_attr *attr);
/* nl_attr_str: copy text into `out` (NUL-terminated); false when it does not fit in `size`. */
bool nl_attr_str(const struct nl_attr *attr, char *out, size_t size);
