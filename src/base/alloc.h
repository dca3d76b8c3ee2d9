/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Allocation that cannot fail. A host program that cannot get a few hundred bytes cannot clean up
 * either: it ends, and containerd calls `delete`. The agent powers the guest off. Allocations whose
 * size comes from a peer are checked against a named limit first and use plain malloc().
 */

#include <stdarg.h>
#include <stddef.h>

#include "base/cleanup.h"

/* All return memory that the caller frees with free(); they end the program when there is none. */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
/* xreallocarray: as xrealloc for n elements; ends the program when n * size overflows. */
void *xreallocarray(void *p, size_t n, size_t size);
/* xstrdup, xstrndup: NULL stays NULL. */
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);
char *xasprintf(const char *fmt, ...) _printf_(1, 2);
char *xvasprintf(const char *fmt, va_list ap) _printf_(1, 0);

/* xnew(struct x): one zeroed object. */
#define xnew(type) ((type *)xcalloc(1, sizeof(type)))
