/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/parse.h"

/* --- options --- */

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

struct option {
	const char *name;
	unsigned long set, clear;
};

static const struct option options_table[] = {
	{"async", 0, MS_SYNCHRONOUS},
	{"atime", 0, MS_NOATIME},
	{"bind", MS_BIND, 0},
	{"defaults", 0, 0},
	{"dev", 0, MS_NODEV},
	{"diratime", 0, MS_NODIRATIME},
	{"dirsync", MS_DIRSYNC, 0},
	{"exec", 0, MS_NOEXEC},
	{"iversion", MS_I_VERSION, 0},
	{"lazytime", MS_LAZYTIME, 0},
	{"loud", 0, MS_SILENT},
	{"mand", MS_MANDLOCK, 0},
	{"noatime", MS_NOATIME, 0},
	{"nodev", MS_NODEV, 0},
	{"nodiratime", MS_NODIRATIME, 0},
	{"noexec", MS_NOEXEC, 0},
	{"noiversion", 0, MS_I_VERSION},
	{"nolazytime", 0, MS_LAZYTIME},
	{"nomand", 0, MS_MANDLOCK},
	{"norelatime", 0, MS_RELATIME},
	{"nostrictatime", 0, MS_STRICTATIME},
	{"nosuid", MS_NOSUID, 0},
	{"nosymfollow", MS_NOSYMFOLLOW, 0},
	{"rbind", MS_BIND | MS_REC, 0},
	{"relatime", MS_RELATIME, 0},
	{"remount", MS_REMOUNT, 0},
	{"ro", MS_RDONLY, 0},
	{"rw", 0, MS_RDONLY},
	{"silent", MS_SILENT, 0},
	{"strictatime", MS_STRICTATIME, 0},
	{"suid", 0, MS_NOSUID},
	{"symfollow", 0, MS_NOSYMFOLLOW},
	{"sync", MS_SYNCHRONOUS, 0},
};

static const struct option propagations[] = {
	{"private", MS_PRIVATE, 0},
	{"rprivate", MS_PRIVATE | MS_REC, 0},
	{"rshared", MS_SHARED | MS_REC, 0},
	{"rslave", MS_SLAVE | MS_REC, 0},
	{"runbindable", MS_UNBINDABLE | MS_REC, 0},
	{"shared", MS_SHARED, 0},
	{"slave", MS_SLAVE, 0},
	{"unbindable", MS_UNBINDABLE, 0},
};

static const struct {
	const char *name;
	uint64_t set, clear;
} recursive_table[] = {
	{"ratime", 0, MOUNT_ATTR__ATIME},
	{"rdev", 0, MOUNT_ATTR_NODEV},
	{"rdiratime", 0, MOUNT_ATTR_NODIRATIME},
	{"rexec", 0, MOUNT_ATTR_NOEXEC},
	{"rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
	{"rnodev", MOUNT_ATTR_NODEV, 0},
	{"rnodiratime", MOUNT_ATTR_NODIRATIME, 0},
	{"rnoexec", MOUNT_ATTR_NOEXEC, 0},
	{"rnosuid", MOUNT_ATTR_NOSUID, 0},
	{"rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"rrelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
	{"rro", MOUNT_ATTR_RDONLY, 0},
	{"rrw", 0, MOUNT_ATTR_RDONLY},
	{"rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
	{"rsuid", 0, MOUNT_ATTR_NOSUID},
	{"rsymfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};

static const struct option *find(const struct option *table, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (streq(table[i].name, name))
			return &table[i];
	return NULL;
}

static bool apply_recursive(struct mount_options *o, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(recursive_table); i++) {
		if (!streq(recursive_table[i].name, name))
			continue;
		o->recursive_set &= ~recursive_table[i].clear;
		o->recursive_set |= recursive_table[i].set;
		o->recursive_clear &= ~recursive_table[i].set;
		o->recursive_clear |= recursive_table[i].clear;
		return true;
	}
	return false;
}

int mount_options_parse(char *const *options, size_t n, struct mount_options *ret)
{
	_cleanup_(mount_options_fini) struct mount_options o = {0};
	size_t length = 0;

	for (size_t i = 0; i < n; i++) {
		const char *name = options[i];
		const struct option *option;

		if (!*name)
			continue;
		option = find(options_table, ARRAY_SIZE(options_table), name);
		if (option) {
			o.flags = (o.flags & ~option->clear) | option->set;
			o.cleared = (o.cleared & ~option->set) | option->clear;
			continue;
		}
		option = find(propagations, ARRAY_SIZE(propagations), name);
		if (option) {
			o.propagation = option->set;
			continue;
		}
		if (apply_recursive(&o, name))
			continue;
		if (streq(name, "tmpcopyup")) {
			o.tmpcopyup = true;
			continue;
		}
		if (streq(name, "idmap") || streq(name, "ridmap"))
			return -EOPNOTSUPP;
		length += strlen(name) + 1;
		if (length > MOUNT_DATA_MAX)
			return -E2BIG;
		strv_add(&o.data, name);
	}
	*ret = o;
	o = (struct mount_options){0};
	return 0;
}

void mount_options_fini(struct mount_options *options)
{
	strv_fini(&options->data);
}

const char *mount_option_name(size_t i)
{
	if (i < ARRAY_SIZE(options_table))
		return options_table[i].name;
	i -= ARRAY_SIZE(options_table);
	if (i < ARRAY_SIZE(propagations))
		return propagations[i].name;
	i -= ARRAY_SIZE(propagations);
	return i < ARRAY_SIZE(recursive_table) ? recursive_table[i].name : NULL;
}

/* --- mounting --- */

/* Flags that a bind mount takes over only in a second call. */
#define PER_MOUNT                                                                                  \
	(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | \
	 MS_NOSYMFOLLOW)

/*
 * The remount replaces all flags, so those that the source has must be given again unless they were
 * asked to be off; within a user namespace leaving them out is EPERM.
 */
static int remount_bind(const char *target, const struct mount_options *o)
{
	unsigned long flags = o->flags & PER_MOUNT, had;
	struct statvfs st;

	if (!flags && !(o->cleared & PER_MOUNT))
		return 0;
	if (statvfs(target, &st) < 0)
		return -errno;
	/* ST_ and MS_ agree in these bits (statvfs(3)). */
	had = st.f_flag &
	      (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME);
	if (flags & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME))
		had &= ~(unsigned long)MS_NOATIME;
	flags |= had & ~o->cleared;
	return mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0 ? -errno : 0;
}

static int set_recursive(const char *target, const struct mount_options *o)
{
	struct mount_attr attr = {.attr_set = o->recursive_set, .attr_clr = o->recursive_clear};

	if (!attr.attr_set && !attr.attr_clr)
		return 0;
	/* The access time is one value of several bits: setting one means clearing all. */
	if (attr.attr_set & MOUNT_ATTR__ATIME)
		attr.attr_clr |= MOUNT_ATTR__ATIME;
	return syscall(SYS_mount_setattr, AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof(attr)) < 0
		       ? -errno
		       : 0;
}

int mount_make(const char *source, const char *target, const char *fstype,
	       const struct mount_options *o)
{
	_cleanup_(freep) char *data = strv_join(&o->data, ",");
	bool bind = o->flags & MS_BIND;
	unsigned long flags = bind ? o->flags & (MS_BIND | MS_REC | MS_SILENT) : o->flags;
	int r = 0;

	if (mount(source, target, bind || str_empty(fstype) ? NULL : fstype, flags,
		  bind || str_empty(data) ? NULL : data) < 0)
		return -errno;
	if (bind)
		r = remount_bind(target, o);
	if (r == 0)
		r = set_recursive(target, o);
	if (r == 0 && o->propagation && mount(NULL, target, NULL, o->propagation, NULL) < 0)
		r = -errno;
	if (r < 0 && !(o->flags & MS_REMOUNT))
		umount2(target, MNT_DETACH);
	return r;
}

int mount_simple(const char *source, const char *target, const char *fstype, unsigned long flags,
		 const char *data)
{
	return mount(source, target, fstype, flags, data) < 0 ? -errno : 0;
}

/* --- what is mounted --- */

static int octal_digit(char c)
{
	return c >= '0' && c <= '7' ? c - '0' : -1;
}

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && octal_digit(s[1]) >= 0 && octal_digit(s[1]) <= 3 &&
		    octal_digit(s[2]) >= 0 && octal_digit(s[3]) >= 0) {
			*out++ = (char)(octal_digit(s[1]) << 6 | octal_digit(s[2]) << 3 |
					octal_digit(s[3]));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

static char *field(char **at)
{
	char *start = *at, *end;

	if (!start || !*start)
		return NULL;
	end = strchr(start, ' ');
	if (end)
		*end++ = '\0';
	*at = end;
	return start;
}

/* "36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/root rw" (proc(5)). */
static int parse_line(char *line, struct mountinfo *ret)
{
	struct mountinfo m = {0};
	char *at = line, *word, *root, *point, *fstype, *source;
	const char *id = field(&at), *parent = field(&at);

	if (!id || !parent || parse_u64(id, &m.id) < 0 || parse_u64(parent, &m.parent) < 0 ||
	    !field(&at))
		return -EBADMSG;
	root = field(&at);
	point = field(&at);
	do {
		word = field(&at);
	} while (word && !streq(word, "-"));
	fstype = field(&at);
	source = field(&at);
	if (!word || !fstype || !source)
		return -EBADMSG;
	unescape(root);
	unescape(point);
	unescape(source);
	m.root = xstrdup(root);
	m.point = xstrdup(point);
	m.fstype = xstrdup(fstype);
	m.source = xstrdup(source);
	*ret = m;
	return 0;
}

int mountinfo_parse(char *text, struct mountinfo **ret, size_t *ret_n)
{
	struct mountinfo *mounts = NULL;
	size_t n = 0;

	while (text && *text) {
		char *end = strchr(text, '\n');
		struct mountinfo m;
		int r;

		if (end)
			*end++ = '\0';
		r = parse_line(text, &m);
		if (r < 0) {
			mountinfo_free(mounts, n);
			return r;
		}
		mounts = xreallocarray(mounts, n + 1, sizeof(m));
		mounts[n++] = m;
		text = end;
	}
	*ret = mounts;
	*ret_n = n;
	return 0;
}

int mountinfo_read(int pid, struct mountinfo **ret, size_t *ret_n)
{
	_cleanup_(freep) char *text = NULL;
	char path[48] = "/proc/self/mountinfo";
	int r;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	r = fs_read(path, MOUNTINFO_MAX, &text, NULL);
	return r < 0 ? r : mountinfo_parse(text, ret, ret_n);
}

void mountinfo_free(struct mountinfo *mounts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(mounts[i].root);
		free(mounts[i].point);
		free(mounts[i].fstype);
		free(mounts[i].source);
	}
	free(mounts);
}

int mount_is_point(const char *path)
{
	struct mountinfo *mounts;
	size_t n;
	int r;

	r = mountinfo_read(0, &mounts, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		r = streq(mounts[i].point, path);
	mountinfo_free(mounts, n);
	return r;
}

int mount_umount_below(const char *dir)
{
	struct mountinfo *mounts;
	int r, first = 0;
	size_t n;

	r = mountinfo_read(0, &mounts, &n);
	if (r < 0)
		return r;
	for (size_t i = n; i-- > 0;) {
		const char *rest = str_skip_prefix(mounts[i].point, dir);

		if (!rest || (*rest && *rest != '/'))
			continue;
		if (umount2(mounts[i].point, UMOUNT_NOFOLLOW) < 0 &&
		    umount2(mounts[i].point, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && !first &&
		    errno != EINVAL && errno != ENOENT)
			first = -errno;
	}
	mountinfo_free(mounts, n);
	return first;
}
