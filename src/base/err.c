/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"

int err_set_at(struct err *err, int r, int with_errno, const char *file, int line, const char *fmt,
	       ...)
{
	va_list ap;
	char *msg;

	if (!err)
		return r;
	va_start(ap, fmt);
	msg = xvasprintf(fmt, ap);
	va_end(ap);
	if (with_errno) {
		char *full = xasprintf("%s: %s", msg, strerror(-r));

		free(msg);
		msg = full;
	}
	err_clear(err);
	*err = (struct err){.code = r, .msg = msg, .file = file, .line = line};
	return r;
}

int err_wrap_at(struct err *err, int r, const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	char *prefix, *msg;

	if (!err)
		return r;
	va_start(ap, fmt);
	prefix = xvasprintf(fmt, ap);
	va_end(ap);
	msg = xasprintf("%s: %s", prefix, err->msg ? err->msg : strerror(-r));
	free(prefix);
	free(err->msg);
	err->msg = msg;
	if (!err->code) {
		err->code = r;
		err->file = file;
		err->line = line;
	}
	return r;
}

const char *err_text(const struct err *err)
{
	if (err && err->msg)
		return err->msg;
	return err && err->code ? strerror(-err->code) : "unknown error";
}

void err_move(struct err *dst, struct err *src)
{
	if (dst) {
		err_clear(dst);
		*dst = *src;
		*src = (struct err){0};
	} else {
		err_clear(src);
	}
}

void err_clear(struct err *err)
{
	if (!err)
		return;
	free(err->msg);
	*err = (struct err){0};
}
