/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of rtnetlink, and uevents. The first byte says which. */
#include <stdlib.h>
#include <string.h>

#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/netlink/neigh.h"
#include "wire/netlink/route.h"
#include "wire/netlink/uevent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse_all(const struct nlmsghdr *reply, void *arg)
{
	char text[IP_TEXT_MAX];
	struct neigh neigh;
	struct route route;
	struct link link;
	struct addr addr;

	(void)arg;
	link_parse(reply, &link);
	if (addr_parse(reply, &addr) == 0)
		ip_format_prefix(&addr.ip, text);
	if (route_parse(reply, &route) == 0)
		ip_format_prefix(&route.dest, text);
	if (neigh_parse(reply, &neigh) == 0)
		ip_format(&neigh.ip, text);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct uevent event;
	char *copy;

	if (size < 1 || size > UEVENT_MAX)
		return 0;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		uevent_parse(copy, size - 1, &event);
	else
		nl_parse(copy, size - 1, 7, parse_all, NULL);
	free(copy);
	return 0;
}
