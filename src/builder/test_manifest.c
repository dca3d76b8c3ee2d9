/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"
#include "builder/manifest.h"

static char dir[] = "/tmp/kata-test-manifest-XXXXXX";

static char *write_file(const char *name, const char *text)
{
	char *path = path_join(dir, name);

	assert_int_equal(fs_replace(path, text, strlen(text), 0644, false), 0);
	return path;
}

static void test_round_trip(_unused_ void **state)
{
	_cleanup_(freep) char *in = write_file("a file", "abc"), *out = write_file("out", "x");
	_cleanup_(freep) char *text = NULL, *again = NULL;
	_cleanup_(manifest_fini) struct manifest m = {.options = xstrdup("a=1 b=2")}, copy = {0};

	assert_int_equal(manifest_add_input(&m, in, NULL, NULL), 0);
	assert_int_equal(manifest_add_output(&m, dir, "out", NULL), 0);
	assert_string_equal(m.inputs.v[0].hash,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	text = manifest_format(&m);
	assert_int_equal(manifest_parse(text, &copy), 0);
	again = manifest_format(&copy);
	assert_string_equal(text, again);
	assert_null(manifest_changed(&copy, dir));
}

static void test_changed(_unused_ void **state)
{
	_cleanup_(freep) char *in = write_file("in", "abc"), *out = write_file("out", "x");
	_cleanup_(freep) char *new_in = NULL, *new_out = NULL;
	_cleanup_(manifest_fini) struct manifest m = {.options = xstrdup("")}, fresh = {0};
	struct timespec times[2];
	struct stat st;

	assert_int_equal(manifest_add_input(&m, in, NULL, NULL), 0);
	assert_int_equal(manifest_add_output(&m, dir, "out", NULL), 0);
	assert_null(manifest_changed(&m, dir));
	/* Another file of the same size and time, as a package manager may leave it. */
	assert_int_equal(stat(in, &st), 0);
	times[0] = times[1] = st.st_mtim;
	new_in = write_file("in", "abd");
	assert_int_equal(utimensat(AT_FDCWD, in, times, 0), 0);
	assert_string_equal(manifest_changed(&m, dir), in);
	assert_int_equal(manifest_add_input(&fresh, in, &m, NULL), 0);
	assert_string_not_equal(fresh.inputs.v[0].hash, m.inputs.v[0].hash);
	/* A damaged or missing output. */
	manifest_fini(&m);
	m.options = xstrdup("");
	assert_int_equal(manifest_add_output(&m, dir, "out", NULL), 0);
	new_out = write_file("out", "");
	assert_string_equal(manifest_changed(&m, dir), "out");
	assert_int_equal(unlink(out), 0);
	assert_string_equal(manifest_changed(&m, dir), "out");
}

/* A known stat spares the reading. */
static void test_known_hash(_unused_ void **state)
{
	_cleanup_(freep) char *in = write_file("in", "abc");
	_cleanup_(manifest_fini) struct manifest known = {0}, m = {0};

	assert_int_equal(manifest_add_input(&known, in, NULL, NULL), 0);
	memset(known.inputs.v[0].hash, '7', SHA256_HEX_SIZE - 1);
	assert_int_equal(manifest_add_input(&m, in, &known, NULL), 0);
	assert_string_equal(m.inputs.v[0].hash, known.inputs.v[0].hash);
}

static void test_errors(_unused_ void **state)
{
	_cleanup_(manifest_fini) struct manifest m = {0};
	_cleanup_err_ struct err err = {0};

	assert_int_equal(manifest_add_input(&m, "/nonexistent/x", NULL, &err), -ENOENT);
	assert_string_equal(err_text(&err), "read /nonexistent/x: No such file or directory");
	assert_int_equal(manifest_add_input(&m, "/dev/null", NULL, NULL), -EINVAL);
	assert_int_equal(m.inputs.n, 0);
	assert_int_equal(manifest_load("/nonexistent", &m), -ENOENT);
}

static void test_bad_text(_unused_ void **state)
{
#define HASH "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	static const char *const texts[] = {
		"",
		"kata-guest-image 1\nend\n",
		"kata-guest-image 1\noptions x\n",
		"kata-guest-image 2\noptions x\nend\n",
		"kata-guest-image 1\noptions x\noptions y\nend\n",
		"kata-guest-image 1\noptions x\ninput " HASH " 1 2 3 4\nend\n",
		"kata-guest-image 1\noptions x\ninput " HASH " 1 2 x 4 /a\nend\n",
		"kata-guest-image 1\noptions x\ninput " HASH "0 1 2 3 4 /a\nend\n",
		"kata-guest-image 1\noptions x\ninput  1 2 3 4 /a\nend\n",
		"kata-guest-image 1\noptions x\noutput 1 2 99999999999999999999999 a\nend\n",
		"kata-guest-image 1\noptions x\noutput 1 2 3 \nend\n",
		"kata-guest-image 1\noptions x\nnonsense\nend\n",
	};
	struct manifest m = {0};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(manifest_parse(texts[i], &m), -EBADMSG);
	assert_null(m.options);
}

static int make_dir(_unused_ void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(_unused_ void **state)
{
	return fs_remove_all(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_changed),
		cmocka_unit_test(test_known_hash), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_bad_text),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
