/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/template.h"

/*
 * How it works: most of a guest's memory was never written, and both files are sparse. The source
 * is mapped and written to the target in runs, so that every page is copied once and the target's
 * pages are made by the kernel without being cleared first.
 */

#define PAGE 4096U

static bool is_zero(const uint8_t *page)
{
	const uint64_t *word = (const uint64_t *)page;
	uint64_t any = 0;

	for (size_t i = 0; i < PAGE / sizeof(*word); i += 8) {
		for (size_t k = 0; k < 8; k++)
			any |= word[i + k];
		if (any)
			return false;
	}
	return true;
}

static int write_run(int to, const uint8_t *data, uint64_t offset, uint64_t n)
{
	while (n) {
		ssize_t done = pwrite(to, data, n, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		data += done;
		offset += (uint64_t)done;
		n -= (uint64_t)done;
	}
	return 0;
}

/* Without its pages of zeros. */
static int squeeze_run(int to, const uint8_t *base, uint64_t offset, uint64_t end, uint64_t *copied)
{
	int r = 0;

	while (r == 0 && offset < end) {
		uint64_t stop;

		while (offset < end && is_zero(base + offset))
			offset += PAGE;
		stop = offset;
		while (stop < end && !is_zero(base + stop))
			stop += PAGE;
		r = write_run(to, base + offset, offset, stop - offset);
		*copied += stop - offset;
		offset = stop;
	}
	return r;
}

static int copy_runs(int from, int to, const uint8_t *base, uint64_t size, bool squeeze,
		     uint64_t *copied)
{
	off_t at = 0;
	int r = 0;

	while (r == 0 && (uint64_t)at < size) {
		off_t begin = lseek(from, at, SEEK_DATA), end;

		if (begin < 0)
			return errno == ENXIO ? 0 : -errno;
		end = lseek(from, begin, SEEK_HOLE);
		if (end < 0)
			return -errno;
		/* Whole pages, within what was promised. */
		begin &= ~(off_t)(PAGE - 1);
		end = MIN((off_t)size, (end + PAGE - 1) & ~(off_t)(PAGE - 1));
		if (squeeze) {
			r = squeeze_run(to, base, (uint64_t)begin, (uint64_t)end, copied);
		} else {
			r = write_run(to, base + begin, (uint64_t)begin, (uint64_t)(end - begin));
			*copied += (uint64_t)(end - begin);
		}
		at = end;
	}
	return r;
}

int template_copy_memory(int from, int to, uint64_t size, bool squeeze, uint64_t *ret)
{
	void *base;
	int r;

	*ret = 0;
	if (size == 0 || size % PAGE)
		return -EINVAL;
	if (ftruncate(to, (off_t)size) < 0)
		return -errno;
	base = mmap(NULL, size, PROT_READ, MAP_SHARED, from, 0);
	if (base == MAP_FAILED)
		return -errno;
	r = copy_runs(from, to, base, size, squeeze, ret);
	munmap(base, size);
	return r;
}
