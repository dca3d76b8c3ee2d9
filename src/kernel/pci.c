/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/pci.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/path.h"
#include "base/str.h"

#define SLOT_MAX     31U
#define FUNCTION_MAX 7U

static int hex(const char **at, unsigned int max, uint8_t *ret)
{
	unsigned int value = 0;
	const char *start = *at;

	for (;; (*at)++) {
		char c = **at;

		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned int)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value * 16 + (unsigned int)((c | 0x20) - 'a' + 10);
		else
			break;
		if (value > max)
			return -EINVAL;
	}
	*ret = (uint8_t)value;
	return *at == start ? -EINVAL : 0;
}

int pci_path_parse(const char *text, struct pci_path *ret)
{
	struct pci_path path = {0};

	for (;;) {
		if (path.n == PCI_PATH_MAX || hex(&text, SLOT_MAX, &path.at[path.n].slot) < 0)
			return -EINVAL;
		if (*text == '.') {
			text++;
			if (hex(&text, FUNCTION_MAX, &path.at[path.n].function) < 0)
				return -EINVAL;
		}
		path.n++;
		if (!*text)
			break;
		if (*text++ != '/')
			return -EINVAL;
	}
	*ret = path;
	return 0;
}

/* A bridge's folder has "pci_bus/0000:01": the bus behind it. */
static char *bus_behind(const char *bridge)
{
	_cleanup_(freep) char *path = path_join(bridge, "pci_bus");
	_cleanup_(closedirp) DIR *dir = opendir(path);

	if (!dir)
		return NULL;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
		if (d->d_name[0] != '.')
			return xstrdup(d->d_name);
	return NULL;
}

int pci_path_sysfs(const char *root, const struct pci_path *path, char **ret)
{
	_cleanup_(freep) char *folder = xstrdup(root), *bus = NULL;
	const char *name = str_skip_prefix(path_name(root), "pci");

	if (!name || path->n == 0)
		return -EINVAL;
	bus = xstrdup(name);
	for (size_t i = 0; i < path->n; i++) {
		char *below = xasprintf("%s/%s:%02x.%x", folder, bus, path->at[i].slot,
					path->at[i].function);

		free(folder);
		folder = below;
		if (i + 1 == path->n)
			break;
		free(bus);
		bus = bus_behind(folder);
		if (!bus)
			return -ENOENT;
	}
	if (access(folder, F_OK) < 0)
		return -errno;
	*ret = TAKE_PTR(folder);
	return 0;
}
