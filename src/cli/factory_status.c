/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/factory_status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "runtime/spare.h"
#include "runtime/template_build.h"

struct status {
	const struct config *config;
	const char *root;
	struct strv keys;
	char own[VM_FINGERPRINT_SIZE]; /* this configuration's; "": it has none … */
	struct err why;                /* … because of this */
	bool found, failed;            /* its template is there and good; making it has failed */
	unsigned int spares;           /* of this configuration that are ready */
};

static void status_fini(struct status *s)
{
	strv_fini(&s->keys);
	err_clear(&s->why);
}

static bool is_good(const char *root, const char *key)
{
	_cleanup_(template_fini) struct template t;

	template_init(&t);
	return template_open(root, key, &t, NULL) == 0;
}

/* That the own key cannot be told (no KVM, a missing kernel) is part of what is printed. */
static int load(struct config *config, struct status *ret, struct err *err)
{
	ret->config = config;
	ret->root = config->factory.template_path;
	if (template_key_alone(config, ret->own, &ret->why) == 0) {
		ret->found = is_good(ret->root, ret->own);
		ret->failed = template_has_failed(ret->root, ret->own);
	}
	ret->spares = spare_count(config->file);
	return template_list(ret->root, &ret->keys, err);
}

static uint64_t age_seconds(const struct template *t)
{
	uint64_t now = clock_realtime();

	return (now - MIN(t->created_at, now)) / USEC_PER_SEC;
}

/* --- a table --- */

static void print_row(const struct status *s, const char *key)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_err_ struct err why = {0};

	template_init(&t);
	if (template_open(s->root, key, &t, &why) < 0) {
		printf("%-*.*s  damaged: %s\n", KEY_SHOWN, KEY_SHOWN, key, err_text(&why));
		return;
	}
	printf("%-*.*s  %6" PRIu64 "M  %6" PRIu64 "M  %8" PRIu64 "s%s\n", KEY_SHOWN, KEY_SHOWN, key,
	       t.memory_size >> 20, (t.memory_used + t.state_size) >> 20, age_seconds(&t),
	       streq(key, s->own) ? "  used by this configuration" : "");
}

static const char *what_comes(const struct status *s)
{
	if (s->failed)
		return "making it has failed within the last hour (the log says why), sandboxes "
		       "boot; factory init tries again";
	if (s->config->factory.auto_build_template)
		return "the first sandbox boots and has it made, or factory init does";
	return "sandboxes boot until factory init has made it";
}

static void print_own(const struct status *s)
{
	if (!s->config->factory.enable_template)
		puts("templates are off (enable_template of [factory])");
	else if (!*s->own)
		printf("none is used by this configuration: %s\n", err_text(&s->why));
	else if (!s->found)
		printf("no template for this configuration (%.*s): %s\n", KEY_SHOWN, s->own,
		       what_comes(s));
}

static void print_spares(const struct status *s)
{
	uint32_t wanted = s->config->factory.spares;

	if (wanted || s->spares)
		printf("spares: %u of %" PRIu32 " %s ready\n", s->spares, wanted,
		       s->spares == 1 ? "is" : "are");
}

static void print_table(const struct status *s)
{
	if (!s->keys.n)
		printf("no template in %s\n", s->root);
	else
		printf("%-*s  %7s  %7s  %9s\n", KEY_SHOWN, "TEMPLATE", "MEMORY", "TAKES", "AGE");
	for (size_t i = 0; i < s->keys.n; i++)
		print_row(s, s->keys.v[i]);
	print_own(s);
	print_spares(s);
}

/* --- JSON --- */

static json_t *row_json(const struct status *s, const char *key)
{
	_cleanup_(template_fini) struct template t;
	_cleanup_err_ struct err why = {0};
	json_t *o = json_object();
	uint64_t takes;
	bool good;

	template_init(&t);
	good = template_open(s->root, key, &t, &why) == 0;
	takes = t.memory_used + t.state_size;
	json_object_set_new(o, "key", json_string(key));
	json_object_set_new(o, "used", json_boolean(good && streq(key, s->own)));
	json_object_set_new(o, "damaged", json_string(good ? "" : err_text(&why)));
	json_object_set_new(o, "memory_mib", json_integer((json_int_t)(t.memory_size >> 20)));
	json_object_set_new(o, "file_bytes", json_integer((json_int_t)takes));
	json_object_set_new(o, "age_seconds", json_integer(good ? (json_int_t)age_seconds(&t) : 0));
	return o;
}

static void print_json(const struct status *s)
{
	json_t *o = json_object(), *rows = json_array();

	for (size_t i = 0; i < s->keys.n; i++)
		json_array_append_new(rows, row_json(s, s->keys.v[i]));
	json_object_set_new(o, "enabled", json_boolean(s->config->factory.enable_template));
	json_object_set_new(o, "path", json_string(s->root));
	json_object_set_new(o, "key", json_string(s->own));
	json_object_set_new(o, "reason", json_string(*s->own ? "" : err_text(&s->why)));
	json_object_set_new(o, "failed", json_boolean(s->failed));
	json_object_set_new(o, "templates", rows);
	json_object_set_new(o, "spares", json_integer((json_int_t)s->config->factory.spares));
	json_object_set_new(o, "spares_ready", json_integer((json_int_t)s->spares));
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

int factory_status(struct config *config, bool json, struct err *err)
{
	_cleanup_(status_fini) struct status s = {0};
	int r = load(config, &s, err);

	if (r < 0)
		return r;
	if (json)
		print_json(&s);
	else
		print_table(&s);
	return 0;
}
