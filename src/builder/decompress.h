/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What kernels and their modules are packed with, unpacked into memory. */

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

enum compression {
	COMPRESSION_NONE, /* none that is known */
	COMPRESSION_GZIP,
	COMPRESSION_XZ,
	COMPRESSION_LZMA,
	COMPRESSION_LZ4, /* the legacy format, which kernels use */
	COMPRESSION_ZSTD,
	COMPRESSION_BZIP2,
	COMPRESSION_LZO,
	_COMPRESSION_MAX,
};

/* compression_detect: by the first bytes. */
enum compression compression_detect(const void *data, size_t n);
const char *compression_name(enum compression c);
/*
 * decompress: append the first stream in data to out; what follows the stream is ignored (kernels
 * append their size). At most `max` bytes come out: -EFBIG above. -ENOSYS for bzip2, LZO and
 * unknown formats, -EBADMSG for broken data. out may hold partial output after an error.
 */
int decompress(const void *data, size_t n, size_t max, struct buf *out, struct err *err);
