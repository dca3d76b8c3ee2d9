/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/bzimage.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

/* Offsets of boot.rst's "The Real-Mode Kernel Header". */
enum {
	OFFSET_SETUP_SECTS = 0x1f1,
	OFFSET_MAGIC = 0x202,
	OFFSET_PROTOCOL = 0x206,
	OFFSET_VERSION = 0x20e, /* relative to 0x200 */
	OFFSET_PAYLOAD = 0x248, /* relative to the protected-mode code */
	OFFSET_PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x250,
};

#define SECTOR               512U
#define SETUP_SECTS_DEFAULT  4U /* what 0 means */
#define PROTOCOL_HAS_PAYLOAD 0x0208

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_u32(const uint8_t *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

bool bzimage_detect(const void *image, size_t n)
{
	return n >= HEADER_END && memcmp((const char *)image + OFFSET_MAGIC, "HdrS", 4) == 0;
}

/* The version text is a C string inside of the setup part. Printable ASCII only: it is shown. */
static void copy_version(const uint8_t *image, size_t setup_len, struct bzimage *ret)
{
	size_t at = get_u16(image + OFFSET_VERSION), n = 0, word;

	if (at == 0)
		return;
	for (at += 0x200; at + n < setup_len && n < sizeof(ret->build) - 1; n++) {
		uint8_t c = image[at + n];

		if (c < ' ' || c > '~')
			break;
		ret->build[n] = (char)c;
	}
	word = strcspn(ret->build, " ");
	if (word < sizeof(ret->release))
		memcpy(ret->release, ret->build, word);
}

int bzimage_parse(const void *image, size_t n, struct bzimage *ret)
{
	const uint8_t *p = image;
	size_t setup_len, offset, length;
	struct bzimage result = {0};

	if (!bzimage_detect(image, n))
		return -ENOEXEC;
	if (get_u16(p + OFFSET_PROTOCOL) < PROTOCOL_HAS_PAYLOAD)
		return -ENOSYS;
	setup_len = ((p[OFFSET_SETUP_SECTS] ? p[OFFSET_SETUP_SECTS] : SETUP_SECTS_DEFAULT) + 1U) *
		    SECTOR;
	offset = get_u32(p + OFFSET_PAYLOAD);
	length = get_u32(p + OFFSET_PAYLOAD_LENGTH);
	if (setup_len > n || offset > n - setup_len || length > n - setup_len - offset ||
	    length == 0)
		return -EBADMSG;
	result.payload = p + setup_len + offset;
	result.payload_len = length;
	copy_version(p, setup_len, &result);
	*ret = result;
	return 0;
}
