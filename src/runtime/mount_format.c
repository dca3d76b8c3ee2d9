/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/mount_format.h"

#include <errno.h>
#include <stdio.h>

#include "base/parse.h"

#define MKDIR_OPTION "X-containerd.mkdir.path="
#define FORMAT_MAX   64 /* bytes between the braces */
#define FOLDER_MODE  0755U

static const char *const prefixes[] = {"format/", "mkdir/"};

static const char *skip_prefixes(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		const char *rest = str_skip_prefix(type, prefixes[i]);

		if (rest)
			return skip_prefixes(rest);
	}
	return type;
}

bool mount_has_format(const struct rootfs_mount *m)
{
	return skip_prefixes(m->type) != m->type;
}

static bool is_hosts(const char *path)
{
	return *path == '/';
}

bool mount_uses_host(const struct rootfs_mount *m)
{
	static const char *const names[] = {"lowerdir=", "upperdir=", "workdir="};

	if (is_hosts(m->source))
		return true;
	for (size_t i = 0; i < m->n_options; i++)
		for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
			const char *value = str_skip_prefix(m->options[i], names[k]);

			if (value && is_hosts(value))
				return true;
		}
	return false;
}

/* --- between the braces --- */

static int add_place(const struct strv *places, unsigned int i, const char *text, struct buf *out,
		     struct err *err)
{
	if (i >= places->n)
		return err_setx(err, -EINVAL, "mount \"%s\": there is no mount %u before it", text,
				i);
	buf_adds(out, places->v[i]);
	return 0;
}

/* What is between the braces, without them. */
static int add_places(const char *what, const struct strv *places, const char *text,
		      struct buf *out, struct err *err)
{
	unsigned int from, to;
	char rest;
	int r;

	if (sscanf(what, " mount %u %c", &from, &rest) == 1)
		return add_place(places, from, text, out, err);
	if (sscanf(what, " overlay %u %u %c", &from, &to, &rest) != 2)
		return err_setx(err, -ENOSYS, "mount \"%s\": {{%s}} is not supported", text, what);
	for (;;) {
		r = add_place(places, from, text, out, err);
		if (r < 0 || from == to)
			return r;
		from = from < to ? from + 1 : from - 1;
		buf_addc(out, ':');
	}
}

static int format(const char *text, const struct strv *places, struct buf *out, struct err *err)
{
	const char *p = text;

	for (const char *open = strstr(p, "{{"); open; open = strstr(p, "{{")) {
		const char *end = strstr(open, "}}");
		char what[FORMAT_MAX];
		int r;

		if (!end || (size_t)(end - open) > sizeof(what))
			return err_setx(err, -EINVAL, "mount \"%s\": braces that do not end", text);
		buf_add(out, p, (size_t)(open - p));
		snprintf(what, sizeof(what), "%.*s", (int)(end - open - 2), open + 2);
		r = add_places(what, places, text, out, err);
		if (r < 0)
			return r;
		p = end + 2;
	}
	buf_adds(out, p);
	return 0;
}

/* path[:mode[:uid:gid]], of which all that containerd's own snapshotters say is 0755. */
static int add_folder(char *folder, struct strv *folders, struct err *err)
{
	char *mode = strchr(folder, ':');
	uint32_t value = FOLDER_MODE;

	if (mode)
		*mode++ = '\0';
	if (mode && (parse_octal(mode, &value) < 0 || value != FOLDER_MODE))
		return err_setx(err, -ENOSYS,
				"mount: a folder %s with mode and owner %s is not supported, only "
				"0755 and root's",
				folder, mode);
	strv_add(folders, folder);
	return 0;
}

static int add_option(const char *option, const struct strv *places, struct formatted_mount *ret,
		      struct err *err)
{
	_cleanup_(buf_fini) struct buf text = {0};
	_cleanup_(freep) char *whole = NULL;
	int r = format(option, places, &text, err);

	if (r < 0)
		return r;
	whole = buf_take(&text);
	if (str_has_prefix(whole, MKDIR_OPTION))
		return add_folder(whole + strlen(MKDIR_OPTION), &ret->folders, err);
	strv_take(&ret->options, TAKE_PTR(whole));
	return 0;
}

int mount_format(const struct rootfs_mount *m, const struct strv *places,
		 struct formatted_mount *ret, struct err *err)
{
	_cleanup_(buf_fini) struct buf source = {0};
	int r;

	*ret = (struct formatted_mount){.type = xstrdup(skip_prefixes(m->type))};
	if (!mount_has_format(m)) {
		ret->source = xstrdup(m->source);
		for (size_t i = 0; i < m->n_options; i++)
			strv_add(&ret->options, m->options[i]);
		return 0;
	}
	r = format(m->source, places, &source, err);
	ret->source = buf_take(&source);
	for (size_t i = 0; i < m->n_options && r == 0; i++)
		r = add_option(m->options[i], places, ret, err);
	return r;
}

void formatted_mount_fini(struct formatted_mount *m)
{
	free(m->type);
	free(m->source);
	strv_fini(&m->options);
	strv_fini(&m->folders);
	*m = (struct formatted_mount){0};
}
