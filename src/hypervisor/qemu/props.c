/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/props.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

static struct prop *append(struct props *p, const char *key, enum prop_type type)
{
	if (p->n == PROPS_MAX)
		abort();
	p->v[p->n] = (struct prop){.key = key, .type = type};
	return &p->v[p->n++];
}

void props_add(struct props *p, const char *key, const char *value)
{
	if (!str_empty(value))
		append(p, key, PROP_STRING)->text = xstrdup(value);
}

void props_addf(struct props *p, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(p, key, PROP_STRING)->text = xvasprintf(fmt, ap);
	va_end(ap);
}

void props_add_empty(struct props *p, const char *key)
{
	append(p, key, PROP_STRING)->text = xstrdup("");
}

void props_add_number(struct props *p, const char *key, uint64_t value)
{
	append(p, key, PROP_NUMBER)->number = value;
}

void props_add_bool(struct props *p, const char *key, bool value)
{
	append(p, key, PROP_BOOL)->number = value;
}

const char *props_get(const struct props *p, const char *key)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].type == PROP_STRING && streq(p->v[i].key, key))
			return p->v[i].text;
	return NULL;
}

static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',')
			buf_addc(b, ',');
		buf_addc(b, *s);
	}
}

char *props_to_arg(const struct props *p)
{
	struct buf b = {0};

	for (size_t i = 0; i < p->n; i++) {
		const struct prop *prop = &p->v[i];

		if (i)
			buf_addf(&b, ",%s=", prop->key);
		if (prop->type == PROP_STRING)
			add_escaped(&b, prop->text);
		else if (prop->type == PROP_NUMBER)
			buf_addf(&b, "%" PRIu64, prop->number);
		else
			buf_adds(&b, prop->number ? "on" : "off");
	}
	return buf_take(&b);
}

static json_t *value_of(const struct prop *prop)
{
	switch (prop->type) {
	case PROP_NUMBER:
		return json_integer((json_int_t)prop->number);
	case PROP_BOOL:
		return json_boolean(prop->number != 0);
	case PROP_STRING:
		break;
	}
	return json_string(prop->text);
}

/* The object that the dotted key belongs into, made where missing; *ret_name: its last part. */
static json_t *parent_of(json_t *object, const char *key, const char **ret_name)
{
	const char *dot;

	while ((dot = strchr(key, '.'))) {
		_cleanup_(freep) char *part = xstrndup(key, (size_t)(dot - key));
		json_t *child = json_object_get(object, part);

		if (!child) {
			child = json_object();
			json_object_set_new(object, part, child);
		}
		object = child;
		key = dot + 1;
	}
	*ret_name = key;
	return object;
}

json_t *props_to_json(const struct props *p)
{
	json_t *object = json_object();

	for (size_t i = 0; i < p->n; i++) {
		const char *name;
		json_t *parent = parent_of(object, p->v[i].key, &name);

		json_object_set_new(parent, name, value_of(&p->v[i]));
	}
	return object;
}

void props_fini(struct props *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i].text);
	p->n = 0;
}
