/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>

#include "config/config.h"
#include "config/keys.h"
#include "config/resolve.h"

#define HV "io.katacontainers.config.hypervisor."
#define RT "io.katacontainers.config.runtime."
#define AG "io.katacontainers.config.agent."

static int apply(struct config *config, const char *key, const char *value, struct err *err)
{
	const struct config_annotation one = {key, value};

	return config_apply_annotations(config, &one, 1, err);
}

/* A configuration that enables every annotation. */
static struct config *permissive(void)
{
	struct config *config = config_default();
	const struct key *key = key_find(KEY_HYPERVISOR, "valid_hypervisor_paths");

	strv_fini(&config->hypervisor.enable_annotations);
	strv_add(&config->hypervisor.enable_annotations, ".*");
	strv_add(key_field(config, key), "/bin/s?");
	strv_add(&config->hypervisor.valid_virtio_fs_daemon_paths, "/bin/*");
	return config;
}

static void test_applied(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = permissive();
	static const struct config_annotation annotations[] = {
		{HV "default_memory", "1024"},
		{HV "default_vcpus", "0.5"},
		{HV "default_max_vcpus", "1"},
		{HV "kernel_params", "a=1 b"},
		{HV "path", "/bin/sh"},
		{HV "virtio_fs_extra_args", "[\"-o\", \"x,y\"]"},
		{HV "image", "/i.img"},
		{HV "blk_logical_sector_size", "4096"},
		{HV "enable_iommu", "false"},
		{HV "entropy_source", "/dev/random"},
		{RT "internetworking_model", "none"},
		{RT "disable_new_netns", "false"},
		{RT "sandbox_cgroup_only", "false"},
		{RT "create_container_timeout", "5"},
		{AG "kernel_modules", "e1000e X=3,3 EEE=1; i915 y=0"},
		{"io.kubernetes.cri.container-type", "sandbox"},
		{"io.katacontainers.pkg.oci.bundle_path", "/x"},
		{"", ""},
	};
	_cleanup_err_ struct err err = {0};

	free(c->hypervisor.kernel_params);
	c->hypervisor.kernel_params = xstrdup("quiet");
	if (config_apply_annotations(c, annotations, ARRAY_SIZE(annotations), &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(c->hypervisor.default_memory, 1024);
	assert_true(c->hypervisor.default_vcpus > 0.4 && c->hypervisor.default_vcpus < 0.6);
	assert_int_equal(c->hypervisor.default_maxvcpus, 1);
	assert_string_equal(c->hypervisor.kernel_params, "quiet a=1 b");
	assert_string_equal(c->hypervisor.path, "/bin/sh");
	assert_int_equal(c->hypervisor.virtio_fs_extra_args.n, 2);
	assert_string_equal(c->hypervisor.virtio_fs_extra_args.v[1], "x,y");
	assert_string_equal(c->hypervisor.image, "/i.img");
	assert_string_equal(c->hypervisor.initrd, "");
	assert_int_equal(c->hypervisor.block_device_logical_sector_size, 4096);
	assert_int_equal(c->runtime.create_container_timeout, 5);
	assert_int_equal(c->agent.kernel_modules.n, 2);
	assert_string_equal(c->agent.kernel_modules.v[1], "i915 y=0");
}

static void test_refused(_unused_ void **state)
{
	static const struct {
		const char *key, *value;
		int code;
		const char *part;
	} cases[] = {
		{HV "path", "/bin/cat", -EPERM, "valid_hypervisor_paths"},
		{HV "path", "/bin/../bin/sh", -EPERM, "valid_hypervisor_paths"},
		{HV "path", "/bin/s/", -EPERM, "valid_hypervisor_paths"},
		{HV "virtio_fs_daemon", "/bin/nonexistent-program", -EPERM, "existing"},
		{HV "virtio_fs_daemon", "/bin/x/sh", -EPERM, "valid_virtio_fs_daemon_paths"},
		{HV "entropy_source", "/dev/sda", -EPERM, "valid_entropy_sources"},
		{HV "default_memory", "12x", -EINVAL, "annotation " HV "default_memory: "},
		{HV "default_memory", "", -EINVAL, "must be an integer"},
		{HV "default_memory", "1", -EINVAL, "between"},
		{HV "default_memory", "1024\nx = 1", -EINVAL, "must be an integer"},
		{HV "default_memory", "18446744073709551616", -EINVAL, "must be an integer"},
		{HV "default_vcpus", "1000", -ERANGE, "CPUs only"},
		{HV "kernel_params", "a\nb", -EINVAL, "control character"},
		{HV "default_vcpu", "1", -EINVAL, "did you mean " HV "default_vcpus?"},
		{HV "kernel_hash", "abc", -ENOSYS, "hashes"},
		{HV "enable_virtio_mem", "true", -ENOSYS, "virtio-mem"},
		{HV "enable_virtio_mem", "maybe", -EINVAL, "true or false"},
		{HV "cc_init_data", "x", -ENOSYS, "confidential"},
		{AG "policy", "x", -ENOSYS, "policies"},
		{RT "disable_guest_secomp", "true", -EINVAL, "did you mean"},
		{RT "disable_new_netns", "true", -ENOSYS, "network namespace"},
		{RT "sandbox_bind_mounts", "/etc", -EINVAL, "unknown annotation"},
		{"io.katacontainers.enable_vcpus_pinning", "true", -ENOSYS, "pinning"},
		{"io.katacontainers.config_path", "/x", -EPERM, "ConfigPath"},
		{"io.katacontainers.config.xyz", "", -EINVAL, "unknown"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(config_freep) struct config *c = permissive();
		_cleanup_err_ struct err err = {0};
		int r = apply(c, cases[i].key, cases[i].value, &err);

		if (r != cases[i].code || !strstr(err_text(&err), cases[i].part))
			fail_msg("%s: %d %s", cases[i].key, r, err_text(&err));
		assert_int_equal(c->hypervisor.default_memory, 2048);
	}
}

/* Without being enabled nothing of the hypervisor can be set; a regular expression enables. */
static void test_enabled(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = config_default();
	_cleanup_err_ struct err err = {0};

	assert_int_equal(apply(c, HV "memory_slots", "5", &err), -EPERM);
	assert_non_null(strstr(err_text(&err), "enable_annotations"));
	assert_int_equal(apply(c, HV "path", "/bin/sh", &err), -EPERM);
	assert_int_equal(apply(c, HV "default_memory", "100", &err), 0);
	assert_int_equal(apply(c, RT "sandbox_cgroup_only", "false", &err), 0);
	strv_add(&c->hypervisor.enable_annotations, "^memory_");
	assert_int_equal(apply(c, HV "memory_slots", "5", &err), 0);
	assert_int_equal(c->hypervisor.memory_slots, 5);
	assert_int_equal(c->hypervisor.default_memory, 100);
}

/* One bad annotation among good ones leaves everything as it was. */
static void test_all_or_nothing(_unused_ void **state)
{
	_cleanup_(config_freep) struct config *c = config_default();
	static const struct config_annotation annotations[] = {
		{HV "default_memory", "1024"},
		{HV "path", "/bin/sh"},
	};

	assert_int_equal(config_apply_annotations(c, annotations, 2, NULL), -EPERM);
	assert_int_equal(c->hypervisor.default_memory, 2048);
	assert_int_equal(config_apply_annotations(c, NULL, 0, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_applied),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_enabled),
		cmocka_unit_test(test_all_or_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
