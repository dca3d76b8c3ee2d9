/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `kata-runtime env` shows, as a JSON tree, and the two ways to print one. */

#include <jansson.h>

#include "base/str.h"
#include "config/config.h"

/* env_host: of this host: Kata's sections Meta, Runtime, Hypervisor, Kernel, Image and
 * Initrd (those that there are), Agent, Host, and Configuration with every key. The caller's
 * reference. */
json_t *env_host(const struct config *config);
struct cli;
struct sandbox_view;
/* env_sandbox: of a sandbox of this host. */
json_t *env_sandbox(const struct cli *cli, const struct sandbox_view *view);
/* env_add_devices: set "Devices" and "HotPlugged" in the section of a running QEMU, which has
 * "CommandLine" already, from what it says on its monitor's socket; nothing when it does not. */
void env_add_devices(json_t *hypervisor, const char *socket);
/* env_toml: the tree (objects of objects and scalars) as TOML. */
void env_toml(const json_t *tree, struct buf *out);
/* first_line_of: what a program prints first, at most 200 bytes, or NULL; the caller frees. */
char *first_line_of(const char *program, const char *argument);
