/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/netlink/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

size_t ip_size(const struct ip *ip)
{
	return ip->family == AF_INET ? 4 : ip->family == AF_INET6 ? 16 : 0;
}

int ip_parse(const char *text, struct ip *ret)
{
	struct ip ip = {0};
	char address[IP_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint32_t prefix;

	if (n == 0 || n >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	ip.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ip.family, address, ip.bytes) != 1)
		return -EINVAL;
	prefix = (uint32_t)ip_size(&ip) * 8;
	if (slash) {
		uint32_t given;

		if (parse_u32(slash + 1, &given) < 0 || given > prefix)
			return -EINVAL;
		prefix = given;
	}
	ip.prefix = (uint8_t)prefix;
	*ret = ip;
	return 0;
}

int ip_from_bytes(uint8_t family, const void *p, size_t n, struct ip *ret)
{
	struct ip ip = {.family = family};

	if (n == 0 || n != ip_size(&ip))
		return -EBADMSG;
	memcpy(ip.bytes, p, n);
	ip.prefix = (uint8_t)(n * 8);
	*ret = ip;
	return 0;
}

void ip_format(const struct ip *ip, char out[IP_TEXT_MAX])
{
	if (!ip->family || !inet_ntop(ip->family, ip->bytes, out, IP_TEXT_MAX))
		out[0] = '\0';
}

void ip_format_prefix(const struct ip *ip, char out[IP_TEXT_MAX])
{
	size_t n;

	ip_format(ip, out);
	n = strlen(out);
	if (n)
		snprintf(out + n, IP_TEXT_MAX - n, "/%u", ip->prefix);
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, ip_size(a)) == 0;
}

bool ip_is_link_local(const struct ip *ip)
{
	return ip->family == AF_INET6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mac_parse(const char *text, uint8_t ret[MAC_LENGTH])
{
	uint8_t mac[MAC_LENGTH];

	if (strlen(text) != MAC_TEXT - 1)
		return -EINVAL;
	for (size_t i = 0; i < MAC_LENGTH; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < MAC_LENGTH - 1 ? ':' : '\0'))
			return -EINVAL;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret, mac, sizeof(mac));
	return 0;
}

void mac_format(const uint8_t mac[MAC_LENGTH], char out[MAC_TEXT])
{
	snprintf(out, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
}
