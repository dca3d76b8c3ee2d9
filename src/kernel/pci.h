/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * PCI devices by path: the slots from the root bus down, as Kata writes them: "02/01" is slot 2 of
 * the root bus (a bridge or root port) and slot 1 behind it; "1e.3" has a function. Hexadecimal.
 */

#include <stddef.h>
#include <stdint.h>

#define PCI_PATH_MAX 8U /* bridges behind each other */

struct pci_path {
	size_t n;
	struct {
		uint8_t slot, function;
	} at[PCI_PATH_MAX];
};

/* pci_path_parse: 0 or -EINVAL. */
int pci_path_parse(const char *text, struct pci_path *ret);
/*
 * pci_path_sysfs: the folder of the device below `root` ("/sys/devices/pci0000:00" is
 * PCI_ROOT_SYSFS); the caller frees. -ENOENT while it, or a bridge on the way, is not there.
 */
#define PCI_ROOT_SYSFS "/sys/devices/pci0000:00"
int pci_path_sysfs(const char *root, const struct pci_path *path, char **ret);
