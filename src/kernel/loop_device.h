/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Loop devices: a file as a block device of the host, loop(4). */

#include <stdbool.h>

#define LOOP_DEVICE_PATH_SIZE 32

/*
 * loop_device_open: make `file` a block device, whose name ret_path gets. It lasts as long as the
 * descriptor that is returned, or a mount of it. Returns the descriptor, the caller's, or -errno.
 */
int loop_device_open(const char *file, bool read_only, char ret_path[LOOP_DEVICE_PATH_SIZE]);
