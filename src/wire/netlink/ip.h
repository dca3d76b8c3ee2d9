/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* IP addresses and prefixes, without the resolver: numbers only. */

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_TEXT_MAX (INET6_ADDRSTRLEN + 4) /* with "/128" */
#define MAC_LENGTH  6
#define MAC_TEXT    18

struct ip {
	uint8_t family; /* AF_INET, AF_INET6; 0: none (a default route's destination) */
	uint8_t prefix; /* length in bits */
	uint8_t bytes[16];
};

/* ip_size: 4, 16, or 0. */
size_t ip_size(const struct ip *ip);
/* ip_parse: "10.0.0.1", "10.0.0.1/24", "fe80::1/64"; without a length the prefix is the whole
 * address. Returns 0 or -EINVAL. */
int ip_parse(const char *text, struct ip *ret);
/* ip_from_bytes: 0, or -EBADMSG when n is not the size of the family. */
int ip_from_bytes(uint8_t family, const void *p, size_t n, struct ip *ret);
/* ip_format: the address without its prefix; "" for none. */
void ip_format(const struct ip *ip, char out[IP_TEXT_MAX]);
/* ip_format_prefix: with "/length". */
void ip_format_prefix(const struct ip *ip, char out[IP_TEXT_MAX]);
bool ip_equal(const struct ip *a, const struct ip *b);
/* ip_is_link_local: fe80::/10. */
bool ip_is_link_local(const struct ip *ip);

/* mac_parse: "02:ca:fe:00:00:01". Returns 0 or -EINVAL. */
int mac_parse(const char *text, uint8_t ret[MAC_LENGTH]);
void mac_format(const uint8_t mac[MAC_LENGTH], char out[MAC_TEXT]);
