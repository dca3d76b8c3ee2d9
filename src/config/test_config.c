/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/path.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/resolve.h"

static char dir[] = "/tmp/kata-test-config-XXXXXX";

/* Write a file below the test's folder; returns its path in a static buffer. */
static const char *write_file(const char *name, const char *text)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(fs_replace(path, text, strlen(text), 0644, false), 0);
	return path;
}

static int setup(_unused_ void **state)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	unsetenv("KATA_CONF_FILE");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(_unused_ void **state)
{
	return fs_remove_all(dir);
}

static struct config *load(const char *text)
{
	_cleanup_err_ struct err err = {0};
	struct config *config = NULL;

	if (config_load(write_file("c.toml", text), &config, &err) < 0)
		fail_msg("%s", err_text(&err));
	return config;
}

static void test_default(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *config = config_default();

	assert_string_equal(config->file, "");
	assert_int_equal(config->hypervisor.default_memory, 2048);
	assert_false(config->hypervisor.allow_emulation);
	assert_false(config->runtime.disable_guest_seccomp);
	assert_string_equal(config->hypervisor.shared_fs, "virtio-fs");
	assert_true(config->hypervisor.default_vcpus == 1);
	assert_int_equal(config->hypervisor.default_maxvcpus, config_host_cpus());
	assert_true(config->hypervisor.default_maxmemory > 64);
	assert_int_equal(config->hypervisor.uid, 65534);
	assert_true(*config->hypervisor.path == '/' && *config->hypervisor.kernel == '/');
	assert_string_equal(config->hypervisor.image, "");
	assert_true(*config->hypervisor.initrd == '/');
}

static void test_values(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = load("[hypervisor.qemu]\n"
							"path = \"/opt/q\"\n"
							"image = \"/i.img\"\n"
							"default_vcpus = 0.5\n"
							"default_memory = 512\n"
							"virtio_fs_extra_args = [\"-o\", \"x\"]\n"
							"allow_emulation = true\n"
							"user = \"root\"\n"
							"[agent.kata]\n"
							"kernel_modules = [\"a b=1\"]\n"
							"[runtime]\n"
							"internetworking_model = \"none\"\n");

	assert_string_equal(c->hypervisor.path, "/opt/q");
	assert_string_equal(c->hypervisor.image, "/i.img");
	assert_string_equal(c->hypervisor.initrd, "");
	assert_true(c->hypervisor.default_vcpus > 0.49 && c->hypervisor.default_vcpus < 0.51);
	assert_int_equal(c->hypervisor.default_memory, 512);
	assert_int_equal(c->hypervisor.virtio_fs_extra_args.n, 2);
	assert_true(c->hypervisor.allow_emulation);
	assert_int_equal(c->hypervisor.uid, 0);
	assert_string_equal(c->agent.kernel_modules.v[0], "a b=1");
	assert_string_equal(c->runtime.internetworking_model, "none");
}

/* An image brings its own initrd along. */
static void test_image_initrd(_unused_ void **state)
{
	_cleanup_(freep) char *initrd = path_join(dir, "a.img.initrd");
	_cleanup_(freep) char *text = xasprintf("[hypervisor.qemu]\nimage = \"%s/a.img\"\n", dir);
	_cleanup_(freep) char *both = xasprintf("%sinitrd = \"%s\"\n", text, initrd);
	_cleanup_(config_freep) struct config *none = load(text), *found = NULL, *given = NULL;

	assert_string_equal(none->hypervisor.initrd, "");
	write_file("a.img.initrd", "x");
	found = load(text);
	assert_string_equal(found->hypervisor.initrd, initrd);
	given = load(both);
	assert_string_equal(given->hypervisor.initrd, initrd);
}

/* Numbers that mean "what the host has". */
static void test_host_size(_unused_ void **state)
{
	static const char *const texts[] = {"-1", "1000"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(freep) char *text = xasprintf("[hypervisor.qemu]\n"
							"default_vcpus = %s\n"
							"default_maxvcpus = 1000\n"
							"default_maxmemory = 1\n",
							texts[i]);
		_cleanup_(config_freep) struct config *c = load(text);

		assert_true(c->hypervisor.default_vcpus == config_host_cpus());
		assert_int_equal(c->hypervisor.default_maxvcpus, config_host_cpus());
		assert_int_equal(c->hypervisor.default_maxmemory, 2048);
	}
}

static void test_kata_files(_unused_ void **state)
{
	static const char *const names[] = {"kata-4.1-go.toml", "kata-4.1-rs.toml"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = path_join(getenv("KATA_TEST_DATA"), names[i]);
		_cleanup_(config_freep) struct config *c = NULL;
		_cleanup_err_ struct err err = {0};

		if (config_load(path, &c, &err) < 0)
			fail_msg("%s", err_text(&err));
		assert_string_equal(c->hypervisor.virtio_fs_daemon, "/usr/libexec/virtiofsd");
		assert_true(c->runtime.disable_guest_seccomp);
	}
}

/* The file that is installed loads, and with every default written out says the same. */
static void test_shipped_file(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *a = NULL, *b = NULL;
	_cleanup_(freep) char *text = NULL;
	_cleanup_err_ struct err err = {0};

	if (config_load(getenv("KATA_TEST_SHIPPED"), &a, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(fs_read(getenv("KATA_TEST_SHIPPED"), 1 << 20, &text, NULL), 0);
	for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		bool comment = str_has_prefix(line, "# ");
		size_t n = comment ? strspn(line + 2, "abcdefghijklmnopqrstuvwxyz_0123456789") : 0;

		if (n && str_has_prefix(line + 2 + n, " = "))
			line[0] = ' ';
	}
	b = load(text);
	for (const struct key *key = key_next(NULL); key; key = key_next(key)) {
		_cleanup_(freep) char *in_a = NULL, *in_b = NULL, *name = NULL;

		if (key->status != KEY_SERVED)
			continue;
		name = xasprintf("  %s = ", key->name);
		if (!strstr(text, name))
			fail_msg("%s is not in the file", key->name);
		in_a = key_format(a, key);
		in_b = key_format(b, key);
		assert_string_equal(in_a, in_b);
	}
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *part;
	} cases[] = {
		{"[hypervisor.qemu]\ndefualt_memory = 1\n", -EINVAL,
		 "c.toml:2:1: unknown key defualt_memory in [hypervisor.qemu]: did you mean "
		 "default_memory?"},
		{"[hypervisor.qemu]\nzzz = 1\n", -EINVAL, ":2:1: unknown key zzz"},
		{"[runtime]\n default_memory = 1\n", -EINVAL,
		 ":2:2: default_memory belongs into [hypervisor.qemu]"},
		{"default_memory = 1\n", -EINVAL, "belongs into [hypervisor.qemu]"},
		{"zzz = 1\n", -EINVAL, "outside of any section"},
		{"[hypervisor.qmu]\n", -ENOSYS, ":1:13: [hypervisor.qmu] is not served"},
		{"[hypervisor.clh]\npath = \"/x\"\n", -ENOSYS, "the hypervisor is qemu"},
		{"[runtme]\n", -EINVAL, "did you mean [runtime]?"},
		{"[hypervisor.qemu]\n\"path\\u0000x\" = \"/x\"\n", -EINVAL, "unknown key"},
		{"[hypervisor.qemu]\ndefault_memory = \"2048\"\n", -EINVAL,
		 "must be an integer, this is a string"},
		{"[hypervisor.qemu]\ndefault_memory = 1\n", -EINVAL, "between 64 and"},
		{"[hypervisor.qemu]\ndefault_memory = -1\n", -EINVAL, "between 64 and"},
		{"[hypervisor.qemu]\ndefault_memory = 9223372036854775807\n", -EINVAL, "between"},
		{"[hypervisor.qemu]\ndefault_vcpus = nan\n", -EINVAL, "finite"},
		{"[hypervisor.qemu]\npath = \"qemu\"\n", -EINVAL, "absolute path"},
		{"[hypervisor.qemu]\npath = \"/q\\u0000\"\n", -EINVAL, "control character"},
		{"[hypervisor.qemu]\nkernel_params = \"a\\nb\"\n", -EINVAL, "control character"},
		{"[hypervisor.qemu]\nshared_fs = \"virtio-9p\"\n", -EINVAL,
		 "must be one of virtio-fs, none, not \"virtio-9p\""},
		{"[hypervisor.qemu]\nshared_fs = \"virtio-fs|none\"\n", -EINVAL, "must be one of"},
		{"[hypervisor.qemu]\nmachine_type = \"pc\"\n", -EINVAL, "must be q35"},
		{"[hypervisor.qemu]\nenable_annotations = [\"(\"]\n", -EINVAL,
		 "not a regular expression"},
		{"[hypervisor.qemu]\nenable_annotations = [1]\n", -EINVAL, "array of strings"},
		{"[hypervisor.qemu]\nenable_virtio_mem = true\n", -ENOSYS,
		 ":2:1: enable_virtio_mem: virtio-mem is not served yet; remove the key or write "
		 "false"},
		{"[hypervisor.qemu]\nenable_virtio_mem = 1\n", -EINVAL, "true or false"},
		{"[hypervisor.qemu]\nconfidential_guest = true\n", -ENOSYS, "confidential"},
		{"[hypervisor.qemu.factory]\nenable_template = true\n", -ENOSYS, "[factory]"},
		{"[factory]\nenable_template = true\ntemplate_path = \"\"\n", -EINVAL,
		 "needs a template_path"},
		{"[hypervisor.qemu]\nimage = \"/i\"\ninitrd = \"/i\"\n", -EINVAL, "both given"},
		{"[runtime]\nsandbox_bind_mounts = [\"/a/x\", \"/b/y:ro\", \"/b/x:rw\"]\n", -EINVAL,
		 "\"/a/x\" and \"/b/x:rw\" would be seen under the same name"},
		{"[hypervisor.qemu]\nshared_fs = \"none\"\n"
		 "[runtime]\nsandbox_bind_mounts = [\"/a\"]\n",
		 -EINVAL, "sandbox_bind_mounts needs shared_fs"},
		{"[hypervisor.qemu]\naccelerator = \"tcg\"\n", -EINVAL, "allow_emulation"},
		{"[hypervisor.qemu]\nuser = \"no such user\"\n", -EINVAL, "no user"},
		{"[hypervisor.qemu]\nblock_device_logical_sector_size = 513\n", -EINVAL,
		 "power of two"},
		{"[runtime]\ndisable_new_netns = true\n", -ENOSYS, "network namespace"},
		{"[hypervisor.qemu\n", -EINVAL, "c.toml:1:17: \"]\" is missing"},
		{"hypervisor = 1\n", -EINVAL, "unknown key hypervisor"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_err_ struct err err = {0};
		struct config *config = NULL;
		int r = config_load(write_file("c.toml", cases[i].text), &config, &err);

		if (r != cases[i].code || !strstr(err_text(&err), cases[i].part))
			fail_msg("%s: %d %s", cases[i].text, r, err_text(&err));
		assert_null(config);
	}
}

static void test_dropins(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_err_ struct err err = {0};
	char d[200];

	snprintf(d, sizeof(d), "%s/config.d", dir);
	assert_int_equal(fs_mkdir_all(d, 0755), 0);
	write_file("config.d/20.toml", "[hypervisor.qemu]\ndefault_memory = 300\n");
	write_file("config.d/10.toml", "[hypervisor.qemu]\ndefault_memory = 200\n"
				       "memory_slots = 5\n");
	write_file("config.d/.30.toml", "nonsense");
	write_file("config.d/40.toml.bak", "nonsense");
	c = load("[hypervisor.qemu]\ndefault_memory = 100\n[runtime]\nenable_debug = true\n");
	assert_int_equal(c->dropins.n, 2);
	assert_true(str_has_suffix(c->dropins.v[0], "/10.toml"));
	assert_int_equal(c->hypervisor.default_memory, 300);
	assert_int_equal(c->hypervisor.memory_slots, 5);
	assert_true(c->runtime.enable_debug);

	config_free(TAKE_PTR(c));
	write_file("config.d/15.toml", "[runtime]\nx = 1\n");
	assert_int_equal(config_load(write_file("c.toml", ""), &c, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "config.d/15.toml:2:1: unknown key x"));
}

static void test_which_file(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_err_ struct err err = {0};
	char link[200];

	assert_int_equal(config_load("/nonexistent/x.toml", &c, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "/nonexistent/x.toml"));
	snprintf(link, sizeof(link), "%s/link.toml", dir);
	assert_int_equal(symlink(write_file("real.toml", "[hypervisor.qemu]\n"
							 "default_memory = 777\n"),
				 link),
			 0);
	setenv("KATA_CONF_FILE", link, 1);
	assert_int_equal(config_load(NULL, &c, &err), 0);
	assert_int_equal(c->hypervisor.default_memory, 777);
	assert_true(str_has_suffix(c->file, "/real.toml"));
	unsetenv("KATA_CONF_FILE");
	/* A folder, and a file that is too large. */
	config_free(TAKE_PTR(c));
	assert_true(config_load(dir, &c, &err) < 0);
	{
		_cleanup_(freep) char *text = xmalloc((1 << 20) + 2);

		memset(text, '\n', (1 << 20) + 1);
		text[(1 << 20) + 1] = '\0';
		assert_int_equal(config_load(write_file("big.toml", text), &c, &err), -EFBIG);
	}
}

static void test_copy(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *a = load("[agent.kata]\nkernel_modules = [\"m\"]\n");
	_cleanup_(config_freep) struct config *b = config_copy(a);

	assert_string_equal(b->agent.kernel_modules.v[0], "m");
	assert_ptr_not_equal(a->agent.kernel_modules.v, b->agent.kernel_modules.v);
	assert_string_equal(a->file, b->file);
	assert_ptr_not_equal(a->hypervisor.path, b->hypervisor.path);
}

/* One holder lets go, the other still reads. */
static void test_ref(_unused_ void **state)
{
	struct config *a = load("[agent.kata]\nkernel_modules = [\"m\"]\n");
	_cleanup_(config_freep) struct config *b = config_ref(a);

	config_free(a);
	assert_string_equal(b->agent.kernel_modules.v[0], "m");
	assert_int_equal(b->refs, 1);
}

/* Key by key, however each is written. */
static void test_equal(_unused_ void **state)
{
	static const struct {
		const char *text;
		bool equal;
	} cases[] = {
		{"[hypervisor.qemu]\ndefault_memory = 512\n[runtime]\nsandbox_bind_mounts = "
		 "[\"/a\"]\n",
		 true},
		{"# A remark.\n[runtime]\nsandbox_bind_mounts = [ \"/a\" ]\n[hypervisor.qemu]\n"
		 "default_memory=512\nmachine_type = \"q35\"\n",
		 true},
		{"[hypervisor.qemu]\ndefault_memory = 513\n[runtime]\nsandbox_bind_mounts = "
		 "[\"/a\"]\n",
		 false},
		{"[hypervisor.qemu]\ndefault_memory = 512\n", false},
		{"[hypervisor.qemu]\ndefault_memory = 512\n[runtime]\n"
		 "sandbox_bind_mounts = [\"/a\", \"/b\"]\n",
		 false},
		{"[hypervisor.qemu]\ndefault_memory = 512\n[runtime]\nsandbox_bind_mounts = "
		 "[\"/a\"]\n"
		 "enable_debug = true\n",
		 false},
	};
	_cleanup_(config_freep) struct config *first = load(cases[0].text);
	_cleanup_(config_freep) struct config *copy = config_copy(first);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(config_freep) struct config *other = load(cases[i].text);

		if (config_equal(first, other) != cases[i].equal ||
		    config_equal(other, first) != cases[i].equal)
			fail_msg("%s", cases[i].text);
	}
	assert_true(config_equal(first, first));
	assert_true(config_equal(first, copy));
	/* Of another file, which may change when this one does not. */
	free(copy->file);
	copy->file = xstrdup("/etc/other.toml");
	assert_false(config_equal(first, copy));
}

/* What an annotation says is a difference. */
static void test_equal_annotated(_unused_ void **state)
{
	const struct config_annotation memory = {
		"io.katacontainers.config.hypervisor.default_memory", "512"};
	_cleanup_(config_freep) struct config *a = load(
		"[hypervisor.qemu]\ndefault_memory = 256\nenable_annotations = "
		"[\"default_memory\"]\n");
	_cleanup_(config_freep) struct config *b = config_copy(a);

	assert_int_equal(config_apply_annotations(b, &memory, 1, NULL), 0);
	assert_int_equal(b->hypervisor.default_memory, 512);
	assert_false(config_equal(a, b));
}

/* The same name as config_load() gives it, since places for spares are known by it. */
static void test_find(_unused_ void **state)
{
	_cleanup_(freep) char *link = path_join(dir, "link.toml"), *found = NULL, *none = NULL;
	_cleanup_(config_freep) struct config *config = load("");
	_cleanup_err_ struct err err = {0};

	assert_int_equal(config_find(config->file, &found, &err), 0);
	assert_string_equal(found, config->file);
	free(TAKE_PTR(found));
	assert_int_equal(symlink(config->file, link), 0);
	assert_int_equal(config_find(link, &found, &err), 0);
	assert_string_equal(found, config->file);
	free(TAKE_PTR(found));
	setenv("KATA_CONF_FILE", link, 1);
	assert_int_equal(config_find(NULL, &found, &err), 0);
	assert_string_equal(found, config->file);
	unsetenv("KATA_CONF_FILE");
	none = path_join(dir, "none.toml");
	free(TAKE_PTR(found));
	assert_int_equal(config_find(none, &found, &err), -ENOENT);
	assert_null(found);
	assert_non_null(strstr(err_text(&err), "none.toml"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_default, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_initrd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kata_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shipped_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dropins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_which_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ref, setup, teardown),
		cmocka_unit_test_setup_teardown(test_equal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_equal_annotated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
