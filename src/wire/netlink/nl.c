/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/nl.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"

/*
 * How it works: a request is built in a fixed buffer, so that it needs no clean-up and cannot
 * grow; what does not fit marks it and sending it fails. Every request asks for an acknowledgement,
 * so that each ends with exactly one NLMSG_ERROR or, for a dump, NLMSG_DONE. Messages of other
 * sequence numbers (late answers to a request that timed out) are skipped.
 */

#define RECEIVE_TIMEOUT_S 10

/* --- socket --- */

int nl_open(struct nl *nl, int protocol)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	socklen_t length = sizeof(address);
	struct timeval timeout = {.tv_sec = RECEIVE_TIMEOUT_S};
	_cleanup_(closep) int fd = -1;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	*nl = (struct nl){.fd = TAKE_FD(fd), .seq = 0, .port = address.nl_pid};
	return 0;
}

int nl_open_at(struct nl *nl, int protocol, int netns_fd)
{
	_cleanup_(closep) int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	if (own < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	r = nl_open(nl, protocol);
	/* Going on in a namespace of somebody else would be worse than ending. */
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	return r;
}

void nl_close(struct nl *nl)
{
	nl->fd = fd_close(nl->fd);
}

/* --- requests --- */

static void *extend(struct nl_msg *msg, size_t n)
{
	size_t aligned = NLMSG_ALIGN(n);
	void *p = msg->data + msg->len;

	if (msg->overflow || aligned < n || aligned > sizeof(msg->data) - msg->len) {
		msg->overflow = true;
		return NULL;
	}
	memset(p, 0, aligned);
	msg->len += aligned;
	return p;
}

static struct nlmsghdr *header_of(struct nl_msg *msg)
{
	return (struct nlmsghdr *)(void *)msg->data;
}

void nl_msg_init(struct nl_msg *msg, uint16_t type, uint16_t flags, const void *header, size_t n)
{
	void *body;

	msg->len = 0;
	msg->overflow = false;
	extend(msg, sizeof(struct nlmsghdr));
	header_of(msg)->nlmsg_type = type;
	header_of(msg)->nlmsg_flags = NLM_F_REQUEST | flags;
	body = extend(msg, n);
	if (body)
		memcpy(body, header, n);
}

void nl_put(struct nl_msg *msg, uint16_t type, const void *p, size_t n)
{
	struct nlattr *attr;

	if (n > UINT16_MAX - NLA_HDRLEN) {
		msg->overflow = true;
		return;
	}
	attr = extend(msg, NLA_HDRLEN + n);
	if (!attr)
		return;
	attr->nla_type = type;
	attr->nla_len = (uint16_t)(NLA_HDRLEN + n);
	if (n)
		memcpy((uint8_t *)attr + NLA_HDRLEN, p, n);
}

void nl_put_u8(struct nl_msg *msg, uint16_t type, uint8_t value)
{
	nl_put(msg, type, &value, sizeof(value));
}

void nl_put_u32(struct nl_msg *msg, uint16_t type, uint32_t value)
{
	nl_put(msg, type, &value, sizeof(value));
}

void nl_put_str(struct nl_msg *msg, uint16_t type, const char *s)
{
	nl_put(msg, type, s, strlen(s) + 1);
}

size_t nl_nest(struct nl_msg *msg, uint16_t type)
{
	size_t nest = msg->len;

	nl_put(msg, type, NULL, 0);
	return nest;
}

void nl_nest_end(struct nl_msg *msg, size_t nest)
{
	struct nlattr *attr;

	if (msg->overflow)
		return;
	attr = (struct nlattr *)(void *)(msg->data + nest);
	attr->nla_len = (uint16_t)(msg->len - nest);
}

static int send_request(struct nl *nl, struct nl_msg *msg)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (msg->overflow)
		return -EMSGSIZE;
	header_of(msg)->nlmsg_len = (uint32_t)msg->len;
	header_of(msg)->nlmsg_seq = ++nl->seq;
	header_of(msg)->nlmsg_pid = nl->port;
	for (;;) {
		if (sendto(nl->fd, msg->data, msg->len, 0, (struct sockaddr *)&kernel,
			   sizeof(kernel)) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* --- replies --- */

static int parse_error(const struct nlmsghdr *reply)
{
	const struct nlmsgerr *error = NLMSG_DATA(reply);

	if (reply->nlmsg_len < NLMSG_LENGTH(sizeof(error->error)))
		return -EBADMSG;
	/* Only a negative errno or 0 makes sense. */
	return error->error > 0 || error->error < -4095 ? -EBADMSG : error->error;
}

static int parse_done(const struct nlmsghdr *reply)
{
	int result = 0;

	/* A dump that fails half way says so in its end (an int). */
	if (reply->nlmsg_len >= NLMSG_LENGTH(sizeof(result)))
		memcpy(&result, NLMSG_DATA(reply), sizeof(result));
	return result < 0 && result >= -4095 ? result : 0;
}

int nl_parse(const void *p, size_t n, uint32_t seq, nl_reply_fn fn, void *arg)
{
	const uint8_t *at = p;

	while (n >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *reply = (const void *)at;
		size_t step;
		int r;

		if (reply->nlmsg_len < sizeof(*reply) || reply->nlmsg_len > n)
			return -EBADMSG;
		if (reply->nlmsg_seq == seq) {
			if (reply->nlmsg_flags & NLM_F_DUMP_INTR)
				return -EAGAIN;
			if (reply->nlmsg_type == NLMSG_ERROR)
				return parse_error(reply);
			if (reply->nlmsg_type == NLMSG_DONE)
				return parse_done(reply);
			if (reply->nlmsg_type >= NLMSG_MIN_TYPE && fn) {
				r = fn(reply, arg);
				if (r < 0)
					return r;
			}
		}
		step = MIN((size_t)NLMSG_ALIGN(reply->nlmsg_len), n);
		at += step;
		n -= step;
	}
	return 1;
}

int nl_request(struct nl *nl, struct nl_msg *msg, nl_reply_fn fn, void *arg)
{
	_cleanup_(freep) void *reply = NULL;
	bool dump;
	int r;

	dump = (header_of(msg)->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	if (!dump)
		header_of(msg)->nlmsg_flags |= NLM_F_ACK;
	r = send_request(nl, msg);
	if (r < 0)
		return r;
	reply = xmalloc(NL_REPLY_MAX);
	for (;;) {
		struct sockaddr_nl from = {0};
		socklen_t length = sizeof(from);
		ssize_t n = recvfrom(nl->fd, reply, NL_REPLY_MAX, MSG_TRUNC,
				     (struct sockaddr *)&from, &length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		/* Only the kernel has port 0; other processes can send to our port. */
		if (from.nl_pid != 0)
			continue;
		if ((size_t)n > NL_REPLY_MAX)
			return -EMSGSIZE;
		r = nl_parse(reply, (size_t)n, nl->seq, fn, arg);
		if (r <= 0)
			return r;
	}
}

int nl_ack(struct nl *nl, struct nl_msg *msg)
{
	return nl_request(nl, msg, NULL, NULL);
}

/* --- attributes --- */

int nl_iter_init(struct nl_iter *it, const struct nlmsghdr *reply, size_t n,
		 const void **ret_header)
{
	size_t body = NLMSG_ALIGN(n);

	if (reply->nlmsg_len < NLMSG_HDRLEN + n)
		return -EBADMSG;
	*ret_header = NLMSG_DATA(reply);
	it->left = reply->nlmsg_len - NLMSG_HDRLEN;
	it->p = NLMSG_DATA(reply);
	body = MIN(body, it->left);
	it->p += body;
	it->left -= body;
	return 0;
}

void nl_iter_nested(struct nl_iter *it, const struct nl_attr *attr)
{
	it->p = attr->data;
	it->left = attr->len;
}

bool nl_iter_next(struct nl_iter *it, struct nl_attr *ret)
{
	struct nlattr attr;
	size_t step;

	if (it->left < NLA_HDRLEN)
		return false;
	memcpy(&attr, it->p, sizeof(attr));
	if (attr.nla_len < NLA_HDRLEN || attr.nla_len > it->left)
		return false;
	ret->type = attr.nla_type & NLA_TYPE_MASK;
	ret->data = it->p + NLA_HDRLEN;
	ret->len = attr.nla_len - (size_t)NLA_HDRLEN;
	step = MIN((size_t)NLA_ALIGN(attr.nla_len), it->left);
	it->p += step;
	it->left -= step;
	return true;
}

uint32_t nl_attr_u32(const struct nl_attr *attr)
{
	uint32_t value = 0;

	if (attr->len == sizeof(value))
		memcpy(&value, attr->data, sizeof(value));
	return value;
}

uint8_t nl_attr_u8(const struct nl_attr *attr)
{
	return attr->len == 1 ? attr->data[0] : 0;
}

bool nl_attr_str(const struct nl_attr *attr, char *out, size_t size)
{
	size_t n = strnlen((const char *)attr->data, attr->len);

	if (n >= size)
		return false;
	memcpy(out, attr->data, n);
	out[n] = '\0';
	return true;
}
