/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/kv.h"
#include "cli/env.h"

static bool is_bare(const char *key)
{
	return *key && !key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789_-")];
}

static void add_key(struct buf *out, const char *key)
{
	if (is_bare(key))
		buf_adds(out, key);
	else
		kv_json_string(out, key);
}

/* JSON's strings are TOML's basic strings but for "\/", which is not written here. */
static void add_value(struct buf *out, const json_t *value)
{
	size_t i;
	json_t *item;

	switch (json_typeof(value)) {
	case JSON_STRING:
		kv_json_string(out, json_string_value(value));
		break;
	case JSON_INTEGER:
		buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		buf_addf(out, "%.3f", json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		buf_adds(out, json_is_true(value) ? "true" : "false");
		break;
	case JSON_ARRAY:
		buf_addc(out, '[');
		json_array_foreach(value, i, item)
		{
			if (i)
				buf_adds(out, ", ");
			add_value(out, item);
		}
		buf_addc(out, ']');
		break;
	case JSON_OBJECT:
	case JSON_NULL:
		buf_adds(out, "\"\"");
		break;
	}
}

static void add_table(struct buf *out, const char *name, const json_t *table)
{
	json_t *rest = (json_t *)table, *value;
	bool headed = false;
	const char *key;

	json_object_foreach(rest, key, value)
	{
		if (json_is_object(value))
			continue;
		if (!headed && *name)
			buf_addf(out, "%s[%s]\n", out->len ? "\n" : "", name);
		headed = true;
		add_key(out, key);
		buf_adds(out, " = ");
		add_value(out, value);
		buf_addc(out, '\n');
	}
	json_object_foreach(rest, key, value)
	{
		_cleanup_(buf_fini) struct buf below = {0};

		if (!json_is_object(value))
			continue;
		buf_addf(&below, "%s%s", name, *name ? "." : "");
		add_key(&below, key);
		add_table(out, below.data, value);
	}
}

void env_toml(const json_t *tree, struct buf *out)
{
	add_table(out, "", tree);
}
