/* SPDX-License-Identifier: Apache-2.0 */
/* Root file systems: what containerd's snapshotters hand over. */
#include "runtime/sandbox_fixture.h"

#include "base/spawn.h"
#include "kernel/idmap.h"

static int try_create(const char *id, const struct rootfs_mount *mounts, size_t n, struct err *err)
{
	const struct container_request request = {.id = id,
						  .bundle = "/run/bundle",
						  .spec = &spec,
						  .rootfs_mounts = mounts,
						  .n_rootfs_mounts = n};

	return container_create(sandbox, &request, err);
}

static void create_of(const char *id, const struct rootfs_mount *mounts, size_t n)
{
	_cleanup_err_ struct err err = {0};

	if (try_create(id, mounts, n, &err) < 0)
		fail_msg("%s", err_text(&err));
}

/* What the agent was sent. */
static Grpc__CreateContainerRequest *last_created(void)
{
	const struct buf *last = fake_agent_last(fake_vm_agent());

	return grpc__create_container_request__unpack(NULL, last->len, (uint8_t *)last->data);
}

/* What the blockfile snapshotter hands over is a disk of the VM, not a mount of the host. */
static void image_root_body(void)
{
	const char *options[] = {"rw", "loop"};
	const struct rootfs_mount mount_ = {
		.type = "ext4", .source = "/run/image", .options = options, .n_options = 2};
	Grpc__CreateContainerRequest *sent;

	assert_int_equal(fs_replace("/run/image", "x", 1, 0600, false), 0);
	start();
	create_of("c1", &mount_, 1);
	assert_non_null(strstr(fake_vm_log(), "vm_add_device:disk0"));
	sent = last_created();
	assert_int_equal(sent->n_storages, 1);
	assert_string_equal(sent->storages[0]->fstype, "ext4");
	assert_string_equal(sent->storages[0]->source, "01/02");
	assert_int_equal(sent->storages[0]->n_options, 1);
	assert_string_equal(sent->storages[0]->options[0], "rw");
	assert_string_equal(sent->oci->root->path, sent->storages[0]->mount_point);
	grpc__create_container_request__free_unpacked(sent, NULL);
	stop();
}

static void image_root(void **state)
{
	(void)state;
	in_coroutine(image_root_body);
}

/* An image that the guest is to pull, as CRI-O's runtime_pull_image asks. */
static void pulled_root_body(void)
{
	const char *options[] = {"io.katacontainers.volume=e30="};
	const struct rootfs_mount mount_ = {
		.type = "fuse.nydus-overlayfs", .source = "", .options = options, .n_options = 1};
	_cleanup_err_ struct err err = {0};

	start();
	assert_int_equal(try_create("c1", &mount_, 1, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "the guest pulls itself is not supported"));
	stop();
}

static void pulled_root(void **state)
{
	(void)state;
	in_coroutine(pulled_root_body);
}

/* An image with more layers than fit in the page that mount(2) takes; also with mapped ids. */
static void create_layers(bool mapped)
{
	_cleanup_(buf_fini) struct buf lower = {0};
	const char *options[] = {NULL, "upperdir=/run/up/fs", "workdir=/run/up/work",
				 "uidmap=0:65536:65536", "gidmap=0:131072:65536"};
	const struct rootfs_mount mount_ = {.type = "overlay",
					    .source = "overlay",
					    .options = options,
					    .n_options = mapped ? 5 : 3};
	struct stat st;

	fs_mkdir_all("/run/up/fs", 0755);
	fs_mkdir_all("/run/up/work", 0755);
	buf_adds(&lower, "lowerdir=");
	for (int i = 0; i < 80; i++) {
		char dir[160];

		snprintf(dir, sizeof(dir),
			 "/run/a/folder/whose/name/is/rather/long/for/this/test/layers/%d/fs", i);
		assert_int_equal(fs_mkdir_all(dir, 0755), 0);
		buf_addf(&lower, "%s%s", i ? ":" : "", dir);
	}
	assert_true(lower.len > 4096);
	options[0] = lower.data;
	fs_mkdir_all("/run/a/folder/whose/name/is/rather/long/for/this/test/layers/79/fs/seen",
		     0755);
	start();
	create_of("c1", &mount_, 1);
	assert_int_equal(stat(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/seen", &st), 0);
	assert_int_equal(st.st_uid, mapped ? 65536 : 0);
	assert_int_equal(st.st_gid, mapped ? 131072 : 0);
	/* The layers themselves are as they were. */
	assert_int_equal(stat(strrchr(lower.data, ':') + 1, &st), 0);
	assert_int_equal(st.st_uid, 0);
	stop();
	assert_false(fs_exists("/run/bundle/rootfs/seen"));
}

static void many_layers_body(void)
{
	create_layers(false);
}

static void many_layers(void **state)
{
	(void)state;
	in_coroutine(many_layers_body);
}

static void mapped_layers_body(void)
{
	create_layers(true);
}

static void mapped_layers(void **state)
{
	(void)state;
	if (!idmap_supported())
		skip_test("needs Linux 6.3");
	in_coroutine(mapped_layers_body);
}

/* What is no overlay is mapped as a whole; half of a mapping is refused. */
static void mapped_bind_body(void)
{
	const char *options[] = {"uidmap=0:65536:65536", "rbind", "gidmap=0:65536:65536"};
	struct rootfs_mount mount_ = {
		.type = "bind", .source = "/run/layer", .options = options, .n_options = 3};
	_cleanup_err_ struct err err = {0};
	struct stat st;

	fs_mkdir_all("/run/layer/seen", 0755);
	start();
	mount_.n_options = 2;
	assert_int_equal(try_create("c1", &mount_, 1, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "needs both uidmap= and gidmap="));
	err_clear(&err);
	mount_.n_options = 3;
	create_of("c1", &mount_, 1);
	assert_int_equal(stat(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/seen", &st), 0);
	assert_int_equal(st.st_uid, 65536);
	stop();
	assert_false(fs_exists("/run/bundle/rootfs/seen"));
}

static void mapped_bind(void **state)
{
	(void)state;
	if (!idmap_supported())
		skip_test("needs Linux 6.3");
	in_coroutine(mapped_bind_body);
}

/* --- layers that are to become disks of the VM --- */

static const char *ext4_options[] = {"rw", "loop"}, *erofs_options[] = {"ro", "loop"};
static const char *overlay_options[] = {
	"X-containerd.mkdir.path={{ mount 0 }}/upper:0755",
	"X-containerd.mkdir.path={{ mount 0 }}/work:0755",
	"workdir={{ mount 0 }}/work",
	"upperdir={{ mount 0 }}/upper",
	"lowerdir={{ overlay 1 2 }}",
};
static const struct rootfs_mount layered[] = {
	{.type = "ext4", .source = "/run/rw", .options = ext4_options, .n_options = 2},
	{.type = "erofs", .source = "/run/one", .options = erofs_options, .n_options = 2},
	{.type = "erofs", .source = "/run/two", .options = erofs_options, .n_options = 2},
	{.type = "format/mkdir/overlay",
	 .source = "overlay",
	 .options = overlay_options,
	 .n_options = 5},
};

static void make_files(void)
{
	assert_int_equal(fs_replace("/run/rw", "x", 1, 0600, false), 0);
	assert_int_equal(fs_replace("/run/rw2", "x", 1, 0600, false), 0);
	assert_int_equal(fs_replace("/run/one", "x", 1, 0600, false), 0);
	assert_int_equal(fs_replace("/run/two", "x", 1, 0600, false), 0);
}

/* Those of containerd's EROFS snapshotter; a second container of the image has the same disks. */
static void plugged_layers_body(void)
{
	struct rootfs_mount second[4];
	Grpc__CreateContainerRequest *sent;
	const Grpc__Storage *top;

	make_files();
	start();
	create_of("c1", layered, 4);
	sent = last_created();
	assert_int_equal(sent->n_storages, 4);
	assert_string_equal(sent->storages[0]->fstype, "ext4");
	assert_string_equal(sent->storages[2]->fstype, "erofs");
	assert_string_equal(sent->storages[2]->mount_point,
			    "/run/kata-containers/sandbox/layers/disk2");
	top = sent->storages[3];
	assert_string_equal(top->driver, "overlayfs");
	assert_string_equal(top->fstype, "overlay");
	assert_string_equal(top->mount_point, sent->oci->root->path);
	assert_int_equal(top->n_options, 3);
	assert_string_equal(top->options[1],
			    "upperdir=/run/kata-containers/sandbox/layers/disk0/upper");
	assert_string_equal(top->options[2], "lowerdir=/run/kata-containers/sandbox/layers/disk1:"
					     "/run/kata-containers/sandbox/layers/disk2");
	assert_int_equal(top->n_driver_options, 2);
	assert_string_equal(top->driver_options[0],
			    "io.katacontainers.volume.overlayfs.create_directory="
			    "/run/kata-containers/sandbox/layers/disk0/upper");
	grpc__create_container_request__free_unpacked(sent, NULL);
	memcpy(second, layered, sizeof(second));
	second[0].source = "/run/rw2";
	create_of("c2", second, 4);
	sent = last_created();
	assert_string_equal(sent->storages[0]->mount_point,
			    "/run/kata-containers/sandbox/layers/disk3");
	assert_string_equal(sent->storages[1]->mount_point,
			    "/run/kata-containers/sandbox/layers/disk1");
	grpc__create_container_request__free_unpacked(sent, NULL);
	assert_int_equal(count(fake_vm_log(), "vm_add_device:disk"), 4);
	stop();
}

static void plugged_layers(void **state)
{
	(void)state;
	in_coroutine(plugged_layers_body);
}

/* Where there are to be no disks the host mounts them: files by way of loop devices. */
static void hosts_layers_body(void)
{
	static const char *bind_options[] = {"X-containerd.mkdir.path={{ mount 0 }}/upper:0755",
					     "rbind", "rw"};
	static const struct rootfs_mount mounts[] = {
		{.type = "ext4", .source = "/run/rw", .options = ext4_options, .n_options = 2},
		{.type = "format/mkdir/bind",
		 .source = "{{ mount 0 }}/upper",
		 .options = bind_options,
		 .n_options = 3},
	};
	char *mkfs[] = {(char *)"mkfs.ext4", (char *)"-q", (char *)"-F", (char *)"/run/rw", NULL};
	struct stat st;
	pid_t pid;

	assert_int_equal(fs_replace("/run/rw", "", 0, 0600, false), 0);
	assert_int_equal(truncate("/run/rw", 8 << 20), 0);
	pid = spawn_start(&(struct spawn){.path = mkfs[0], .argv = mkfs});
	assert_true(pid > 0);
	assert_int_equal(spawn_wait(pid), 0);
	config->hypervisor.disable_block_device_use = true;
	start();
	create_of("c1", mounts, 2);
	assert_null(strstr(fake_vm_log(), "vm_add_device:disk"));
	assert_int_equal(stat(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_false(fs_exists(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/lost+found"));
	assert_true(fs_exists("/run/bundle/layers/0/lost+found"));
	assert_int_equal(mkdir("/run/bundle/rootfs/written", 0755), 0);
	assert_true(fs_exists(SHARE_ROOT "/s1/rootfs/shared/c1/rootfs/written"));
	stop();
	assert_false(fs_exists("/run/bundle/layers"));
	assert_true(fs_exists("/run/bundle/rootfs"));
}

static void hosts_layers(void **state)
{
	(void)state;
	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		skip_test("needs loop devices");
	in_coroutine(hosts_layers_body);
}

/* An overlay whose upper folder is the host's cannot be the guest's. */
static void upper_on_host_body(void)
{
	static const char *options[] = {"upperdir=/run/up", "workdir=/run/work",
					"lowerdir={{ mount 0 }}"};
	const struct rootfs_mount mounts[] = {
		layered[1],
		{.type = "format/mkdir/overlay",
		 .source = "overlay",
		 .options = options,
		 .n_options = 3},
	};
	_cleanup_err_ struct err err = {0};

	make_files();
	start();
	/* What is in the file is no EROFS. */
	assert_true(try_create("c1", mounts, 2, &err) < 0);
	if (!strstr(err_text(&err), "mount /run/one (erofs) on /run/bundle/layers/0: mount"))
		fail_msg("%s", err_text(&err));
	assert_null(strstr(fake_vm_log(), "vm_add_device:disk"));
	assert_false(fs_exists("/run/bundle/layers"));
	stop();
}

static void upper_on_host(void **state)
{
	(void)state;
	in_coroutine(upper_on_host_body);
}

SANDBOX_TESTS(TEST(image_root), TEST(pulled_root), TEST(many_layers), TEST(mapped_layers),
	      TEST(mapped_bind), TEST(plugged_layers), TEST(hosts_layers), TEST(upper_on_host))
