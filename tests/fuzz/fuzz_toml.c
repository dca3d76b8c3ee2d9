/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a TOML document: either an error with a place and a text, or a tree. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/toml/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Looks at every value of a tree; aborts when one could not have been read from the text. */
static size_t check_tree(const struct toml *value)
{
	size_t n = 1;

	if (!value->line || !value->column || value->type >= _TOML_TYPE_MAX)
		abort();
	if (value->key && value->key[value->key_len])
		abort();
	if (value->type == TOML_STRING && value->string.data[value->string.len])
		abort();
	if (value->type != TOML_ARRAY && value->type != TOML_TABLE)
		return n;
	for (size_t i = 0; i < value->items.n; i++) {
		if (!value->items.v[i]->key != (value->type == TOML_ARRAY))
			abort();
		n += check_tree(value->items.v[i]);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct toml_error error = {0};
	struct toml *root = NULL;

	if (toml_parse((const char *)data, size, &root, &error) < 0) {
		if (root || !error.line || !error.column || !error.text[0])
			abort();
		return 0;
	}
	if (check_tree(root) > TOML_NODES_MAX + 1)
		abort();
	toml_free(root);
	return 0;
}
