/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a Go program was built from. Go's linker leaves the list of modules in the ELF section
 * .go.buildinfo (debug/buildinfo), where `go version -m` finds it, also in stripped programs.
 */

#include <stdbool.h>

/*
 * buildinfo_has_module: whether the Go program at `path` contains `module` (a module path such as
 * "github.com/containerd/containerd/v2"), as its own or as a dependency. Returns 1, 0, -ENODATA
 * when there is no such list (not Go, not ELF, too old), or another -errno.
 */
int buildinfo_has_module(const char *path, const char *module);
