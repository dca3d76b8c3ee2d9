/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/partition.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/*
 * The tables are MBRs: every kernel reads them, and they have no copy at the end of the disk that
 * would have to be at another place for the NVDIMM. The information block is that of
 * drivers/nvdimm/pfn.h: it makes the kernel keep a struct page for each page of the image (in
 * memory, PFN_MODE_RAM), without which there is no DAX.
 */

#define SECTOR          512U
#define TYPE_LINUX      0x83U
#define INFO_OFFSET     4096U
#define INFO_SIZE       4096U
#define GUEST_PAGE      4096U
#define PFN_MODE_RAM    1U
#define PFN_MINOR       4U             /* page_size and page_struct_size are set */
#define PAGE_STRUCT     64U            /* sizeof(struct page) of x86-64 */
#define CHS_BEYOND      "\xfe\xff\xff" /* the addresses of old: look at the sector numbers */
#define TABLE_SIGNATURE 440U
#define TABLE_ENTRY     446U
#define TABLE_MAGIC     510U

struct table_entry {
	uint8_t status;
	uint8_t first[3];
	uint8_t type;
	uint8_t last[3];
	uint8_t start[4], sectors[4];
};

struct pfn_info {
	uint8_t signature[16];
	uint8_t uuid[16];
	uint8_t parent_uuid[16]; /* zero: an NVDIMM without labels */
	uint32_t flags;
	uint16_t version_major, version_minor;
	uint64_t dataoff;
	uint64_t npfns;
	uint32_t mode;
	uint32_t start_pad, end_trunc;
	uint32_t align;
	uint32_t page_size;
	uint16_t page_struct_size;
	uint8_t padding[INFO_SIZE - 102U];
	uint64_t checksum;
};

_Static_assert(sizeof(struct table_entry) == 16, "as on disk");
_Static_assert(sizeof(struct pfn_info) == INFO_SIZE, "as on disk");

static void put_le32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static void fill_table(uint8_t table[SECTOR], uint64_t offset, uint64_t size, const uint8_t id[16])
{
	struct table_entry entry = {.type = TYPE_LINUX};

	memcpy(entry.first, CHS_BEYOND, sizeof(entry.first));
	memcpy(entry.last, CHS_BEYOND, sizeof(entry.last));
	put_le32(entry.start, (uint32_t)(offset / SECTOR));
	put_le32(entry.sectors, (uint32_t)(size / SECTOR));
	memset(table, 0, SECTOR);
	memcpy(table + TABLE_SIGNATURE, id, 4);
	memcpy(table + TABLE_ENTRY, &entry, sizeof(entry));
	table[TABLE_MAGIC] = 0x55;
	table[TABLE_MAGIC + 1] = 0xaa;
}

/* Fletcher's sum over 32-bit words, as the kernel computes it (nd_fletcher64). */
static uint64_t checksum(const struct pfn_info *info)
{
	uint32_t low = 0, word;
	uint64_t high = 0;

	for (size_t i = 0; i < sizeof(*info); i += sizeof(word)) {
		memcpy(&word, (const uint8_t *)info + i, sizeof(word));
		low += le32toh(word);
		high += low;
	}
	return high << 32 | low;
}

static void fill_info(struct pfn_info *info, uint64_t image_size, const uint8_t id[16])
{
	*info = (struct pfn_info){
		.signature = "NVDIMM_PFN_INFO",
		.version_major = htole16(1),
		.version_minor = htole16(PFN_MINOR),
		.dataoff = htole64(PARTITION_DATA),
		.npfns = htole64((image_size - PARTITION_DATA) / GUEST_PAGE),
		.mode = htole32(PFN_MODE_RAM),
		.align = htole32(PARTITION_ALIGN),
		.page_size = htole32(GUEST_PAGE),
		.page_struct_size = htole16(PAGE_STRUCT),
	};
	memcpy(info->uuid, id, sizeof(info->uuid));
	info->checksum = htole64(checksum(info));
}

static int write_at(int fd, const void *p, size_t n, off_t offset)
{
	ssize_t written = pwrite(fd, p, n, offset);

	if (written < 0)
		return -errno;
	return (size_t)written == n ? 0 : -ENOSPC;
}

uint64_t partition_image_size(uint64_t fs_size)
{
	uint64_t size = PARTITION_OFFSET + fs_size;

	return (size + PARTITION_ALIGN - 1) / PARTITION_ALIGN * PARTITION_ALIGN;
}

int partition_write_head(int fd, uint64_t fs_size, const uint8_t id[16])
{
	/* The rest of the image belongs to the partition as well. */
	uint64_t image = partition_image_size(fs_size), size = image - PARTITION_OFFSET;
	uint8_t table[SECTOR];
	struct pfn_info info;
	int r;

	if (image / SECTOR > UINT32_MAX)
		return -EFBIG;
	fill_table(table, PARTITION_OFFSET, size, id);
	r = write_at(fd, table, sizeof(table), 0);
	fill_info(&info, image, id);
	if (r == 0)
		r = write_at(fd, &info, sizeof(info), INFO_OFFSET);
	fill_table(table, PARTITION_OFFSET - PARTITION_DATA, size, id);
	return r < 0 ? r : write_at(fd, table, sizeof(table), PARTITION_DATA);
}
