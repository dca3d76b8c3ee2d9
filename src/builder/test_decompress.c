/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "builder/decompress.h"

#define PLAIN_SIZE (9U << 20) /* more than one block of LZ4 */

static char *plain;

static void put_u32(struct buf *b, uint32_t v)
{
	const char bytes[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};

	buf_add(b, bytes, sizeof(bytes));
}

static void pack_gzip(struct buf *out)
{
	z_stream z = {.next_in = (Bytef *)plain, .avail_in = PLAIN_SIZE};

	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
	buf_reserve(out, deflateBound(&z, PLAIN_SIZE));
	z.next_out = (Bytef *)out->data;
	z.avail_out = (uInt)out->cap;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	out->len = z.total_out;
	deflateEnd(&z);
}

static void run_lzma(lzma_stream *z, struct buf *out)
{
	buf_reserve(out, PLAIN_SIZE);
	z->next_in = (uint8_t *)plain;
	z->avail_in = PLAIN_SIZE;
	z->next_out = (uint8_t *)out->data;
	z->avail_out = PLAIN_SIZE;
	assert_int_equal(lzma_code(z, LZMA_FINISH), LZMA_STREAM_END);
	out->len = z->total_out;
	lzma_end(z);
}

static void pack_xz(struct buf *out)
{
	lzma_stream z = LZMA_STREAM_INIT;

	assert_int_equal(lzma_easy_encoder(&z, 0, LZMA_CHECK_CRC32), LZMA_OK);
	run_lzma(&z, out);
}

static void pack_lzma(struct buf *out)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_options_lzma options;

	assert_false(lzma_lzma_preset(&options, 0));
	assert_int_equal(lzma_alone_encoder(&z, &options), LZMA_OK);
	run_lzma(&z, out);
}

static void pack_lz4(struct buf *out)
{
	const size_t block = 8U << 20;

	put_u32(out, 0x184c2102);
	for (size_t at = 0; at < PLAIN_SIZE; at += block) {
		int n = (int)MIN(block, PLAIN_SIZE - at);
		_cleanup_(freep) char *packed = xmalloc((size_t)LZ4_compressBound(n));
		int got = LZ4_compress_default(plain + at, packed, n, LZ4_compressBound(n));

		put_u32(out, (uint32_t)got);
		buf_add(out, packed, (size_t)got);
	}
}

static void pack_zstd(struct buf *out)
{
	buf_reserve(out, ZSTD_compressBound(PLAIN_SIZE));
	out->len = ZSTD_compress(out->data, ZSTD_compressBound(PLAIN_SIZE), plain, PLAIN_SIZE, 1);
}

static const struct {
	enum compression compression;
	void (*pack)(struct buf *out);
} packers[] = {
	{COMPRESSION_GZIP, pack_gzip}, {COMPRESSION_XZ, pack_xz},     {COMPRESSION_LZMA, pack_lzma},
	{COMPRESSION_LZ4, pack_lz4},   {COMPRESSION_ZSTD, pack_zstd},
};

/* Every format, with the four bytes of size behind it that kernels have. */
static void test_formats(_unused_ void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {
		_cleanup_(buf_fini) struct buf packed = {0}, out = {0};
		_cleanup_err_ struct err err = {0};

		packers[i].pack(&packed);
		put_u32(&packed, PLAIN_SIZE);
		assert_int_equal(compression_detect(packed.data, packed.len),
				 packers[i].compression);
		assert_int_equal(decompress(packed.data, packed.len, PLAIN_SIZE, &out, &err), 0);
		assert_int_equal(out.len, PLAIN_SIZE);
		assert_memory_equal(out.data, plain, PLAIN_SIZE);
	}
}

/* A bomb: one byte more than is allowed. */
static void test_most(_unused_ void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {
		_cleanup_(buf_fini) struct buf packed = {0}, out = {0};
		_cleanup_err_ struct err err = {0};

		packers[i].pack(&packed);
		put_u32(&packed, PLAIN_SIZE);
		assert_int_equal(decompress(packed.data, packed.len, PLAIN_SIZE - 1, &out, &err),
				 -EFBIG);
		assert_true(out.len < PLAIN_SIZE);
	}
}

static void test_truncated(_unused_ void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(packers); i++) {
		_cleanup_(buf_fini) struct buf packed = {0};

		packers[i].pack(&packed);
		for (size_t n = 8; n < packed.len; n += packed.len / 5) {
			_cleanup_(buf_fini) struct buf out = {0};
			_cleanup_err_ struct err err = {0};
			int r = decompress(packed.data, n, PLAIN_SIZE, &out, &err);

			/* An LZ4 stream may end behind any block. */
			if (packers[i].compression == COMPRESSION_LZ4 && r == 0)
				assert_true(out.len < PLAIN_SIZE);
			else
				assert_int_equal(r, -EBADMSG);
		}
	}
}

static void test_unsupported(_unused_ void **state)
{
	_cleanup_(buf_fini) struct buf out = {0};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(decompress("BZh91AY", 7, 100, &out, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "bzip2"));
	err_clear(&err);
	assert_int_equal(decompress("", 0, 100, &out, &err), -ENOSYS);
}

static int make_plain(_unused_ void **state)
{
	uint32_t seed = 1;

	plain = xmalloc(PLAIN_SIZE);
	for (size_t i = 0; i < PLAIN_SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		plain[i] = i % 509 ? 'k' : (char)(seed >> 28);
	}
	return 0;
}

static int free_plain(_unused_ void **state)
{
	free(plain);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_unsupported),
	};

	return cmocka_run_group_tests(tests, make_plain, free_plain);
}
