/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* File descriptors: whole reads and writes, passing, flags. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/cleanup.h"

/* fd_write_all: write n bytes to a blocking fd. Returns 0 or -errno. */
int fd_write_all(int fd, const void *p, size_t n);
/* fd_read_full: read until n bytes or the end; returns the count or -errno. */
ssize_t fd_read_full(int fd, void *p, size_t n);
/* fd_set_nonblock, fd_set_cloexec: return 0 or -errno. */
int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);
/* fd_dup: duplicate, close-on-exec, at 3 or above. Returns the new fd or -errno. */
int fd_dup(int fd);
/* fd_socketpair: a close-on-exec, non-blocking UNIX stream pair. */
int fd_socketpair(int ret[2]);
/* fd_null_stdio: open /dev/null on those of 0, 1, 2 that are closed (so that no socket lands
 * there). */
int fd_null_stdio(void);
#define FD_PASS_MAX 16
/*
 * fd_send: one message with up to FD_PASS_MAX descriptors on a UNIX socket (SCM_RIGHTS). Returns
 * bytes or -errno.
 */
ssize_t fd_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds);
/* fd_recv: the reverse; *n_fds is the room on entry, the count on return; received fds are cloexec.
 */
ssize_t fd_recv(int sock, void *p, size_t n, int *fds, size_t *n_fds);
/* fd_reset: end a TCP connection at once and for all who hold it; the peer sees a reset. -1 is
 * fine. */
void fd_reset(int fd);
/* fd_unix_listen, fd_unix_connect: a stream socket at path (any length: the folder is opened
 * first). Return the cloexec fd (listening sockets non-blocking) or -errno. */
int fd_unix_listen(const char *path, mode_t mode);
int fd_unix_connect(const char *path);
