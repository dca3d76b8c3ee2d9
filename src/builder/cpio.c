/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/cpio.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CPIO_MAGIC   "070701"
#define CPIO_TRAILER "TRAILER!!!"
#define CPIO_ALIGN   4U
/* GNU cpio and the kernel both read archives of any length; block-sized ones please other tools. */
#define CPIO_BLOCK 512U

static void pad(struct buf *out, size_t start, size_t align)
{
	while ((out->len - start) % align)
		buf_addc(out, '\0');
}

static void add_record(struct buf *out, size_t start, uint32_t inode, const struct tree_node *node,
		       uint32_t mtime)
{
	size_t name_size = strlen(node->path) + 1;
	uint32_t links = S_ISDIR(node->mode) ? 2 : 1;

	/* magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
	 * namesize check */
	buf_addf(out, CPIO_MAGIC "%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode,
		 (unsigned)node->mode, 0U, 0U, links, mtime, (unsigned)node->len, 0U, 0U,
		 (unsigned)major(node->device), (unsigned)minor(node->device), (unsigned)name_size,
		 0U);
	buf_add(out, node->path, name_size);
	pad(out, start, CPIO_ALIGN);
	if (node->len)
		buf_add(out, node->data, node->len);
	pad(out, start, CPIO_ALIGN);
}

int cpio_encode(const struct tree *t, int64_t mtime, struct buf *out)
{
	struct tree_node trailer = {.path = (char *)CPIO_TRAILER};
	size_t start = out->len;

	if (mtime < 0 || mtime > UINT32_MAX)
		return -EFBIG;
	for (size_t i = 0; i < t->n; i++) {
		if (t->nodes[i].len > UINT32_MAX)
			return -EFBIG;
		add_record(out, start, (uint32_t)i + 1, &t->nodes[i], (uint32_t)mtime);
	}
	add_record(out, start, 0, &trailer, 0);
	pad(out, start, CPIO_BLOCK);
	return 0;
}
