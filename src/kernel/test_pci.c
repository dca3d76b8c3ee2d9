/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/pci.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/test.h"

static void paths_are_read(void **state)
{
	struct pci_path path;

	(void)state;
	assert_int_equal(pci_path_parse("02/01", &path), 0);
	assert_int_equal(path.n, 2);
	assert_int_equal(path.at[0].slot, 2);
	assert_int_equal(path.at[1].slot, 1);
	assert_int_equal(pci_path_parse("1e.3", &path), 0);
	assert_int_equal(path.at[0].slot, 0x1e);
	assert_int_equal(path.at[0].function, 3);
}

static void bad_paths_are_refused(void **state)
{
	static const char *const bad[] = {"",
					  "/",
					  "02/",
					  "/02",
					  "20",
					  "1.8",
					  "1.",
					  "0x02",
					  "02 ",
					  "../1",
					  "1/1/1/1/1/1/1/1/1",
					  "ffffffffffffffff01"};
	struct pci_path path;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(pci_path_parse(bad[i], &path), -EINVAL);
}

static void devices_are_found_behind_bridges(void **state)
{
	char base[] = "/tmp/kata-test-pci-XXXXXX";
	_cleanup_(freep) char *root = NULL, *bridge = NULL, *bus = NULL, *device = NULL,
			      *found = NULL;
	struct pci_path path;

	(void)state;
	assert_non_null(mkdtemp(base));
	root = xasprintf("%s/pci0000:00", base);
	bridge = xasprintf("%s/0000:00:02.0", root);
	bus = xasprintf("%s/pci_bus/0000:05", bridge);
	device = xasprintf("%s/0000:05:01.0", bridge);
	pci_path_parse("02/01", &path);
	assert_int_equal(pci_path_sysfs(root, &path, &found), -ENOENT);
	assert_int_equal(fs_mkdir_all(bus, 0755), 0);
	assert_int_equal(pci_path_sysfs(root, &path, &found), -ENOENT);
	assert_int_equal(fs_mkdir_all(device, 0755), 0);
	assert_int_equal(pci_path_sysfs(root, &path, &found), 0);
	assert_string_equal(found, device);
	fs_remove_all(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_read),
		cmocka_unit_test(bad_paths_are_refused),
		cmocka_unit_test(devices_are_found_behind_bridges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
