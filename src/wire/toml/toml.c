/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: one pass over the text, recursive only for nested values, and that to
 * TOML_DEPTH_MAX. The cursor (scan.h) carries place and error. Every value is hung into the tree
 * before it is filled, so that a failure anywhere is undone by freeing the root.
 *
 * What may be added to a table depends on how it came to be (enum toml_origin):
 * - a header [a.b] makes missing parents IMPLICIT; an implicit table may get its own header once;
 * - a dotted key makes its parents DOTTED; only dotted keys of the same section may add keys to
 *   them, headers may only add tables below them;
 * - what stands in braces or brackets (VALUE) is closed.
 * The current section ends with the next header, and a table gets no second header: so a dotted
 * table that a key may enter is always of the same section.
 */
#include "wire/toml/toml.h"

#include <ctype.h>
#include <errno.h>

#include "base/str.h"
#include "wire/toml/scan.h"

static int parse_value(struct toml_cursor *c, struct toml *value);

void toml_free(struct toml *value)
{
	if (!value)
		return;
	switch (value->type) {
	case TOML_ARRAY:
	case TOML_TABLE:
		for (size_t i = 0; i < value->items.n; i++)
			toml_free(value->items.v[i]);
		free(value->items.v);
		break;
	case TOML_STRING:
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
	case TOML_DATE_LOCAL:
	case TOML_TIME_LOCAL:
		free(value->string.data);
		break;
	case TOML_INTEGER:
	case TOML_FLOAT:
	case TOML_BOOL:
	case _TOML_TYPE_MAX:
		break;
	}
	free(value->key);
	free(value);
}

static struct toml *table_get(const struct toml *table, const char *key, size_t n)
{
	for (size_t i = 0; i < table->items.n; i++) {
		struct toml *item = table->items.v[i];

		if (item->key_len == n && memcmp(item->key, key, n) == 0)
			return item;
	}
	return NULL;
}

struct toml *toml_get(const struct toml *table, const char *key)
{
	return table_get(table, key, strlen(key));
}

const char *toml_type_name(enum toml_type type)
{
	static const char *const names[_TOML_TYPE_MAX] = {
		[TOML_STRING] = "string",         [TOML_INTEGER] = "integer",
		[TOML_FLOAT] = "float",           [TOML_BOOL] = "boolean",
		[TOML_DATETIME] = "date-time",    [TOML_DATETIME_LOCAL] = "local date-time",
		[TOML_DATE_LOCAL] = "local date", [TOML_TIME_LOCAL] = "local time",
		[TOML_ARRAY] = "array",           [TOML_TABLE] = "table",
	};

	return names[type];
}

/* --- building the tree --- */

/* The part of a key that was read last, with its place. */
struct key {
	struct buf text;
	uint32_t line, column;
};

static void key_fini(struct key *key)
{
	buf_fini(&key->text);
}

/* A message about a key, at the key's place. */
static int key_fail(struct toml_cursor *c, const struct key *key, const char *problem)
{
	c->line = key->line;
	c->column = key->column;
	return toml_fail(c, -EINVAL, "\"%.80s\" %s", key->text.data ? key->text.data : "", problem);
}

/* Append a fresh value to a table or array; key NULL in an array. */
static int add_item(struct toml_cursor *c, struct toml *parent, struct key *key, struct toml **ret)
{
	size_t n = parent->items.n;
	struct toml *value;

	if (++c->nodes > TOML_NODES_MAX)
		return toml_fail(c, -E2BIG, "the file has more than %d values", TOML_NODES_MAX);
	value = xnew(struct toml);
	value->line = key ? key->line : c->line;
	value->column = key ? key->column : c->column;
	if (key) {
		value->key_len = key->text.len;
		value->key = buf_take(&key->text);
	}
	if ((n & (n - 1)) == 0)
		parent->items.v = xreallocarray(parent->items.v, n ? n * 2 : 1,
						sizeof(*parent->items.v));
	parent->items.v[parent->items.n++] = value;
	*ret = value;
	return 0;
}

static int add_table(struct toml_cursor *c, struct toml *parent, struct key *key,
		     enum toml_origin origin, struct toml **ret)
{
	int r = add_item(c, parent, key, ret);

	if (r < 0)
		return r;
	(*ret)->type = TOML_TABLE;
	(*ret)->origin = origin;
	return 0;
}

static int enter(struct toml_cursor *c)
{
	if (++c->depth > TOML_DEPTH_MAX)
		return toml_fail(c, -E2BIG, "more than %d levels of nesting", TOML_DEPTH_MAX);
	return 0;
}

/* --- keys --- */

static bool is_bare(int ch)
{
	return ch >= 0 && ch < 0x80 && (isalnum(ch) || ch == '-' || ch == '_');
}

/* One part of a key, and the white space around it. */
static int scan_key(struct toml_cursor *c, struct key *key)
{
	int r = 0, ch;

	toml_skip_blank(c);
	key->text.len = 0;
	key->line = c->line;
	key->column = c->column;
	ch = toml_peek(c, 0);
	if (ch == '"' || ch == '\'') {
		r = toml_scan_string(c, true, &key->text);
	} else if (is_bare(ch)) {
		for (; is_bare(toml_peek(c, 0)); toml_advance(c, 1))
			buf_addc(&key->text, *c->p);
	} else {
		r = toml_fail(c, -EINVAL,
			      "a key is missing here (letters, digits, - and _; others "
			      "need quotes)");
	}
	toml_skip_blank(c);
	return r;
}

/* The table that a part of a dotted key leads into. */
static int descend_dotted(struct toml_cursor *c, struct toml **table, struct key *key)
{
	struct toml *next = table_get(*table, key->text.data ? key->text.data : "", key->text.len);

	if (!next)
		return add_table(c, *table, key, TOML_ORIGIN_DOTTED, table);
	if (next->type != TOML_TABLE)
		return key_fail(c, key, "is not a table");
	if (next->origin != TOML_ORIGIN_DOTTED)
		return key_fail(c, key,
				"is a table that was defined before: a dotted key cannot "
				"add to it");
	*table = next;
	return 0;
}

/* `key = value`, the key possibly dotted, into a table. */
static int parse_pair(struct toml_cursor *c, struct toml *table)
{
	_cleanup_(key_fini) struct key key = {0};
	unsigned int depth = c->depth;
	struct toml *value;
	int r;

	for (;;) {
		r = scan_key(c, &key);
		if (r < 0)
			return r;
		if (!toml_accept(c, "."))
			break;
		r = enter(c);
		if (r < 0)
			return r;
		r = descend_dotted(c, &table, &key);
		if (r < 0)
			return r;
	}
	if (table_get(table, key.text.data ? key.text.data : "", key.text.len))
		return key_fail(c, &key, "is there twice");
	if (!toml_accept(c, "="))
		return toml_fail(c, -EINVAL, "\"=\" is missing behind the key");
	r = add_item(c, table, &key, &value);
	if (r < 0)
		return r;
	toml_skip_blank(c);
	r = parse_value(c, value);
	c->depth = depth;
	return r;
}

/* --- values --- */

/* White space, newlines and comments between the elements of an array. */
static int skip_space(struct toml_cursor *c)
{
	int r;

	do {
		toml_skip_blank(c);
		r = toml_skip_comment(c);
		if (r < 0)
			return r;
	} while (toml_accept_newline(c));
	return 0;
}

static int parse_array(struct toml_cursor *c, struct toml *array)
{
	struct toml *item;
	int r;

	array->type = TOML_ARRAY;
	for (;;) {
		r = skip_space(c);
		if (r < 0)
			return r;
		if (toml_accept(c, "]"))
			return 0;
		r = add_item(c, array, NULL, &item);
		if (r < 0)
			return r;
		r = parse_value(c, item);
		if (r < 0)
			return r;
		r = skip_space(c);
		if (r < 0)
			return r;
		if (!toml_accept(c, ",") && toml_peek(c, 0) != ']')
			return toml_fail(c, -EINVAL, "\",\" or \"]\" is missing in the array");
	}
}

static int parse_inline_table(struct toml_cursor *c, struct toml *table)
{
	int r;

	table->type = TOML_TABLE;
	toml_skip_blank(c);
	if (toml_accept(c, "}"))
		return 0;
	for (;;) {
		r = parse_pair(c, table);
		if (r < 0)
			return r;
		toml_skip_blank(c);
		if (toml_accept(c, "}"))
			return 0;
		if (!toml_accept(c, ","))
			return toml_fail(c, -EINVAL,
					 "\",\" or \"}\" is missing in the inline "
					 "table");
	}
}

static int parse_string(struct toml_cursor *c, struct toml *value)
{
	_cleanup_(buf_fini) struct buf text = {0};
	int r = toml_scan_string(c, false, &text);

	if (r < 0)
		return r;
	value->type = TOML_STRING;
	value->string.len = text.len;
	value->string.data = buf_take(&text);
	return 0;
}

/* The value at the cursor into `value`, which hangs in the tree already. */
static int parse_value(struct toml_cursor *c, struct toml *value)
{
	int r, ch = toml_peek(c, 0);

	if (ch == '"' || ch == '\'')
		return parse_string(c, value);
	if (ch == '[' || ch == '{') {
		r = enter(c);
		if (r < 0)
			return r;
		toml_advance(c, 1);
		r = ch == '[' ? parse_array(c, value) : parse_inline_table(c, value);
		c->depth--;
		return r;
	}
	if (is_bare(ch) && isalpha(ch)) {
		value->type = TOML_BOOL;
		value->boolean = ch == 't';
		if ((toml_accept(c, "true") || toml_accept(c, "false")) &&
		    !is_bare(toml_peek(c, 0)))
			return 0;
	}
	return toml_scan_scalar(c, value);
}

/* --- headers --- */

/* The table that a part of a header, not its last, leads into. */
static int descend_header(struct toml_cursor *c, struct toml **table, struct key *key)
{
	struct toml *next = table_get(*table, key->text.data ? key->text.data : "", key->text.len);

	if (!next)
		return add_table(c, *table, key, TOML_ORIGIN_IMPLICIT, table);
	if (next->type == TOML_ARRAY && next->origin == TOML_ORIGIN_HEADER)
		next = next->items.v[next->items.n - 1];
	else if (next->type != TOML_TABLE)
		return key_fail(c, key, "is not a table");
	else if (next->origin == TOML_ORIGIN_VALUE)
		return key_fail(c, key, "is an inline table: nothing can be added to it");
	*table = next;
	return 0;
}

/* The last part of [header]. */
static int open_table(struct toml_cursor *c, struct toml *parent, struct key *key,
		      struct toml **ret)
{
	struct toml *table = table_get(parent, key->text.data ? key->text.data : "", key->text.len);

	if (!table)
		return add_table(c, parent, key, TOML_ORIGIN_HEADER, ret);
	if (table->type != TOML_TABLE || table->origin != TOML_ORIGIN_IMPLICIT)
		return key_fail(c, key, "is there twice");
	table->origin = TOML_ORIGIN_HEADER;
	table->line = key->line;
	table->column = key->column;
	*ret = table;
	return 0;
}

/* The last part of [[header]]. */
static int open_element(struct toml_cursor *c, struct toml *parent, struct key *key,
			struct toml **ret)
{
	struct toml *array = table_get(parent, key->text.data ? key->text.data : "", key->text.len);
	int r;

	if (!array) {
		r = add_item(c, parent, key, &array);
		if (r < 0)
			return r;
		array->type = TOML_ARRAY;
		array->origin = TOML_ORIGIN_HEADER;
	} else if (array->type != TOML_ARRAY || array->origin != TOML_ORIGIN_HEADER) {
		return key_fail(c, key, "is there already and is not an array of tables");
	}
	return add_table(c, array, NULL, TOML_ORIGIN_HEADER, ret);
}

/* [a.b] or [[a.b]]; *ret is the table that the following keys belong to. */
static int parse_header(struct toml_cursor *c, struct toml *root, struct toml **ret)
{
	_cleanup_(key_fini) struct key key = {0};
	struct toml *table = root;
	bool element;
	int r;

	element = toml_accept(c, "[[");
	if (!element)
		toml_advance(c, 1);
	c->depth = 0;
	for (;;) {
		r = scan_key(c, &key);
		if (r < 0)
			return r;
		r = enter(c);
		if (r < 0)
			return r;
		if (!toml_accept(c, "."))
			break;
		r = descend_header(c, &table, &key);
		if (r < 0)
			return r;
	}
	if (!toml_accept(c, element ? "]]" : "]"))
		return toml_fail(c, -EINVAL, "\"%s\" is missing behind the table's name",
				 element ? "]]" : "]");
	return element ? open_element(c, table, &key, ret) : open_table(c, table, &key, ret);
}

static int parse_document(struct toml_cursor *c, struct toml *root)
{
	struct toml *table = root;
	int r;

	while (c->p < c->end) {
		toml_skip_blank(c);
		if (toml_peek(c, 0) == '[')
			r = parse_header(c, root, &table);
		else if (c->p < c->end && !strchr("#\r\n", *c->p))
			r = parse_pair(c, table);
		else
			r = 0;
		if (r < 0)
			return r;
		toml_skip_blank(c);
		r = toml_skip_comment(c);
		if (r < 0)
			return r;
		if (c->p < c->end && !toml_accept_newline(c))
			return toml_fail(c, -EINVAL, "the line should end here");
	}
	return 0;
}

int toml_parse(const char *text, size_t n, struct toml **ret, struct toml_error *error)
{
	struct toml_cursor c = {.p = text, .end = text + n, .line = 1, .column = 1};
	_cleanup_(toml_freep) struct toml *root = xnew(struct toml);
	struct toml_cursor start;
	int r;

	root->type = TOML_TABLE;
	root->origin = TOML_ORIGIN_HEADER;
	root->line = root->column = 1;
	c.error = error;
	if (n > TOML_SIZE_MAX)
		return toml_fail(&c, -E2BIG, "the file is larger than %u bytes", TOML_SIZE_MAX);
	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		c.p += 3;
	start = c;
	r = toml_check_utf8(&c);
	if (r < 0)
		return r;
	c = start;
	r = parse_document(&c, root);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(root);
	return 0;
}
