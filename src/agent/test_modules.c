/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/modules.h"

#include <string.h>

#include "base/test.h"

static bool matches(const char *line, const char *wanted)
{
	return modules_line_matches(line, strlen(line), wanted);
}

static void names_and_aliases(void **state)
{
	const char *net = "virtio_net virtio:d00000001v*,x-y /a/virtio_net.ko";

	(void)state;
	assert_true(matches(net, "virtio_net"));
	assert_true(matches(net, "virtio-net"));
	assert_true(matches(net, "virtio:d00000001v00001AF4"));
	assert_true(matches(net, "x_y"));
	assert_false(matches(net, "virtio:d00000002v00001AF4"));
	assert_false(matches(net, "virtio_ne"));
	assert_false(matches(net, "/a/virtio_net.ko"));
	assert_false(matches(net, ""));
	assert_false(matches("overlay - /a/overlay.ko", "/a/overlay.ko"));
	assert_true(matches("overlay fs-overlay /a/overlay.ko", "fs-overlay"));
	assert_false(matches("", "x"));
	assert_false(matches("name", "x"));
}

static void patterns(void **state)
{
	(void)state;
	assert_true(matches("m pci:v*d*sv*sd*bc01sc08i02* /m", "pci:v00008086d1sv2sd3bc01sc08i02"));
	assert_false(matches("m pci:v*bc01sc08i02* /m", "pci:v1bc01sc06i02"));
	assert_true(matches("m a[0-9][xyz]? /m", "a5yq"));
	assert_false(matches("m a[0-9][xyz]? /m", "aay"));
	assert_false(matches("m a[0-9 /m", "a"));
	assert_true(matches("m *a*b*c /m", "aabbcc"));
	assert_false(matches("m ?????????? /m", "short"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_aliases),
		cmocka_unit_test(patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
