/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What comes before the file system in a disk image. The layout is that of Kata's images, so that
 * one file serves as a virtio disk and as an NVDIMM:
 *
 *	0	partition table of the disk: one partition, at PARTITION_OFFSET
 *	4 KiB	the NVDIMM's information block: its data begins at PARTITION_DATA, which the
 *		guest may map directly (DAX)
 *	2 MiB	PARTITION_DATA: partition table of the NVDIMM, for the same partition
 *	3 MiB	PARTITION_OFFSET: the file system
 */

#include <stdint.h>

#define PARTITION_DATA   (2U << 20)
#define PARTITION_OFFSET (3U << 20)
#define PARTITION_ALIGN  (2U << 20) /* of the whole: what a guest maps at once */

/* partition_image_size: bytes of the whole for a file system of `fs_size` bytes. */
uint64_t partition_image_size(uint64_t fs_size);
/*
 * partition_write_head: everything before PARTITION_OFFSET into the file, which has its size. `id`
 * becomes the disks' signature and the block's UUID. 0, or -errno: -EFBIG for more than a table of
 * this kind can express (2 TiB).
 */
int partition_write_head(int fd, uint64_t fs_size, const uint8_t id[16]);
