/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/init/mount_spec.h"

#include <errno.h>
#include <linux/mount.h>
#include <sys/mount.h>

#include "base/cleanup.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

enum kind {
	IGNORE, /* says what is so anyway */
	SET,    /* attribute on */
	CLEAR,  /* attribute off */
	ATIME,  /* one value of the access time field */
	PROPAGATION,
	SUPERBLOCK, /* goes to the file system as a flag */
	BIND,
	REMOUNT,
	COPYUP,
	REFUSED,
};

/*
 * mount(8)'s words. Those of attributes also exist with an "r" before them, for the whole tree; so
 * do those of propagation.
 */
static const struct option {
	const char *name;
	enum kind kind;
	uint64_t value;
} table[] = {
	{"defaults", IGNORE, 0},
	{"ro", SET, MOUNT_ATTR_RDONLY},
	{"rw", CLEAR, MOUNT_ATTR_RDONLY},
	{"nosuid", SET, MOUNT_ATTR_NOSUID},
	{"suid", CLEAR, MOUNT_ATTR_NOSUID},
	{"nodev", SET, MOUNT_ATTR_NODEV},
	{"dev", CLEAR, MOUNT_ATTR_NODEV},
	{"noexec", SET, MOUNT_ATTR_NOEXEC},
	{"exec", CLEAR, MOUNT_ATTR_NOEXEC},
	{"nodiratime", SET, MOUNT_ATTR_NODIRATIME},
	{"diratime", CLEAR, MOUNT_ATTR_NODIRATIME},
	{"nosymfollow", SET, MOUNT_ATTR_NOSYMFOLLOW},
	{"symfollow", CLEAR, MOUNT_ATTR_NOSYMFOLLOW},
	{"relatime", ATIME, MOUNT_ATTR_RELATIME},
	{"norelatime", ATIME, MOUNT_ATTR_STRICTATIME},
	{"noatime", ATIME, MOUNT_ATTR_NOATIME},
	{"atime", ATIME, MOUNT_ATTR_RELATIME},
	{"strictatime", ATIME, MOUNT_ATTR_STRICTATIME},
	{"nostrictatime", ATIME, MOUNT_ATTR_RELATIME},
	{"private", PROPAGATION, MS_PRIVATE},
	{"slave", PROPAGATION, MS_SLAVE},
	{"shared", PROPAGATION, MS_SHARED},
	{"unbindable", PROPAGATION, MS_UNBINDABLE},
	{"sync", SUPERBLOCK, 0},
	{"dirsync", SUPERBLOCK, 0},
	{"lazytime", SUPERBLOCK, 0},
	{"mand", SUPERBLOCK, 0},
	{"iversion", SUPERBLOCK, 0},
	{"silent", IGNORE, 0},
	{"loud", IGNORE, 0},
	{"async", IGNORE, 0},
	{"nolazytime", IGNORE, 0},
	{"nomand", IGNORE, 0},
	{"noiversion", IGNORE, 0},
	{"bind", BIND, 0},
	{"remount", REMOUNT, 0},
	{"tmpcopyup", COPYUP, 0},
	{"idmap", REFUSED, 0},
	{"ridmap", REFUSED, 0},
};

static const struct option *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (streq(table[i].name, name))
			return &table[i];
	return NULL;
}

/* The option and whether it is the recursive form. NULL: a word of the file system. */
static const struct option *lookup(const char *word, bool *recursive)
{
	const struct option *o = find(word);

	*recursive = false;
	if (o || word[0] != 'r')
		return o;
	o = find(word + 1);
	if (!o)
		return NULL;
	*recursive = true;
	switch (o->kind) {
	case SET:
	case CLEAR:
	case ATIME:
	case PROPAGATION:
	case BIND:
	case REFUSED:
		return o;
	case IGNORE:
	case SUPERBLOCK:
	case REMOUNT:
	case COPYUP:
		break;
	}
	return NULL;
}

/* A later word wins over an earlier one, so every bit is in one of the two masks. */
static void set_attribute(uint64_t *set, uint64_t *clear, const struct option *o)
{
	switch (o->kind) {
	case SET:
		*set |= o->value;
		*clear &= ~o->value;
		break;
	case CLEAR:
		*clear |= o->value;
		*set &= ~o->value;
		break;
	case ATIME:
		/* A field, not bits: the kernel wants the whole of it cleared first. */
		*clear |= MOUNT_ATTR__ATIME;
		*set = (*set & ~(uint64_t)MOUNT_ATTR__ATIME) | o->value;
		break;
	case IGNORE:
	case PROPAGATION:
	case SUPERBLOCK:
	case BIND:
	case REMOUNT:
	case COPYUP:
	case REFUSED:
		break;
	}
}

static int apply(struct mount_spec *ret, const struct option *o, bool recursive, const char *word,
		 struct err *err)
{
	switch (o->kind) {
	case SET:
	case CLEAR:
	case ATIME:
		if (recursive)
			set_attribute(&ret->recursive_set, &ret->recursive_clear, o);
		else
			set_attribute(&ret->attr_set, &ret->attr_clear, o);
		return 0;
	case PROPAGATION:
		ret->propagation = o->value;
		ret->propagation_recursive = recursive;
		return 0;
	case BIND:
		ret->bind = true;
		ret->recursive |= recursive;
		return 0;
	case SUPERBLOCK:
		strv_add(&ret->superblock, word);
		return 0;
	case REMOUNT:
		ret->remount = true;
		return 0;
	case COPYUP:
		ret->tmpcopyup = true;
		return 0;
	case IGNORE:
		return 0;
	case REFUSED:
		break;
	}
	return err_setx(err, -ENOTSUP, "mount option \"%s\" is not supported", word);
}

int mount_spec_parse(struct mount_spec *ret, char *const *options, size_t n, struct err *err)
{
	*ret = (struct mount_spec){0};
	for (size_t i = 0; i < n; i++) {
		bool recursive;
		const struct option *o = lookup(options[i], &recursive);
		int r = 0;

		if (o)
			r = apply(ret, o, recursive, options[i], err);
		else if (*options[i])
			strv_add(&ret->data, options[i]);
		if (r < 0) {
			mount_spec_fini(ret);
			return r;
		}
	}
	return 0;
}

void mount_spec_fini(struct mount_spec *options)
{
	strv_fini(&options->superblock);
	strv_fini(&options->data);
}
