/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/uevent.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define KERNEL_GROUP 1U /* udevd forwards its own in group 2 */
#define RECEIVE_ROOM (1 << 20)

int uevent_open(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	_cleanup_(closep) int fd = -1;
	int room = RECEIVE_ROOM;

	fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	/* Bursts: hot-plugging memory sends an event a block. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return TAKE_FD(fd);
}

int uevent_receive(int fd, char buf[UEVENT_MAX], struct uevent *ret)
{
	struct sockaddr_nl from = {0};
	socklen_t length = sizeof(from);
	ssize_t n;

	n = recvfrom(fd, buf, UEVENT_MAX - 1, MSG_TRUNC, (struct sockaddr *)&from, &length);
	if (n < 0)
		return -errno;
	if (from.nl_pid != 0 || n >= (ssize_t)UEVENT_MAX)
		return -EBADMSG;
	return uevent_parse(buf, (size_t)n, ret);
}

int uevent_parse(char *buf, size_t n, struct uevent *ret)
{
	struct uevent event = {0};
	const struct {
		const char *key;
		const char **value;
	} keys[] = {
		{"ACTION=", &event.action},       {"DEVPATH=", &event.devpath},
		{"SUBSYSTEM=", &event.subsystem}, {"DEVNAME=", &event.devname},
		{"INTERFACE=", &event.interface}, {"MODALIAS=", &event.modalias},
	};
	size_t at;

	buf[n] = '\0';
	at = strlen(buf) + 1; /* the summary line says the same as the keys */
	if (!memchr(buf, '@', MIN(at, n)))
		return -EBADMSG;
	while (at < n) {
		const char *entry = buf + at;

		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			const char *value = str_skip_prefix(entry, keys[i].key);

			if (value)
				*keys[i].value = value;
		}
		at += strlen(entry) + 1;
	}
	if (!event.action || !event.devpath)
		return -EBADMSG;
	*ret = event;
	return 0;
}
