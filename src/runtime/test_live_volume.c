/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that kubelet changes, against a fake agent; inotify and the files are real. */
#include <stdlib.h>
#include <sys/inotify.h>

#include "base/parse.h"
#include "base/path.h"
#include "kernel/idmap.h"
#include "runtime/live_volume.h"
#include "runtime/sandbox_fixture.h"
#include "runtime/volume_snapshot.h"
#include "runtime/volume_watch.h"

#define PLUGIN "/run/pods/u/volumes/kubernetes.io~configmap"
#define VOLUME PLUGIN "/cfg"
#define WAIT   (10 * USEC_PER_SEC)

static Grpc__Mount mount_ = GRPC__MOUNT__INIT, *mounts[] = {&mount_};
static char *options[] = {(char *)"rbind", (char *)"ro"};
static Grpc__LinuxIDMapping uids = GRPC__LINUX_IDMAPPING__INIT, *all_uids[] = {&uids};
static Grpc__LinuxIDMapping gids = GRPC__LINUX_IDMAPPING__INIT, *all_gids[] = {&gids};

static void put_file(const char *path, const char *text)
{
	assert_int_equal(fs_replace(path, text, strlen(text), 0640, false), 0);
}

/* As kubelet's AtomicWriter does it, with a folder `stamp` that has `key`. */
static void write_volume(const char *stamp, const char *text)
{
	_cleanup_(freep) char *dir = path_join(VOLUME, stamp), *file = path_join(dir, "key");
	char old[64] = "";

	assert_int_equal(fs_mkdir_all(dir, 0755), 0);
	put_file(file, text);
	assert_true(readlink(VOLUME "/..data", old, sizeof(old) - 1) > 0 || errno == ENOENT);
	assert_int_equal(symlink(stamp, VOLUME "/..data_tmp"), 0);
	assert_int_equal(rename(VOLUME "/..data_tmp", VOLUME "/..data"), 0);
	if (*old) {
		_cleanup_(freep) char *gone = path_join(VOLUME, old);

		assert_int_equal(fs_remove_all(gone), 0);
	} else {
		assert_int_equal(symlink("..data/key", VOLUME "/key"), 0);
	}
}

static int live_set_up(void **state)
{
	int r = set_up(state);

	mount_.destination = (char *)"/cfg";
	mount_.type = (char *)"bind";
	mount_.source = (char *)VOLUME;
	mount_.options = options;
	mount_.n_options = 2;
	spec.mounts = mounts;
	spec.n_mounts = 1;
	write_volume("..1", "one");
	return r;
}

/* Ask for owners from 65536:131072 on, as kubelet does for a pod with a user namespace. */
static void map_ids(void)
{
	uids.hostid = 65536;
	gids.hostid = 131072;
	uids.size = gids.size = 10;
	mount_.uidmappings = all_uids;
	mount_.gidmappings = all_gids;
	mount_.n_uidmappings = mount_.n_gidmappings = 1;
}

static int live_tear_down(void **state)
{
	mount_.n_uidmappings = mount_.n_gidmappings = 0;
	spec.n_mounts = 0;
	assert_int_equal(fs_remove_all("/run/pods"), 0);
	return tear_down(state);
}

#define LIVE_TEST(name) cmocka_unit_test_setup_teardown(name, live_set_up, live_tear_down)
#define LIVE_BODY(name)                    \
	static void name##_body(void);     \
	static void name(void **state)     \
	{                                  \
		(void)state;               \
		in_coroutine(name##_body); \
	}                                  \
	static void name##_body(void)

static const char *in_guest(const char *name)
{
	return fake_agent_volume(fake_vm_agent(), name);
}

static void await_text(const char *name, const char *text)
{
	uint64_t deadline = clock_after(test_limit(WAIT));

	while (!strstr(in_guest(name), text)) {
		if (clock_now() > deadline)
			fail_msg("\"%s\" has no \"%s\"", in_guest(name), text);
		co_sleep(USEC_PER_MSEC);
	}
}

static unsigned int n_updates(void)
{
	return count(fake_agent_log(fake_vm_agent()), "UpdateLiveVolume");
}

static void delete (const char *id)
{
	struct process_status status;

	fake_agent_exit(fake_vm_agent(), id, 0);
	assert_int_equal(container_wait(sandbox, id, "", &status, NULL), 0);
	assert_int_equal(container_delete(sandbox, id, "", &status, NULL), 0);
}

static char *source_sent(void)
{
	const struct buf *last = fake_agent_last(fake_vm_agent());
	Grpc__CreateContainerRequest *sent = grpc__create_container_request__unpack(
		NULL, last->len, (uint8_t *)last->data);
	char *source = xstrdup(sent->oci->mounts[0]->source);

	grpc__create_container_request__free_unpacked(sent, NULL);
	return source;
}

/* One copy for all containers, kept up to date, gone with the last. */
LIVE_BODY(life)
{
	_cleanup_(freep) char *source = NULL;

	start();
	run("c1");
	source = source_sent();
	assert_string_equal(source, LIVE_VOLUME_GUEST_DIR "/0-cfg");
	assert_false(fs_exists(SHARE_ROOT "/s1/mounts/c1-0-cfg"));
	assert_string_equal(in_guest("0-cfg"), "= ..1= ..1/key=one ..data=..1 key=..data/key");
	run("c2");
	assert_int_equal(n_updates(), 1);
	write_volume("..2", "two");
	await_text("0-cfg", "..data=..2");
	assert_string_equal(in_guest("0-cfg"), "= ..2= ..2/key=two ..data=..2 key=..data/key");
	delete ("c1");
	write_volume("..3", "three");
	await_text("0-cfg", "..3/key=three");
	assert_non_null(sandbox->live);
	delete ("c2");
	assert_null(sandbox->live);
	while (*in_guest("0-cfg"))
		co_sleep(USEC_PER_MSEC);
	/* A new one is not mistaken for the old. */
	run("c3");
	assert_string_equal(in_guest("1-cfg"), "= ..3= ..3/key=three ..data=..3 key=..data/key");
	stop();
}

/* With mapped ids it is another copy, which stays one. */
LIVE_BODY(mapped)
{
	start();
	run("c1");
	map_ids();
	run("c2");
	run("c3");
	assert_int_equal(n_updates(), 2);
	assert_string_equal(in_guest("0-cfg"), "= ..1= ..1/key=one ..data=..1 key=..data/key");
	assert_non_null(strstr(in_guest("1-cfg"), " ..1/key@65536:131072=one"));
	write_volume("..2", "two");
	await_text("0-cfg", " ..2/key=two");
	await_text("1-cfg", " ..2/key@65536:131072=two");
	mount_.n_gidmappings = 0;
	assert_int_equal(create("c4", NULL), -EINVAL);
	stop();
}

/* Many changes become few, and the last one arrives; what changes nothing is not sent. */
LIVE_BODY(quick_changes)
{
	char stamp[16], text[32];
	unsigned int before;

	start();
	run("c1");
	before = n_updates();
	for (int i = 2; i <= 200; i++) {
		snprintf(stamp, sizeof(stamp), "..%d", i);
		snprintf(text, sizeof(text), "text %d.", i);
		write_volume(stamp, text);
	}
	await_text("0-cfg", "text 200.");
	assert_true(n_updates() - before < 20);
	before = n_updates();
	assert_int_equal(chmod(VOLUME, 0755), 0);
	assert_int_equal(mkdir(VOLUME "/..half_made", 0755), 0);
	put_file(VOLUME "/later", "x");
	await_text("0-cfg", "later=x");
	assert_int_equal(n_updates(), before + 1);
	assert_null(strstr(in_guest("0-cfg"), "half_made"));
	stop();
}

static void write_often(_unused_ void *arg)
{
	char stamp[16], text[32];

	for (int i = 2; i <= 50; i++) {
		snprintf(stamp, sizeof(stamp), "..%d", i);
		snprintf(text, sizeof(text), "text %d.", i);
		write_volume(stamp, text);
		co_sleep(USEC_PER_MSEC);
	}
}

/* It changes while the first copy is made. */
LIVE_BODY(change_in_create)
{
	start();
	co_start(loop, write_often, NULL);
	run("c1");
	await_text("0-cfg", "text 50.");
	stop();
}

/* The queue of events is full when the change comes: the kernel drops what would tell of it. */
LIVE_BODY(overflow)
{
	_cleanup_(freep) char *text = NULL;
	char name[128];
	uint64_t most;

	start();
	run("c1");
	assert_int_equal(fs_read("/proc/sys/fs/inotify/max_queued_events", 32, &text, NULL), 0);
	assert_int_equal(parse_u64(str_chomp(text), &most), 0);
	/* Two events each, and none that would make anybody look. */
	for (uint64_t i = 0; i <= most / 2; i++) {
		snprintf(name, sizeof(name), VOLUME "/..half_made%llu", (unsigned long long)i);
		assert_int_equal(mkdir(name, 0755), 0);
		assert_int_equal(rmdir(name), 0);
	}
	write_volume("..2", "two");
	await_text("0-cfg", "..2/key=two");
	stop();
}

/* An update that fails is tried again; until then the guest has what it had. */
LIVE_BODY(failure)
{
	_cleanup_err_ struct err err = {0};

	start();
	fake_agent_fail(fake_vm_agent(), "UpdateLiveVolume", -ENOSPC, "full");
	assert_true(create("c1", &err) < 0);
	assert_non_null(strstr(err_text(&err), "mount /cfg: "));
	assert_null(sandbox->live);
	fake_agent_fail(fake_vm_agent(), "x", 0, "");
	run("c1");
	fake_agent_fail(fake_vm_agent(), "UpdateLiveVolume", -ENOSPC, "full");
	write_volume("..2", "two");
	for (unsigned int before = n_updates(); n_updates() == before;)
		co_sleep(USEC_PER_MSEC);
	assert_non_null(strstr(in_guest("1-cfg"), "..1/key=one"));
	fake_agent_fail(fake_vm_agent(), "x", 0, "");
	await_text("1-cfg", "..2/key=two");
	/* While it waits for the next try the end has not to wait for it. */
	fake_agent_fail(fake_vm_agent(), "UpdateLiveVolume", -ENOSPC, "full");
	write_volume("..3", "three");
	for (unsigned int before = n_updates(); n_updates() == before;)
		co_sleep(USEC_PER_MSEC);
	stop();
}

/* A foreign agent is shown the host's files. */
LIVE_BODY(foreign)
{
	_cleanup_(freep) char *source = NULL;
	bool maps = idmap_supported();
	struct stat st;

	fake_vm_plan.mood = FAKE_FOREIGN;
	if (maps)
		map_ids();
	start();
	run("c1");
	source = source_sent();
	assert_string_equal(source, "/run/kata-containers/shared/containers/c1-0-cfg");
	assert_int_equal(stat(SHARE_ROOT "/s1/mounts/c1-0-cfg/key", &st), 0);
	assert_int_equal(st.st_uid, maps ? 65536 : 0);
	assert_null(sandbox->live);
	assert_int_equal(n_updates(), 0);
	stop();
}

/* Without a shared file system these volumes are served, too. */
LIVE_BODY(nothing_shared)
{
	const char *mount_options[] = {"ro", "loop"};
	const struct rootfs_mount root = {
		.type = "ext4", .source = "/run/image", .options = mount_options, .n_options = 2};
	const struct container_request request = {.id = "c1",
						  .bundle = "/run/bundle",
						  .spec = &spec,
						  .rootfs_mounts = &root,
						  .n_rootfs_mounts = 1};
	_cleanup_err_ struct err err = {0};

	put_file("/run/image", "x");
	free(config->hypervisor.shared_fs);
	config->hypervisor.shared_fs = xstrdup("none");
	start();
	if (container_create(sandbox, &request, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_non_null(strstr(in_guest("0-cfg"), "..1/key=one"));
	stop();
}

/* --- single files --- */

#define MESSAGE "/run/message"

/* A container with the mount on a root that is a block device. c1 runs, with MESSAGE. */
static void create_on_disk(const char *id)
{
	const char *mount_options[] = {"ro", "loop"};
	const struct rootfs_mount root = {
		.type = "ext4", .source = "/run/image", .options = mount_options, .n_options = 2};
	const struct container_request request = {.id = id,
						  .bundle = "/run/bundle",
						  .spec = &spec,
						  .rootfs_mounts = &root,
						  .n_rootfs_mounts = 1};
	_cleanup_err_ struct err err = {0};

	if (container_create(sandbox, &request, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void run_with_message(void)
{
	put_file("/run/image", "x");
	put_file(MESSAGE, "");
	mount_.source = (char *)MESSAGE;
	free(config->hypervisor.shared_fs);
	config->hypervisor.shared_fs = xstrdup("none");
	start();
	create_on_disk("c1");
	assert_string_equal(in_guest("0-message"), "= file=");
	assert_int_equal(container_start(sandbox, "c1", "", NULL, NULL), 0);
	fake_agent_set_volume(fake_vm_agent(), "0-message", "= file=it is over");
}

static void end_c1(void)
{
	struct process_status status;

	fake_agent_exit(fake_vm_agent(), "c1", 0);
	assert_int_equal(container_wait(sandbox, "c1", "", &status, NULL), 0);
}

static void expect_file(const char *path, const char *wanted)
{
	_cleanup_(freep) char *text = NULL;

	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	assert_string_equal(text, wanted);
}

/* A termination message, say: what the guest has made of it is there when the end is told, in the
 * file that there was, whoever else has it open. */
LIVE_BODY(brought_back)
{
	struct stat before, after;

	mount_.n_options = 1;
	run_with_message();
	assert_int_equal(stat(MESSAGE, &before), 0);
	end_c1();
	expect_file(MESSAGE, "it is over");
	assert_int_equal(stat(MESSAGE, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	stop();
}

/* In the file that there was, while the guest has changed its copy. */
LIVE_BODY(changed_on_both_sides)
{
	int fd;

	mount_.n_options = 1;
	run_with_message();
	fd = open(MESSAGE, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "host", 4), 4);
	close(fd);
	end_c1();
	expect_file(MESSAGE, "host");
	stop();
}

/* Another container, by another name of the file, gets the same copy, and what it says now. */
LIVE_BODY(file_of_two)
{
	int fd;

	mount_.n_options = 1;
	run_with_message();
	assert_int_equal(n_updates(), 1);
	assert_int_equal(link(MESSAGE, "/run/other-name"), 0);
	mount_.source = (char *)"/run/other-name";
	create_on_disk("c2");
	assert_int_equal(n_updates(), 1);
	/* Changed on both sides: everybody keeps what he has. */
	fd = open(MESSAGE, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "news", 4), 4);
	close(fd);
	create_on_disk("c3");
	assert_int_equal(n_updates(), 1);
	assert_string_equal(in_guest("0-message"), "= file=it is over");
	/* Changed here alone. */
	fake_agent_set_volume(fake_vm_agent(), "0-message", "= file=");
	create_on_disk("c4");
	assert_int_equal(n_updates(), 2);
	assert_string_equal(in_guest("0-message"), "= file=news");
	assert_string_equal(in_guest("1-other-name"), "");
	stop();
}

/* What is no file by then is not even opened. */
LIVE_BODY(file_becomes_device)
{
	mount_.n_options = 1;
	run_with_message();
	assert_int_equal(unlink(MESSAGE), 0);
	assert_int_equal(mkfifo(MESSAGE, 0600), 0);
	end_c1();
	stop();
}

LIVE_BODY(read_only_file)
{
	run_with_message();
	end_c1();
	expect_file(MESSAGE, "");
	assert_null(strstr(fake_agent_log(fake_vm_agent()), "ReadCopiedFile"));
	stop();
}

/* Somebody has put a link in its place, to a file that is not the pod's to write. */
LIVE_BODY(swapped_file)
{
	mount_.n_options = 1;
	run_with_message();
	put_file("/run/shadow", "root");
	assert_int_equal(unlink(MESSAGE), 0);
	assert_int_equal(symlink("/run/shadow", MESSAGE), 0);
	end_c1();
	expect_file("/run/shadow", "root");
	stop();
}

LIVE_BODY(file_that_cannot_be_read)
{
	mount_.n_options = 1;
	run_with_message();
	fake_agent_fail(fake_vm_agent(), "ReadCopiedFile", -EIO, "broken");
	end_c1();
	expect_file(MESSAGE, "");
	stop();
}

/* The watch is lost with the folder; another one in its place is found by looking. */
LIVE_BODY(without_watch)
{
	start();
	run("c1");
	assert_int_equal(fs_remove_all(VOLUME), 0);
	co_sleep(50 * USEC_PER_MSEC);
	write_volume("..2", "two");
	await_text("0-cfg", "..2/key=two");
	stop();
}

/* The sandbox dies while one is on its way, and changes afterwards. */
LIVE_BODY(death)
{
	start();
	run("c1");
	fake_agent_delay(fake_vm_agent(), "UpdateLiveVolume", 200 * USEC_PER_MSEC);
	write_volume("..2", "two");
	await_text("0-cfg", "..2/key=two");
	fake_vm_die("killed");
	co_sleep(USEC_PER_MSEC);
	write_volume("..3", "three");
	co_sleep(50 * USEC_PER_MSEC);
	stop();
}

/* --- without a sandbox --- */

static const struct ns_maps no_maps;

static int take(struct err *err)
{
	struct snapshot snapshot;
	int r = snapshot_take(VOLUME, "v", &no_maps, USEC_NEVER, &snapshot, err);

	if (r >= 0)
		snapshot_fini(&snapshot);
	return r;
}

static void odd_volumes(void **state)
{
	_cleanup_err_ struct err err = {0};

	(void)state;
	assert_int_equal(take(&err), 0);
	/* A pipe would keep whoever opens it; a link that leads out is not followed. */
	assert_int_equal(mkfifo(VOLUME "/..1/pipe", 0600), 0);
	assert_int_equal(take(&err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "..1/pipe"));
	assert_int_equal(unlink(VOLUME "/..1/pipe"), 0);
	assert_int_equal(symlink("/etc", VOLUME "/..1/out"), 0);
	assert_int_equal(take(&err), 0);
	assert_int_equal(unlink(VOLUME "/..data"), 0);
	assert_int_equal(take(&err), -ENOENT);
	assert_int_equal(symlink("../../../..", VOLUME "/..data"), 0);
	assert_int_equal(take(&err), -EINVAL);
	assert_int_equal(unlink(VOLUME "/..data"), 0);
	assert_int_equal(symlink("..1", VOLUME "/..data"), 0);
	/* Holes count. */
	assert_int_equal(truncate(VOLUME "/..1/key", SNAPSHOT_BYTES_MAX + 1), 0);
	assert_int_equal(take(&err), -EFBIG);
	assert_non_null(strstr(err_text(&err), "64 MiB"));
}

static void parts(void **state)
{
	const size_t size = (5U << 20) + 77;
	_cleanup_(freep) uint8_t *data = xmalloc(size), *seen = xmalloc(size);
	_cleanup_(snapshot_fini) struct snapshot snapshot;
	Grpc__UpdateLiveVolumeRequest *part;
	size_t n = 0, n_parts = 0;
	bool last = false;

	(void)state;
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i * 7 + i / 1000);
	assert_int_equal(fs_replace(VOLUME "/..1/key", data, size, 0400, false), 0);
	assert_int_equal(snapshot_take(VOLUME, "v", &no_maps, USEC_NEVER, &snapshot, NULL), 0);
	while (snapshot_next(&snapshot, &part, NULL) == 0 && part) {
		assert_false(last);
		assert_int_equal(part->first, n_parts++ == 0);
		last = part->last;
		assert_string_equal(part->name, "v");
		for (size_t i = 0; i < part->n_entries; i++) {
			const Grpc__LiveVolumeEntry *e = part->entries[i];

			if (!streq(e->path, "..1/key"))
				continue;
			assert_int_equal(e->mode, S_IFREG | 0400);
			assert_int_equal(e->offset, n);
			assert_true(n + e->data.len <= size);
			memcpy(seen + n, e->data.data, e->data.len);
			n += e->data.len;
		}
		grpc__update_live_volume_request__free_unpacked(part, NULL);
	}
	assert_true(last);
	assert_true(n_parts > 5);
	assert_int_equal(n, size);
	assert_memory_equal(data, seen, size);
}

/* As an idmapped mount shows them: who is not mapped is nobody. */
static void owners(void **state)
{
	struct ns_mapping line = {.inside = 5, .outside = 65536, .size = 2};
	const struct ns_maps maps = {.uids = &line, .gids = &line, .n_uids = 1, .n_gids = 1};
	_cleanup_(snapshot_fini) struct snapshot snapshot;
	Grpc__UpdateLiveVolumeRequest *part;
	unsigned int n = 0;

	(void)state;
	assert_int_equal(chown(VOLUME "/..1/key", 6, 7), 0);
	assert_int_equal(snapshot_take(VOLUME, "v", &maps, USEC_NEVER, &snapshot, NULL), 0);
	assert_int_equal(snapshot_next(&snapshot, &part, NULL), 0);
	for (size_t i = 0; i < part->n_entries; i++) {
		const Grpc__LiveVolumeEntry *e = part->entries[i];

		n += streq(e->path, "..1/key");
		assert_int_equal(e->uid, streq(e->path, "..1/key") ? 65537 : NS_NOBODY);
		assert_int_equal(e->gid, NS_NOBODY);
	}
	assert_int_equal(n, 1);
	grpc__update_live_volume_request__free_unpacked(part, NULL);
}

static void concerns(void **state)
{
	static const struct {
		uint32_t mask;
		const char *name;
		bool wanted;
	} rows[] = {
		{IN_MOVED_TO, "..data", true},
		{IN_CREATE, "key", true},
		{IN_DELETE, "key", true},
		{IN_ATTRIB, NULL, true},
		{IN_ATTRIB | IN_ISDIR, "..2026_01_01", true},
		{IN_CREATE | IN_ISDIR, "..2026_01_01", false},
		{IN_DELETE | IN_ISDIR, "..2026_01_01", false},
		{IN_CREATE, "..data_tmp", false},
		{IN_MOVED_FROM, "..data_tmp", false},
		{IN_IGNORED, NULL, false},
		{IN_UNMOUNT, NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (volume_watch_concerns(rows[i].mask, rows[i].name) != rows[i].wanted)
			fail_msg("row %zu", i);
}

SANDBOX_TESTS(LIVE_TEST(life), LIVE_TEST(mapped), LIVE_TEST(quick_changes),
	      LIVE_TEST(change_in_create), LIVE_TEST(overflow), LIVE_TEST(failure),
	      LIVE_TEST(foreign), LIVE_TEST(nothing_shared), LIVE_TEST(brought_back),
	      LIVE_TEST(read_only_file), LIVE_TEST(changed_on_both_sides), LIVE_TEST(file_of_two),
	      LIVE_TEST(file_becomes_device), LIVE_TEST(swapped_file),
	      LIVE_TEST(file_that_cannot_be_read), LIVE_TEST(without_watch), LIVE_TEST(death),
	      LIVE_TEST(odd_volumes), LIVE_TEST(parts), LIVE_TEST(owners),
	      cmocka_unit_test(concerns))
