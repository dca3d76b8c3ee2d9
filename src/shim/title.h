/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line that others see (/proc/PID/cmdline): a shim is found by the -id in it (bundle.h,
 * ps(1)), and a spare does not know its own when it is started.
 */

/* An argument that keeps room for the later ones. */
extern const char title_room[];

/* title_init: for main(), with its own arguments. title_set: put these in the place of all behind
 * the first, up to a NULL, as far as there is room; what was there is gone. */
void title_init(int argc, char *argv[]);
void title_set(const char *const *args);
