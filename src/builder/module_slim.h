/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Kernel modules without what makes loading them slow. Linux checks a module's signature and
 * verifies its type information (BTF), for the first module that of the whole kernel too: under
 * emulation that is most of the time that loading takes (121 of 143 million instructions for the
 * eight modules of a boot).
 */

#include <stdbool.h>
#include <stddef.h>

/*
 * module_slim: cut an appended signature off and make the section .BTF empty. *n becomes the new
 * size. What is no x86-64 module stays as it is. Returns whether anything was changed. The result
 * is unsigned: only for kernels of which module_slim_allowed() says that they load such.
 */
bool module_slim(void *module, size_t *n);
/*
 * module_slim_allowed: does the kernel whose modules are in `dir` (/lib/modules/<release>) load
 * unsigned modules? By its configuration (<dir>/config or /boot/config-<release>); without one: no.
 */
bool module_slim_allowed(const char *dir);
/* module_slim_config_allows: the same from the text of the configuration. */
bool module_slim_config_allows(const char *config);
