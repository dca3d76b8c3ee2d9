/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a configuration: built-in defaults, copies, end. The table of keys does the work. */
#include "config/config.h"

#include <assert.h>

#include "config/keys.h"
#include "config/resolve.h"

struct config *config_default(void)
{
	struct config *config = config_new();
	int r = config_resolve(config, NULL);

	/* The defaults are ours; test_config.c checks that they pass. */
	assert(r == 0);
	(void)r;
	return config;
}

/* Every default passes its own check, or the table is wrong. */
struct config *config_new(void)
{
	struct config *config = xnew(struct config);

	config->refs = 1;
	config->file = xstrdup("");
	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		int r = 0;

		if (key->status == KEY_SERVED)
			r = key_set_default(config, key);
		assert(r == 0);
		(void)r;
	}
	return config;
}

static void copy_field(struct config *to, const struct config *from, const struct key *key)
{
	const void *source = key_field(from, key);
	void *field = key_field(to, key);

	switch (key->type) {
	case KEY_STRING:
	case KEY_PATH:
		*(char **)field = xstrdup(*(char *const *)source);
		break;
	case KEY_LIST: {
		const struct strv *list = source;

		*(struct strv *)field = (struct strv){0};
		for (size_t i = 0; i < list->n; i++)
			strv_add(field, list->v[i]);
		break;
	}
	case KEY_BOOL:
	case KEY_UINT:
	case KEY_UINT64:
	case KEY_NUMBER:
		break;
	}
}

struct config *config_copy(const struct config *config)
{
	struct config *copy = xnew(struct config);

	*copy = *config;
	copy->refs = 1;
	copy->file = xstrdup(config->file);
	copy->dropins = (struct strv){0};
	for (size_t i = 0; i < config->dropins.n; i++)
		strv_add(&copy->dropins, config->dropins.v[i]);
	for (const struct key *key = key_next(NULL); key; key = key_next(key))
		if (key->status == KEY_SERVED)
			copy_field(copy, config, key);
	return copy;
}

bool config_equal(const struct config *a, const struct config *b)
{
	if (!streq(a->file, b->file))
		return false;
	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		_cleanup_(freep) char *in_a = NULL, *in_b = NULL;

		if (key->status != KEY_SERVED)
			continue;
		in_a = key_format(a, key);
		in_b = key_format(b, key);
		if (!streq(in_a, in_b))
			return false;
	}
	return true;
}

struct config *config_ref(struct config *config)
{
	config->refs++;
	return config;
}

void config_free(struct config *config)
{
	if (!config || --config->refs > 0)
		return;
	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		if (key->status != KEY_SERVED)
			continue;
		if (key->type == KEY_STRING || key->type == KEY_PATH)
			free(*(char **)key_field(config, key));
		else if (key->type == KEY_LIST)
			strv_fini(key_field(config, key));
	}
	strv_fini(&config->dropins);
	free(config->file);
	free(config);
}
