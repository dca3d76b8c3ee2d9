/* SPDX-License-Identifier: Apache-2.0 */
/* Live volumes as the agent keeps them, and as a container sees them change. */
#include <dirent.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "agent/container_fixture.h"
#include "google/protobuf/empty.pb-c.h"

#define LIVE_DIR "/run/kata-containers/sandbox/live"

/* The agent of the tests has the machine's /run. */
static char name[32], path[128];

static Grpc__LiveVolumeEntry entry(const char *at, uint32_t mode, const char *data)
{
	Grpc__LiveVolumeEntry e = GRPC__LIVE_VOLUME_ENTRY__INIT;

	e.path = S(at);
	e.mode = mode;
	e.data.data = (uint8_t *)S(data);
	e.data.len = strlen(data);
	return e;
}

static int update(Grpc__LiveVolumeEntry *entries, size_t n, bool first, bool last)
{
	Grpc__UpdateLiveVolumeRequest request = GRPC__UPDATE_LIVE_VOLUME_REQUEST__INIT;
	Grpc__LiveVolumeEntry *list[16];

	for (size_t i = 0; i < n; i++)
		list[i] = &entries[i];
	request.name = name;
	request.entries = list;
	request.n_entries = n;
	request.first = first;
	request.last = last;
	return CALL_EMPTY("UpdateLiveVolume", &request, NULL);
}

static int one(const char *at, uint32_t mode, const char *data)
{
	Grpc__LiveVolumeEntry e = entry(at, mode, data);

	return update(&e, 1, true, true);
}

/* What kubelet has written: the folder `stamp` with `key`, and the links to it. */
static void write_volume(const char *stamp, const char *key, const char *text)
{
	_cleanup_(freep) char *file = path_join(stamp, key), *link = path_join("..data", key);
	Grpc__LiveVolumeEntry entries[] = {
		entry("", S_IFDIR | 02775, ""),    entry(stamp, S_IFDIR | 0755, ""),
		entry(file, S_IFREG | 0440, text), entry("..data", S_IFLNK | 0777, stamp),
		entry(key, S_IFLNK | 0777, link),  entry("inner", S_IFDIR | 0750, ""),
	};

	entries[2].gid = 1234;
	assert_int_equal(update(entries, 4, true, false), 0);
	assert_int_equal(update(entries + 4, 2, false, true), 0);
}

static int remove_volume(void)
{
	Grpc__RemoveLiveVolumeRequest request = GRPC__REMOVE_LIVE_VOLUME_REQUEST__INIT;

	request.name = name;
	return CALL_EMPTY("RemoveLiveVolume", &request, NULL);
}

static void begin(const char *what)
{
	snprintf(name, sizeof(name), "%s-%d", what, (int)getpid());
	snprintf(path, sizeof(path), LIVE_DIR "/%s", name);
}

static void finish(void)
{
	_cleanup_(freep) char *hidden = xasprintf(LIVE_DIR "/.%s", name);

	assert_int_equal(remove_volume(), 0);
	assert_int_equal(remove_volume(), 0);
	assert_false(fs_exists(path));
	assert_false(fs_exists(hidden));
	/* When no other test is in it. */
	if (rmdir(LIVE_DIR) == 0)
		rmdir("/run/kata-containers/sandbox");
}

static int count_entries(void)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	int n = 0;

	assert_non_null(dir);
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir))
		n++;
	return n - 2;
}

static void body_update(void)
{
	_cleanup_(freep) char *key = NULL, *inner = NULL, *text = NULL;
	struct stat st, before, after;

	begin("update");
	key = path_join(path, "key");
	inner = path_join(path, "inner");
	write_volume("..1", "key", "one");
	assert_int_equal(fs_read(key, 64, &text, NULL), 0);
	assert_string_equal(text, "one");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 02775);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0440);
	assert_int_equal(st.st_gid, 1234);
	assert_int_equal(stat(inner, &before), 0);
	assert_int_equal(before.st_mode, S_IFDIR | 0750);
	write_volume("..2", "key", "two");
	free(text);
	assert_int_equal(fs_read(key, 64, &text, NULL), 0);
	assert_string_equal(text, "two");
	/* The same folder with other content, as long as nobody sees a part of it. */
	write_volume("..2", "key", "three");
	free(text);
	assert_int_equal(fs_read(key, 64, &text, NULL), 0);
	assert_string_equal(text, "three");
	/* ..2, ..data, key, inner; what something may be mounted on stays what it was. */
	assert_int_equal(count_entries(), 4);
	assert_int_equal(stat(inner, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	/* A key goes, another one comes. */
	write_volume("..3", "other", "four");
	assert_false(fs_exists(key));
	assert_int_equal(count_entries(), 4);
	finish();
}

/* What is half there is not seen, and what fails changes nothing. */
static void body_parts(void)
{
	Grpc__LiveVolumeEntry e = entry("..9", S_IFDIR | 0755, "");
	_cleanup_(freep) char *key = NULL, *text = NULL;

	begin("parts");
	key = path_join(path, "key");
	assert_int_equal(update(&e, 1, false, true), -ENOENT);
	write_volume("..1", "key", "one");
	assert_int_equal(update(&e, 1, true, false), 0);
	assert_int_equal(count_entries(), 4);
	e = entry("..9/key", S_IFREG | 0644, "ab");
	assert_int_equal(update(&e, 1, false, false), 0);
	e.offset = 2;
	assert_int_equal(update(&e, 1, false, false), 0);
	/* A gap. */
	e.offset = 5;
	assert_int_equal(update(&e, 1, false, false), -EINVAL);
	e.offset = 4;
	assert_int_equal(update(&e, 1, false, true), -ENOENT);
	assert_int_equal(fs_read(key, 64, &text, NULL), 0);
	assert_string_equal(text, "one");
	finish();
}

static void body_hostile(void)
{
	static const char *const bad[] = {"/etc/x", "..",  "a/../b", "./a",           "a//b",
					  "a/",     "a/.", "../x",   "..data/../../x"};
	Grpc__LiveVolumeEntry out[] = {entry("", S_IFDIR | 0755, ""),
				       entry("out", S_IFLNK | 0777, "/tmp"),
				       entry("out/kata-evil", S_IFREG | 0644, "x")};

	begin("hostile");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (one(bad[i], S_IFREG | 0644, "x") != -EINVAL)
			fail_msg("%s", bad[i]);
	assert_int_equal(one("", S_IFREG | 0644, "x"), -EINVAL);
	assert_int_equal(one("dev", S_IFCHR | 0644, ""), -ENOSYS);
	assert_int_equal(one("link", S_IFLNK | 0777, ""), -EINVAL);
	/* Within the volume there is no /tmp. */
	assert_int_equal(update(out, 3, true, true), -ENOENT);
	assert_false(fs_exists("/tmp/kata-evil"));
	assert_false(fs_exists(path));
	snprintf(name, sizeof(name), "../x");
	assert_int_equal(one("a", S_IFREG | 0644, "x"), -EINVAL);
	assert_int_equal(remove_volume(), -EINVAL);
	*name = '\0';
	assert_int_equal(remove_volume(), -EINVAL);
}

/* The names that inotify tells, of what comes, changes or (with a minus) goes. */
static void check_events(int fd, const char *wanted)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	_cleanup_(buf_fini) struct buf text = {0};
	ssize_t n = read(fd, buffer, sizeof(buffer));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		buf_addf(&text, "%s%s ", event->mask & IN_DELETE ? "-" : "", event->name);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	assert_string_equal(text.data ? text.data : "", wanted);
}

static void watch_in_container(struct fixture *f)
{
	add_mount(f, "/cfg", "bind", path, "rbind,ro");
}

/* What a container sees, and what inotify tells of the folder that is bound into it: what it would
 * tell on the host. */
static void body_events(void)
{
	struct fixture f;
	_cleanup_(closep) int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	_cleanup_err_ struct err err = {0};

	begin("events");
	write_volume("..1", "key", "one\n");
	assert_true(inotify_add_watch(fd, path, IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB) >=
		    0);
	check_script("cat /cfg/key; touch /cfg/x 2>/dev/null || echo read-only", watch_in_container,
		     "one\nread-only\n");
	fixture_init(&f, "events",
		     ARGS("sh", "-c",
			  "echo ready; until [ -e /cfg/other ]; do :; done; cat /cfg/other"));
	watch_in_container(&f);
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(start("events", &err), 0);
	expect_line("events", "ready\n");
	check_events(fd, "");
	write_volume("..2", "other", "two\n");
	expect_line("events", "two\n");
	check_events(fd, "..2 ..data other -key -..1 ");
	write_volume("..3", "other", "three\n");
	check_events(fd, "..3 ..data -..2 ");
	assert_int_equal(wait_process("events", ""), 0);
	assert_int_equal(remove_container("events", &err), 0);
	finish();
}

/* --- the file of a volume that has one --- */

/* Returns the result, and the text in ret. */
static int read_back(const char *volume, char *ret, size_t size)
{
	Grpc__ReadCopiedFileRequest request = GRPC__READ_COPIED_FILE_REQUEST__INIT;
	Grpc__ReadCopiedFileResponse *answer = NULL;
	int r;

	request.name = S(volume);
	r = CALL("ReadCopiedFile", &request, grpc__read_copied_file_response, (void **)&answer,
		 NULL);
	if (r < 0)
		return r;
	snprintf(ret, size, "%.*s", (int)answer->data.len, (char *)answer->data.data);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return 0;
}

static void bind_file(struct fixture *f)
{
	static char file[160];

	snprintf(file, sizeof(file), "%s/file", path);
	add_mount(f, "/message", "bind", file, "rbind,rw");
}

static void body_copied_file(void)
{
	Grpc__LiveVolumeEntry entries[] = {entry("", S_IFDIR | 0755, ""),
					   entry("file", S_IFREG | 0666, "before")};
	_cleanup_(freep) char *file = NULL;
	struct stat before, after;
	char text[64];

	begin("file");
	file = path_join(path, "file");
	assert_int_equal(update(entries, 2, true, true), 0);
	assert_int_equal(read_back(name, text, sizeof(text)), 0);
	assert_string_equal(text, "before");
	check_script(
		"cat /message; echo it is over >/message; rm /message 2>/dev/null; ls /message",
		bind_file, "before/message\n");
	assert_int_equal(read_back(name, text, sizeof(text)), 0);
	assert_string_equal(text, "it is over\n");
	/* Whoever has it bound sees what it is now. */
	assert_int_equal(stat(file, &before), 0);
	entries[1] = entry("file", S_IFREG | 0600, "news");
	assert_int_equal(update(entries, 2, true, true), 0);
	assert_int_equal(stat(file, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_mode & 07777, 0600);
	assert_int_equal(read_back(name, text, sizeof(text)), 0);
	assert_string_equal(text, "news");
	assert_int_equal(truncate(file, (1 << 20) + 1), 0);
	assert_true(read_back(name, text, sizeof(text)) < 0);
	/* What else it could be is not waited for, nor followed. */
	assert_int_equal(unlink(file), 0);
	assert_true(read_back(name, text, sizeof(text)) < 0);
	assert_int_equal(mkfifo(file, 0666), 0);
	assert_true(read_back(name, text, sizeof(text)) < 0);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(symlink("/etc/passwd", file), 0);
	assert_true(read_back(name, text, sizeof(text)) < 0);
	assert_true(read_back("..", text, sizeof(text)) < 0);
	assert_true(read_back("a/b", text, sizeof(text)) < 0);
	finish();
}

FIXTURE_MAIN(FIXTURE_TEST(update), FIXTURE_TEST(parts), FIXTURE_TEST(hostile), FIXTURE_TEST(events),
	     FIXTURE_TEST(copied_file))
