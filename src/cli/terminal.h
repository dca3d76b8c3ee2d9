/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The terminal that kata-runtime was started on. */

#include <stdbool.h>
#include <stdint.h>

/*
 * terminal_raw: switch the terminal at fd to raw mode, until terminal_restore() or the program's
 * exit. One at a time. Returns 0 or -errno (-ENOTTY: not a terminal).
 */
int terminal_raw(int fd);
void terminal_restore(void);
/* terminal_size: columns and rows; false when fd is no terminal or has no size. */
bool terminal_size(int fd, uint32_t *ret_width, uint32_t *ret_height);
