/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/oci_features.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/test.h"
#include "kernel/idmap.h"

static bool contains(const json_t *array, const char *name)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (strcmp(json_string_value(json_array_get(array, i)), name) == 0)
			return true;
	return false;
}

static void document(void **state)
{
	_cleanup_(freep) char *text = oci_features();
	json_t *root = json_loads(text, 0, NULL), *linux, *extensions;

	(void)state;
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "ociVersionMin")), "1.0.0");
	assert_true(contains(json_object_get(root, "mountOptions"), "rro"));
	assert_true(contains(json_object_get(root, "mountOptions"), "rbind"));
	assert_true(contains(json_object_get(root, "mountOptions"), "unbindable"));
	linux = json_object_get(root, "linux");
	assert_true(contains(json_object_get(linux, "capabilities"), "CAP_CHOWN"));
	assert_true(contains(json_object_get(linux, "capabilities"), "CAP_CHECKPOINT_RESTORE"));
	assert_true(json_is_true(json_object_get(json_object_get(linux, "seccomp"), "enabled")));
	extensions = json_object_get(linux, "mountExtensions");
	assert_int_equal(
		json_is_true(json_object_get(json_object_get(extensions, "idmap"), "enabled")),
		idmap_supported());
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
