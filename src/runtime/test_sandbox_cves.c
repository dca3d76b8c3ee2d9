/* SPDX-License-Identifier: Apache-2.0 */
/* Published bugs of Kata's runtime, tried on ours: docs/cves.md has what each was. */
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "kernel/mount.h"
#include "runtime/sandbox_fixture.h"

#define SHOWN SHARE_ROOT "/s1/rootfs/shared/c1/rootfs"

static const char *const bind_options[] = {"rbind", "rw"};

/* The image /run/image as a bind mount, as containerd's native snapshotter gives it, and, with
 * `inside`, a file system at this place in it. */
static int create_with(const char *inside, struct err *err)
{
	const struct rootfs_mount mounts[] = {
		{.type = "bind",
		 .source = "/run/image",
		 .target = "",
		 .options = bind_options,
		 .n_options = ARRAY_SIZE(bind_options)},
		{.type = "tmpfs", .source = "tmpfs", .target = inside},
	};
	const struct container_request request = {.id = "c1",
						  .bundle = "/run/bundle",
						  .spec = &spec,
						  .rootfs_mounts = mounts,
						  .n_rootfs_mounts = inside ? 2 : 1};

	return container_create(sandbox, &request, err);
}

/* What no image and no guest may reach: a mount of the host's with a file. */
static void make_victim(void)
{
	assert_int_equal(fs_mkdir_all("/run/image", 0755), 0);
	assert_int_equal(fs_mkdir_all("/run/victim/below", 0755), 0);
	assert_int_equal(mount("tmpfs", "/run/victim/below", "tmpfs", 0, NULL), 0);
	assert_int_equal(fs_replace("/run/victim/below/file", "x", 1, 0600, false), 0);
}

static void check_victim(void)
{
	struct mountinfo *mounts;
	unsigned int found = 0;
	size_t n;

	assert_int_equal(mountinfo_read(0, &mounts, &n), 0);
	for (size_t i = 0; i < n; i++)
		found += str_has_prefix(mounts[i].point, "/run/victim");
	mountinfo_free(mounts, n);
	assert_int_equal(found, 1);
	assert_true(fs_exists("/run/victim/below/file"));
}

static void remove_victim(void)
{
	assert_int_equal(umount2("/run/victim/below", 0), 0);
	assert_int_equal(fs_remove_all("/run/victim"), 0);
	assert_int_equal(fs_remove_all("/run/image"), 0);
}

/* CVE-2020-2026: a link in a root file system made the runtime mount on any path of the host. */
static void mount_through_a_link_body(void)
{
	static const char *const links[] = {"/run/victim", "../../../../run/victim"};
	_cleanup_err_ struct err err = {0};

	make_victim();
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		assert_int_equal(symlink(links[i], "/run/image/link"), 0);
		start();
		assert_int_equal(create_with("link/below", &err), -ENOENT);
		err_clear(&err);
		check_victim();
		stop();
		check_victim();
		sandbox_free(TAKE_PTR(sandbox));
		assert_int_equal(unlink("/run/image/link"), 0);
	}
	/* One that stays inside is followed. */
	fs_mkdir_all("/run/image/folder/below", 0755);
	assert_int_equal(symlink("/folder", "/run/image/link"), 0);
	start();
	if (create_with("link/below", &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(mount_is_point("/run/bundle/rootfs/folder/below"), 1);
	stop();
	remove_victim();
}

static void mount_through_a_link(void **state)
{
	(void)state;
	in_coroutine(mount_through_a_link_body);
}

/* CVE-2020-2024: a guest exchanged a folder for a link, and the runtime unmounted what is there. */
static void unmount_through_a_link_body(void)
{
	_cleanup_err_ struct err err = {0};

	make_victim();
	fs_mkdir_all("/run/image/victim/below", 0755);
	start();
	if (create_with("victim/below", &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(mount_is_point(SHOWN "/victim/below"), 1);
	assert_int_equal(rename(SHOWN "/victim", SHOWN "/aside"), 0);
	assert_int_equal(symlink("/run/victim", SHOWN "/victim"), 0);
	stop();
	check_victim();
	assert_int_equal(mount_is_point("/run/bundle/rootfs"), 0);
	remove_victim();
}

static void unmount_through_a_link(void **state)
{
	(void)state;
	in_coroutine(unmount_through_a_link_body);
}

/* CVE-2026-24054: a bound root file system was taken for the disk below it, which was plugged. */
static void bound_root_is_no_disk_body(void)
{
	_cleanup_err_ struct err err = {0};

	make_victim();
	start();
	if (create_with(NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(count(fake_vm_log(), "vm_add_device:disk"), 0);
	assert_true(fs_exists(SHOWN));
	stop();
	remove_victim();
}

static void bound_root_is_no_disk(void **state)
{
	(void)state;
	in_coroutine(bound_root_is_no_disk_body);
}

/* CVE-2020-35517: a guest had virtiofsd open a device of the host by a node it had made. */
static void no_devices_in_the_share_body(void)
{
	_cleanup_err_ struct err err = {0};
	struct statvfs st;

	make_victim();
	start();
	if (create_with(NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(statvfs(SHOWN, &st), 0);
	assert_int_equal(st.f_flag & (ST_NODEV | ST_NOSUID), ST_NODEV | ST_NOSUID);
	/* Making one is what a guest may do: it is its own there. */
	assert_int_equal(mknod(SHOWN "/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(open(SHOWN "/null", O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EACCES);
	stop();
	remove_victim();
}

static void no_devices_in_the_share(void **state)
{
	(void)state;
	in_coroutine(no_devices_in_the_share_body);
}

SANDBOX_TESTS(TEST(mount_through_a_link), TEST(unmount_through_a_link), TEST(bound_root_is_no_disk),
	      TEST(no_devices_in_the_share))
