/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The error doctrine (CONTRIBUTING.md, "Errors").
 *
 * base/, loop/, wire/ and kernel/ return 0 or more, or -errno. From oci/ upwards functions return
 * the same and take a `struct err *err` last: the place where it goes wrong says err_set(), each
 * caller that knows more says err_wrap(), and the program prints the text once, where it is
 * handled. The text reads from the outside in: "start VM: open /dev/kvm: Permission denied".
 *
 * err may be NULL everywhere. A function that returns >= 0 leaves *err untouched.
 */

#include "base/cleanup.h"

struct err {
	int code;         /* -errno of the origin, 0 when unset */
	char *msg;        /* owned; NULL when unset */
	const char *file; /* origin, for debug logs */
	int line;
};

/*
 * err_set: record the origin of an error. The text becomes "<formatted>: <strerror(-r)>".
 * err_setx: the same without strerror(), when the text says it all.
 * r: a negative errno. Returns r, so that `return err_set(err, -ENOENT, "open %s", p);` works.
 * An err that is set already is replaced.
 */
#define err_set(err, r, ...)  err_set_at((err), (r), 1, __FILE__, __LINE__, __VA_ARGS__)
#define err_setx(err, r, ...) err_set_at((err), (r), 0, __FILE__, __LINE__, __VA_ARGS__)

/*
 * err_wrap: put "<formatted>: " before the text, keep the code. When err is unset (the callee has
 * no err parameter) it works as err_set. Returns r.
 */
#define err_wrap(err, r, ...) err_wrap_at((err), (r), __FILE__, __LINE__, __VA_ARGS__)

int err_set_at(struct err *err, int r, int with_errno, const char *file, int line, const char *fmt,
	       ...) _printf_(6, 7);
int err_wrap_at(struct err *err, int r, const char *file, int line, const char *fmt, ...)
	_printf_(5, 6);

/* err_text: the text for people; never NULL, valid until the err changes. */
const char *err_text(const struct err *err);

/* err_move: hand src's content to dst (which is cleared first); src is unset afterwards. */
void err_move(struct err *dst, struct err *src);

/* err_clear: free the text and unset; also the cleanup function of a local err. */
void err_clear(struct err *err);

#define _cleanup_err_ _cleanup_(err_clear)
