/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "base/str.h"
#include "hypervisor/qemu/devices.h"

static char *dump(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(object);
	return text;
}

static void test_both_languages(_unused_ void **state)
{
	_cleanup_(props_fini) struct props p = {0};
	_cleanup_(freep) char *arg = NULL;
	_cleanup_(freep) char *json = NULL;

	props_add(&p, "driver", "raw");
	props_add(&p, "node-name", "drive-a");
	props_add(&p, "absent", NULL);
	props_add(&p, "empty", "");
	props_add_empty(&p, "romfile");
	props_add_bool(&p, "read-only", true);
	props_add_number(&p, "size", 1ULL << 40);
	props_add(&p, "file.driver", "file");
	props_add(&p, "file.filename", "/a,b");
	props_add_bool(&p, "file.cache.direct", false);
	arg = props_to_arg(&p);
	assert_string_equal(arg, "raw,node-name=drive-a,romfile=,read-only=on,size=1099511627776,"
				 "file.driver=file,file.filename=/a,,b,file.cache.direct=off");
	json = dump(props_to_json(&p));
	assert_string_equal(json, "{\"driver\":\"raw\",\"file\":{\"cache\":{\"direct\":false},"
				  "\"driver\":\"file\",\"filename\":\"/a,b\"},"
				  "\"node-name\":\"drive-a\",\"read-only\":true,\"romfile\":\"\","
				  "\"size\":1099511627776}");
}

/* A value from outside cannot smuggle in a property of its own. */
static void test_no_injection(_unused_ void **state)
{
	_cleanup_(props_fini) struct props p = {0};
	_cleanup_(freep) char *arg = NULL;

	props_add(&p, "driver", "virtserialport");
	props_add(&p, "name", "x,chardev=charconsole0");
	arg = props_to_arg(&p);
	assert_string_equal(arg, "virtserialport,name=x,,chardev=charconsole0");
}

static void test_chardev_part(_unused_ void **state)
{
	struct part part = {.kind = PART_CHARDEV};
	_cleanup_(strv_fini) struct strv args = {0};
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *json = NULL;
	json_t *arguments;

	props_add(&part.props, "backend", "socket");
	props_add(&part.props, "id", "char-a");
	props_add(&part.props, "fd", "12");
	part_to_args(&part, &args);
	text = strv_join(&args, " ");
	assert_string_equal(text, "-chardev socket,id=char-a,fd=12");
	assert_string_equal(part_to_command(&part, &arguments), "chardev-add");
	json = dump(arguments);
	assert_string_equal(json, "{\"backend\":{\"data\":{\"addr\":{\"data\":{\"str\":\"12\"},"
				  "\"type\":\"fd\"},\"server\":false},\"type\":\"socket\"},"
				  "\"id\":\"char-a\"}");
	assert_string_equal(part_to_removal(&part, &arguments), "chardev-remove");
	json_decref(arguments);
	part_fini(&part);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_languages),
		cmocka_unit_test(test_no_injection),
		cmocka_unit_test(test_chardev_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
