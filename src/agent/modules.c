/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"

/*
 * How it works: the lists are a few kilobytes and read when they are needed. Three callers: boot.c
 * (the boot list), uevents.c (a device is there, or is waited for), and the kernel itself, whose
 * request_module() runs this program as /sbin/modprobe (boot.c points kernel.modprobe at it), so
 * that mounting an overlay or opening a vsock loads what it takes.
 */

/* --- matching --- */

/* In names "-" and "_" are the same, in modaliases not: there is no "_" pattern in them. */
static bool same_char(char a, char b)
{
	return a == b || ((a == '-' || a == '_') && (b == '-' || b == '_'));
}

/* Is c in the bracket expression that starts behind '['? *ret_end: behind the ']'. */
static bool in_bracket(const char *p, const char *end, char c, const char **ret_end)
{
	bool found = false;

	while (p < end && *p != ']') {
		if (p + 2 < end && p[1] == '-' && p[2] != ']') {
			found |= c >= p[0] && c <= p[2];
			p += 3;
		} else {
			found |= c == *p++;
		}
	}
	*ret_end = p < end ? p + 1 : end;
	return found;
}

/* fnmatch(3) without what modaliases do not have; going back only to the last '*'. */
static bool glob(const char *p, const char *end, const char *s)
{
	const char *star = NULL, *retry = NULL;

	while (*s) {
		const char *next = p + 1;
		bool match = false;

		if (p < end && *p == '*') {
			star = next;
			retry = s;
			p = next;
			continue;
		}
		if (p < end && *p == '[')
			match = in_bracket(next, end, *s, &next);
		else if (p < end)
			match = *p == '?' || same_char(*p, *s);
		if (match) {
			p = next;
			s++;
		} else if (star) {
			p = star;
			s = ++retry;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}

static size_t word(const char *at, size_t n)
{
	const char *blank = memchr(at, ' ', n);

	return blank ? (size_t)(blank - at) : n;
}

bool modules_line_matches(const char *line, size_t n, const char *wanted)
{
	size_t length = word(line, n);
	const char *at = line + length, *end;

	if (length && glob(line, at, wanted))
		return true;
	if (length == n)
		return false;
	at++;
	end = at + word(at, n - length - 1);
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;

		if (stop > at && glob(at, stop, wanted))
			return true;
		at = stop + 1;
	}
	return false;
}

/* --- loading --- */

bool modules_loaded(const char *path)
{
	char sys[sizeof("/sys/module/") + 64];
	const char *name = path_name(path), *dot = strchr(name, '.');
	size_t n = dot ? (size_t)(dot - name) : strlen(name);

	if (n >= 64)
		return false;
	snprintf(sys, sizeof(sys), "/sys/module/%.*s", (int)n, name);
	for (char *c = sys + strlen("/sys/module/"); *c; c++)
		if (*c == '-')
			*c = '_';
	return access(sys, F_OK) == 0;
}

int modules_load_file(const char *path, const char *parameters)
{
	_cleanup_(closep) int fd = -1;

	if (modules_loaded(path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, parameters, 0) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int load_logged(const char *path, const char *parameters)
{
	int r = modules_load_file(path, parameters);

	if (r < 0)
		log_warn("load module %s: %s", path, strerror(-r));
	return r;
}

int modules_load_list(const char *list)
{
	_cleanup_(freep) char *text = NULL;
	int r, loaded = 0, first = 0;

	r = fs_read(list, MODULES_LIST_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *save, *path = strtok_r(text, "\n", &save); path;
	     path = strtok_r(NULL, "\n", &save)) {
		r = load_logged(path, "");
		if (r == 0)
			loaded++;
		else if (first == 0)
			first = r;
	}
	return first < 0 ? first : loaded;
}

/* The paths of a line; the last one is the module that was asked for, the others it needs. */
static int load_line(char *line, const char *parameters)
{
	char *save, *path;
	int loaded = 0;

	if (!strtok_r(line, " ", &save) || !strtok_r(NULL, " ", &save))
		return 0;
	path = strtok_r(NULL, " ", &save);
	while (path) {
		char *next = strtok_r(NULL, " ", &save);
		int r = load_logged(path, next ? "" : parameters);

		if (r < 0)
			return r;
		loaded++;
		path = next;
	}
	return loaded;
}

static int walk(const char *wanted, const char *parameters, bool load)
{
	_cleanup_(freep) char *text = NULL;
	int r, found = 0;

	r = fs_read(MODULES_ONDEMAND, MODULES_LIST_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *line = text, *end; line && *line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		if (!modules_line_matches(line, strlen(line), wanted))
			continue;
		if (!load)
			return 1;
		r = load_line(line, parameters);
		if (r < 0)
			return r;
		found += r;
	}
	return found;
}

int modules_load(const char *wanted)
{
	return walk(wanted, "", true);
}

int modules_load_parameters(const char *name, const char *parameters)
{
	return walk(name, parameters, true);
}

bool modules_has(const char *wanted)
{
	return walk(wanted, "", false) > 0;
}

/* --- devices that are there --- */

/* virtio's device 8 (virtio 1.2, 5.6). */
#define SCSI_CONTROLLER "virtio:d00000008v"

static void load_for_bus(const char *bus)
{
	_cleanup_(freep) char *dir_path = xasprintf("/sys/bus/%s/devices", bus);
	_cleanup_(closedirp) DIR *dir = opendir(dir_path);

	if (!dir)
		return;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		_cleanup_(freep) char *path = NULL, *alias = NULL;

		if (d->d_name[0] == '.')
			continue;
		path = xasprintf("%s/%s/modalias", dir_path, d->d_name);
		if (fs_read(path, 4096, &alias, NULL) == 0 &&
		    !str_has_prefix(alias, SCSI_CONTROLLER))
			modules_load(str_chomp(alias));
	}
}

int modules_load_present(void)
{
	/* In this order, since loading for one bus makes devices on the next. */
	static const char *const buses[] = {"pci", "acpi", "virtio", "scsi", "nd"};

	if (!fs_exists(MODULES_ONDEMAND))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(buses); i++)
		load_for_bus(buses[i]);
	return 0;
}
