/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/decompress.h"

#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/*
 * How it works: one function per format, each of which grows `out` by CHUNK until its library says
 * that the stream has ended, the input ends (an error) or the output would pass `max`. Their memory
 * is bounded too: the dictionary of xz and the window of zstd may not exceed MEMORY_MAX.
 */

#define CHUNK      (4U << 20)
#define MEMORY_MAX (192U << 20)
/* Legacy LZ4: blocks of at most 8 MiB, each behind its compressed size. */
#define LZ4_LEGACY_MAGIC 0x184c2102U
#define LZ4_LEGACY_BLOCK (8U << 20)

struct format {
	const char *name;
	uint8_t magic[6];
	size_t magic_len;
	int (*unpack)(const uint8_t *in, size_t n, size_t max, struct buf *out);
};

/* Room for more output: at most CHUNK, never past max. Returns 0 when the output is full. */
static size_t make_room(struct buf *out, size_t start, size_t max)
{
	size_t room = MIN(max - (out->len - start), (size_t)CHUNK);

	buf_reserve(out, room);
	return room;
}

static int unpack_gzip(const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	z_stream z = {.next_in = (Bytef *)in, .avail_in = (uInt)n};
	size_t start = out->len;
	int r = inflateInit2(&z, 15 + 16);

	if (r != Z_OK)
		return -ENOMEM;
	do {
		size_t room = make_room(out, start, max);

		z.next_out = (Bytef *)out->data + out->len;
		z.avail_out = (uInt)room;
		r = inflate(&z, Z_NO_FLUSH);
		out->len += room - z.avail_out;
		if (room == 0 && r == Z_BUF_ERROR) {
			inflateEnd(&z);
			return -EFBIG;
		}
	} while (r == Z_OK);
	inflateEnd(&z);
	return r == Z_STREAM_END ? 0 : -EBADMSG;
}

static int run_lzma(lzma_stream *z, const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	size_t start = out->len;
	lzma_ret r;

	z->next_in = in;
	z->avail_in = n;
	do {
		size_t room = make_room(out, start, max);

		z->next_out = (uint8_t *)out->data + out->len;
		z->avail_out = room;
		r = lzma_code(z, LZMA_RUN);
		out->len += room - z->avail_out;
		if (room == 0 && (r == LZMA_OK || r == LZMA_BUF_ERROR) && z->avail_in > 0)
			return -EFBIG;
	} while (r == LZMA_OK);
	if (r == LZMA_MEMLIMIT_ERROR || r == LZMA_MEM_ERROR)
		return -ENOMEM;
	return r == LZMA_STREAM_END ? 0 : -EBADMSG;
}

static int unpack_xz(const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	lzma_stream z = LZMA_STREAM_INIT;
	int r = lzma_stream_decoder(&z, MEMORY_MAX, 0) == LZMA_OK ? 0 : -ENOMEM;

	if (r == 0)
		r = run_lzma(&z, in, n, max, out);
	lzma_end(&z);
	return r;
}

static int unpack_lzma(const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	lzma_stream z = LZMA_STREAM_INIT;
	int r = lzma_alone_decoder(&z, MEMORY_MAX) == LZMA_OK ? 0 : -ENOMEM;

	if (r == 0)
		r = run_lzma(&z, in, n, max, out);
	lzma_end(&z);
	return r;
}

static int unpack_lz4(const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	size_t start = out->len, at = 4;

	while (n - at >= 4) {
		uint32_t size = in[at] | (uint32_t)in[at + 1] << 8 | (uint32_t)in[at + 2] << 16 |
				(uint32_t)in[at + 3] << 24;
		size_t room = MIN(max - (out->len - start), (size_t)LZ4_LEGACY_BLOCK);
		int got;

		at += 4;
		if (size == LZ4_LEGACY_MAGIC)
			continue;
		/* The kernel's own size comes last: it is no block, nothing follows it. */
		if (at == n && out->len > start)
			return 0;
		if (size == 0 || size > n - at ||
		    size > (uint32_t)LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
			return -EBADMSG;
		buf_reserve(out, room);
		got = LZ4_decompress_safe((const char *)in + at, out->data + out->len, (int)size,
					  (int)room);
		if (got < 0)
			return room < LZ4_LEGACY_BLOCK ? -EFBIG : -EBADMSG;
		out->len += (size_t)got;
		at += size;
	}
	return at == n && out->len > start ? 0 : -EBADMSG;
}

static int unpack_zstd(const uint8_t *in, size_t n, size_t max, struct buf *out)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_inBuffer input = {.src = in, .size = n};
	size_t start = out->len, left;
	int r = 0;

	if (!z)
		return -ENOMEM;
	do {
		ZSTD_outBuffer output = {.size = make_room(out, start, max)};
		size_t before = input.pos;

		output.dst = out->data + out->len;
		left = ZSTD_decompressStream(z, &output, &input);
		out->len += output.pos;
		if (ZSTD_isError(left) || (left > 0 && output.pos == 0 && input.pos == before))
			r = output.size == 0 ? -EFBIG : -EBADMSG;
	} while (r == 0 && left > 0);
	ZSTD_freeDStream(z);
	return r;
}

static const struct format formats[_COMPRESSION_MAX] = {
	[COMPRESSION_NONE] = {"no known compression"},
	[COMPRESSION_GZIP] = {"gzip", {0x1f, 0x8b}, 2, unpack_gzip},
	[COMPRESSION_XZ] = {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz},
	[COMPRESSION_LZMA] = {"lzma", {0x5d, 0, 0}, 3, unpack_lzma},
	[COMPRESSION_LZ4] = {"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4},
	[COMPRESSION_ZSTD] = {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd},
	[COMPRESSION_BZIP2] = {"bzip2", {'B', 'Z', 'h'}, 3, NULL},
	[COMPRESSION_LZO] = {"lzo", {0x89, 'L', 'Z', 'O'}, 4, NULL},
};

enum compression compression_detect(const void *data, size_t n)
{
	for (unsigned c = COMPRESSION_GZIP; c < _COMPRESSION_MAX; c++)
		if (n >= formats[c].magic_len &&
		    memcmp(data, formats[c].magic, formats[c].magic_len) == 0)
			return (enum compression)c;
	return COMPRESSION_NONE;
}

const char *compression_name(enum compression c)
{
	return formats[c].name;
}

int decompress(const void *data, size_t n, size_t max, struct buf *out, struct err *err)
{
	const struct format *f = &formats[compression_detect(data, n)];
	int r;

	if (!f->unpack)
		return err_setx(err, -ENOSYS, "%s is not supported here", f->name);
	r = f->unpack(data, n, max, out);
	if (r == -EFBIG)
		return err_setx(err, r, "%s: more than %zu MiB", f->name, max >> 20);
	if (r == -EBADMSG)
		return err_setx(err, r, "%s: the data are damaged or cut off", f->name);
	return r < 0 ? err_set(err, r, "%s", f->name) : 0;
}
