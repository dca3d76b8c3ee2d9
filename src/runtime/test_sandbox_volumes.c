/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that several containers of a sandbox mount. */
#include "base/path.h"
#include "kernel/mount.h"
#include "runtime/sandbox_fixture.h"

#define SHARED SHARE_ROOT "/s1/mounts/"

static Grpc__Mount volume = GRPC__MOUNT__INIT, *volumes[] = {&volume};
static char *options[] = {(char *)"rbind", (char *)"rw"};

static unsigned int mounts_at(const char *target)
{
	struct mountinfo *mounts;
	unsigned int found = 0;
	size_t n;

	assert_int_equal(mountinfo_read(0, &mounts, &n), 0);
	for (size_t i = 0; i < n; i++)
		found += streq(mounts[i].point, target);
	mountinfo_free(mounts, n);
	return found;
}

static void begin(void)
{
	assert_int_equal(fs_mkdir_all("/run/volume", 0755), 0);
	volume.type = (char *)"bind";
	volume.source = (char *)"/run/volume";
	volume.destination = (char *)"/volume";
	volume.options = options;
	volume.n_options = ARRAY_SIZE(options);
	options[1] = (char *)"rw";
	spec.mounts = volumes;
	spec.n_mounts = 1;
	start();
}

static void end(void)
{
	stop();
	spec.n_mounts = 0;
}

static void make_one(const char *id)
{
	_cleanup_err_ struct err err = {0};

	if (create(id, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void delete_one(const char *id)
{
	_cleanup_err_ struct err err = {0};

	if (container_delete(sandbox, id, "", NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
}

/* What the guest was told that the newest container's volume is. */
static void assert_source(const char *wanted)
{
	const struct buf *last = fake_agent_last(fake_vm_agent());
	Grpc__CreateContainerRequest *sent = grpc__create_container_request__unpack(
		NULL, last->len, (const uint8_t *)last->data);

	assert_non_null(sent);
	assert_string_equal(path_name(sent->oci->mounts[0]->source), wanted);
	grpc__create_container_request__free_unpacked(sent, NULL);
}

/* One mount, from the first container to the end of the last, whoever that is. */
static void joined_body(void)
{
	begin();
	make_one("c1");
	make_one("c2");
	assert_source("c1-0-volume");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 1);
	assert_int_equal(mounts_at(SHARED "c2-0-volume"), 0);
	delete_one("c1");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 1);
	make_one("c3");
	assert_source("c1-0-volume");
	delete_one("c2");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 1);
	delete_one("c3");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 0);
	assert_false(fs_exists(SHARED "c1-0-volume"));
	make_one("c4");
	assert_source("c4-0-volume");
	end();
}

static void joined(void **state)
{
	(void)state;
	in_coroutine(joined_body);
}

/* Another right, or another folder of the same name, is another mount. */
static void apart_body(void)
{
	begin();
	make_one("c1");
	options[1] = (char *)"ro";
	make_one("c2");
	assert_source("c2-0-volume");
	options[1] = (char *)"rw";
	assert_int_equal(rename("/run/volume", "/run/moved"), 0);
	assert_int_equal(fs_mkdir_all("/run/volume", 0755), 0);
	make_one("c3");
	assert_source("c3-0-volume");
	end();
	assert_int_equal(rmdir("/run/moved"), 0);
}

static void apart(void **state)
{
	(void)state;
	in_coroutine(apart_body);
}

/* One that fails after it has joined leaves the others their mount. */
static void failed_body(void)
{
	_cleanup_err_ struct err err = {0};
	Grpc__Mount bad = GRPC__MOUNT__INIT, *both[] = {&volume, &bad};

	begin();
	make_one("c1");
	bad.type = (char *)"bind";
	bad.source = (char *)"/run/missing";
	bad.destination = (char *)"/missing";
	bad.options = options;
	bad.n_options = ARRAY_SIZE(options);
	spec.mounts = both;
	spec.n_mounts = 2;
	assert_int_equal(create("c2", &err), -ENOENT);
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 1);
	spec.mounts = volumes;
	spec.n_mounts = 1;
	delete_one("c1");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 0);
	end();
}

static void failed(void **state)
{
	(void)state;
	in_coroutine(failed_body);
}

#define MEMORY "/run/kubernetes.io~empty-dir/memory"

static void assert_ephemeral(const char *const *wanted, size_t n)
{
	const struct buf *last = fake_agent_last(fake_vm_agent());
	Grpc__CreateContainerRequest *sent = grpc__create_container_request__unpack(
		NULL, last->len, (const uint8_t *)last->data);
	const Grpc__Storage *storage;

	assert_non_null(sent);
	assert_int_equal(sent->n_storages, 1);
	storage = sent->storages[0];
	assert_string_equal(storage->mount_point, sent->oci->mounts[0]->source);
	assert_in_range(storage->n_options, n, n + 1); /* and its size */
	for (size_t i = 0; i < n; i++)
		assert_string_equal(storage->options[i], wanted[i]);
	grpc__create_container_request__free_unpacked(sent, NULL);
}

/* A volume in memory belongs to whom kubelet has given the host's, as a user namespace maps it. */
static void in_memory_body(void)
{
	static const char *const plain[] = {"mode=2770", "uid=7", "gid=3000"};
	static const char *const mapped[] = {"mode=2770", "uid=65543", "gid=68536"};
	Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT, *maps[] = {&map};

	begin();
	assert_int_equal(fs_mkdir_all(MEMORY, 0755), 0);
	assert_int_equal(chown(MEMORY, 7, 3000), 0);
	assert_int_equal(chmod(MEMORY, 02770), 0);
	volume.source = (char *)MEMORY;
	make_one("c1");
	assert_ephemeral(plain, ARRAY_SIZE(plain));
	map.hostid = 65536;
	map.size = 65536;
	volume.uidmappings = volume.gidmappings = maps;
	volume.n_uidmappings = volume.n_gidmappings = 1;
	make_one("c2");
	assert_ephemeral(mapped, ARRAY_SIZE(mapped));
	volume.n_uidmappings = volume.n_gidmappings = 0;
	end();
}

static void in_memory(void **state)
{
	(void)state;
	in_coroutine(in_memory_body);
}

/* What is mounted in a volume comes along, but for the kernel's: not even where one covers another.
 * The host keeps them. */
static void kernels_below_body(void)
{
	static const char *const here[] = {"/run/volume/proc", "/run/volume/v"};

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(here); i++)
		assert_int_equal(fs_mkdir_all(here[i], 0755), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(mount("/proc", here[0], NULL, MS_BIND | MS_REC, NULL), 0);
	assert_int_equal(mount("tmpfs", here[1], "tmpfs", 0, NULL), 0);
	assert_int_equal(fs_mkdir_all("/run/volume/v/sys", 0755), 0);
	assert_int_equal(mount("/sys", "/run/volume/v/sys", NULL, MS_BIND | MS_REC, NULL), 0);
	make_one("c1");
	assert_int_equal(mounts_at(SHARED "c1-0-volume"), 1);
	assert_int_equal(mounts_at(SHARED "c1-0-volume/v"), 1);
	assert_int_equal(mounts_at(SHARED "c1-0-volume/v/sys"), 0);
	assert_int_equal(mounts_at(SHARED "c1-0-volume/proc"), 0);
	assert_true(fs_exists("/run/volume/proc/self"));
	delete_one("c1");
	for (size_t i = 0; i < ARRAY_SIZE(here); i++)
		assert_int_equal(umount2(here[i], MNT_DETACH), 0);
	assert_int_equal(umount2(here[0], MNT_DETACH), 0);
	end();
}

static void kernels_below(void **state)
{
	(void)state;
	in_coroutine(kernels_below_body);
}

/* The kernel's own under another name, and through a link. */
static void kernels_body(void)
{
	static const char *const sources[] = {"/run/volume", "/run/volume/sys", "/run/link"};

	begin();
	assert_int_equal(mount("/proc", "/run/volume", NULL, MS_BIND | MS_REC, NULL), 0);
	assert_int_equal(symlink("/sys/kernel", "/run/link"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		_cleanup_err_ struct err err = {0};

		volume.source = (char *)sources[i];
		assert_int_equal(create("c1", &err), -EPERM);
		if (!strstr(err_text(&err), sources[i]) ||
		    !strstr(err_text(&err), i < 2 ? "it is proc of" : "it is sysfs of"))
			fail_msg("%s", err_text(&err));
	}
	assert_int_equal(umount2("/run/volume", MNT_DETACH), 0);
	assert_int_equal(unlink("/run/link"), 0);
	end();
}

static void kernels(void **state)
{
	(void)state;
	in_coroutine(kernels_body);
}

SANDBOX_TESTS(TEST(joined), TEST(apart), TEST(failed), TEST(in_memory), TEST(kernels_below),
	      TEST(kernels))
